package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit statuses.
const (
	exitError    = 1 // something went wrong while running
	exitUsage    = 2 // the command line or the configuration is wrong
	exitNotFound = 3 // what the command line names is not there
	exitDiffers  = 4 // `carelog projections verify` found rows that differ, or `carelog diff` fields
	exitDamaged  = 5 // an export is damaged, not whole, or not one that can be imported
)

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs the command line and answers the exit status. What went wrong is
// one clear message, without usage and without a stack.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*childExit](err); ok {
		return exit.code
	}
	if errors.Is(err, errFieldsDiffer) {
		return exitDiffers // what differs was told
	}
	fmt.Fprintf(stderr, "carelog: %v%s\n", err, databaseMend(err))
	if usage, ok := errors.AsType[*usageError](err); ok {
		fmt.Fprintf(stderr, "See `%s --help`.\n", usage.command)
		return exitUsage
	}
	if _, ok := errors.AsType[*configError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*notFoundError](err); ok {
		return exitNotFound
	}
	if _, ok := errors.AsType[*differencesError](err); ok {
		return exitDiffers
	}
	if isDamaged(err) {
		return exitDamaged
	}
	return exitError
}

// databaseMend is what to do about a database that cannot be connected to, where
// waiting is no help.
func databaseMend(err error) string {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); !ok || !connecting {
		return ""
	}
	switch refused.Code {
	case "3D000": // invalid_catalog_name
		return ": create it, or name another in DATABASE_URL"
	case "28000", "28P01": // invalid_authorization_specification, invalid_password
		return ": set DATABASE_URL to the user and password that PostgreSQL knows, and see its pg_hba.conf"
	}
	return ""
}

// notFoundError is something that the command line names and that is not there.
type notFoundError struct{ message string }

func (e *notFoundError) Error() string { return e.message }

// usageError is a command line that cannot be understood.
type usageError struct {
	error
	command string // whose help explains it
}

// checked makes what a validator of arguments answers a [usageError].
func checked(validate cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := validate(cmd, args); err != nil {
			return &usageError{err, cmd.CommandPath()}
		}
		return nil
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "carelog",
		Short: "A healthcare backend that keeps every change as an event",
		Long: `A healthcare backend that keeps every change as an event.

Exit status: 0 done, 1 an error, 2 a mistake in the command line or in the
configuration, 3 what the command line names is not there, 4 something differs, 5 an
export is damaged, not whole, or not one that can be imported.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          checked(noCommand),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &usageError{err, cmd.CommandPath()} })
	root.AddCommand(newServeCommand(), newMigrateCommand(), newHealthCommand(), newUsersCommand(), newEventsCommand(), newHistoryCommand(), newShowCommand(), newDiffCommand(),
		newProjectionsCommand(), newExportCommand(), newImportCommand(), newReplayCommand(), newSubscribersCommand(), newDoctorCommand(), newDemoCommand(),
		newCompletionCommand(), newVersionCommand(), newFindPostgresCommand(), newWithPostgresCommand())
	completeSettings(root)
	return root
}

// noCommand refuses a word where a command was expected.
func noCommand(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("there is no command %q", args[0])
	}
	return nil
}

func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API",
		Long: `Serve the API. With nothing set, a PostgreSQL of its own is made in the data
directory and NATS runs inside the process.

A setting is taken from its flag, else from its environment variable, else from
the file .env in the working directory. The variable of --data-dir is
CARELOG_DATA_DIR, and so on. Secrets have no flag, since other users of the
machine can see those:

` + withoutFlag() + `

SIGTERM or Ctrl-C finishes the requests that were accepted. Exit status: 0 stopped
by a signal, 1 an error, 2 a mistake in the command line or in the configuration.`,
		Args: checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, warnings, err := loadConfig(readEnvironment(cmd.Flags(), "."))
			if err != nil {
				for _, warning := range warnings {
					fmt.Fprintf(cmd.ErrOrStderr(), "carelog: %s\n", warning)
				}
				return err
			}
			logger := newLogger(config, cmd.ErrOrStderr())
			for _, warning := range warnings {
				logger.Warn(warning)
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return serve(ctx, config, logger)
		},
	}
	addSettings(cmd.Flags())
	return cmd
}

// serve runs the program until ctx ends.
func serve(ctx context.Context, config Config, logger *slog.Logger) error {
	program, err := newProgram(config, logger)
	if err != nil {
		return err
	}
	program.notify = newNotifier(os.Getenv("NOTIFY_SOCKET"), logger)
	return errors.Join(program.Run(ctx), program.Close())
}

func addSettings(flags *pflag.FlagSet) {
	flags.SortFlags = false
	for _, s := range settings {
		if s.flag != "" {
			addSetting(flags, s)
		}
	}
}

func addSetting(flags *pflag.FlagSet, s setting) {
	usage := s.usage
	if s.initial != "" {
		usage += " (default " + s.initial + ")"
	}
	flags.String(s.flag, "", usage)
}

func withoutFlag() string {
	var text strings.Builder
	for _, s := range settings {
		if s.flag == "" {
			fmt.Fprintf(&text, "  %-20s %s\n", s.name, s.usage)
		}
	}
	return strings.TrimSuffix(text.String(), "\n")
}

func newLogger(config Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: config.LogLevel}
	if config.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
