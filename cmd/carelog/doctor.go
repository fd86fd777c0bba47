package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
)

func newDoctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the installation: what is wrong, and how to mend it",
		Long: `Check the settings, the machine, PostgreSQL, NATS, the log and the read tables. Each
check is a line: ok, warning or error, and how to mend what is wrong. Where one thing
cannot be reached, the rest is checked all the same.

Nothing is changed. Without DATABASE_URL the PostgreSQL of the running server is
checked; when none runs, it is started for the time of the command. Give the
settings that the server has, by the environment, .env or flags.

Exit status: 0 all is well, or there are warnings only, 1 errors were found, 2 a
mistake in the command line.`,
		Args:              checked(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			env, fileErr := readEnvironment(cmd.Flags(), ".")
			c := &checkup{print: findingPrinter(cmd.OutOrStdout(), asJSON)}
			c.settings(env, fileErr)
			c.run(ctx)
			if err := errors.Join(c.failed, ctx.Err()); err != nil {
				return err
			}
			if c.errors > 0 {
				return fmt.Errorf("errors found: %d", c.errors)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object for each check, on a line of its own")
	addSettings(cmd.Flags())
	return cmd
}

// finding is what a check has found.
type finding struct {
	Check   string `json:"check"`
	State   string `json:"state"` // ok, warning or error
	Message string `json:"message"`
	Mend    string `json:"mend,omitempty"`
}

// findingPrinter prints findings as they come.
func findingPrinter(w io.Writer, asJSON bool) func(finding) error {
	if asJSON {
		lines := lineWriter{w: w}
		return func(f finding) error { return lines.write(f) }
	}
	return func(f finding) error {
		text := f.Message
		if f.Mend != "" {
			text += ": " + f.Mend
		}
		_, err := fmt.Fprintf(w, "%-7s  %-12s  %s\n", f.State, f.Check, printable(strings.ReplaceAll(text, "\n", "; ")))
		return err
	}
}

// checkup is a walk through the checks.
type checkup struct {
	config   Config   // as far as it can be read
	problems []string // with the configuration
	unread   bool     // there is a .env file, and it cannot be read
	print    func(finding) error
	errors   int
	failed   error             // of printing
	fits     bool              // the database has the schema of this program, or a newer one
	log      *eventstore.Store // nil as long as none was found
	head     events.Position   // of the log
}

func (c *checkup) tell(f finding) {
	if f.State == "error" {
		c.errors++
	}
	if c.failed == nil {
		c.failed = c.print(f)
	}
}

func (c *checkup) ok(check, format string, args ...any) {
	c.tell(finding{Check: check, State: "ok", Message: fmt.Sprintf(format, args...)})
}

// warn and fail tell what is wrong, and how to mend it.
func (c *checkup) warn(check, mend, format string, args ...any) {
	c.tell(finding{check, "warning", fmt.Sprintf(format, args...), mend})
}

func (c *checkup) fail(check, mend, format string, args ...any) {
	c.tell(finding{check, "error", fmt.Sprintf(format, args...), mend})
}

// settings reads the configuration as `carelog serve` would. What is wrong with a
// setting hides no other check.
func (c *checkup) settings(env environment, fileErr error) {
	c.unread = fileErr != nil
	var warnings []string
	var err error
	c.config, warnings, err = loadConfig(env, fileErr)
	for _, warning := range warnings {
		c.warn("settings", "", "%s", warning)
	}
	if wrong, ok := errors.AsType[*configError](err); ok {
		c.problems = wrong.problems
	}
	for _, problem := range c.problems {
		c.fail("settings", "", "%s", problem)
	}
	if err == nil && warnings == nil {
		c.ok("settings", "all can be used")
	}
}

// wrong tells whether one of the settings has a problem, or may stand in a .env file
// that cannot be read, so that what it names cannot be checked.
func (c *checkup) wrong(settings ...string) bool {
	if c.unread {
		return true
	}
	for _, problem := range c.problems {
		for _, setting := range settings {
			if strings.HasPrefix(problem, setting) {
				return true
			}
		}
	}
	return false
}

func (c *checkup) run(ctx context.Context) {
	c.ok("program", "carelog %s, %s, %s/%s", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	c.openFiles()
	c.dataDir()
	c.tokenKey()
	c.certificates()
	tellOfNATS := c.nats(ctx)
	c.database(ctx)
	tellOfNATS()
}
