package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/projections"
)

func newProjectionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "projections",
		Short: "Show, rebuild and verify the read tables",
		Long: `Show, rebuild and verify the read tables; without a word, list them.

Exit status: 0 done, 1 an error, 2 a mistake in the command line or in the
configuration, 4 verify found rows that differ.`,
		Args: checked(noCommand),
	}
	makeProjectionList(cmd)
	list := &cobra.Command{
		Use:   "list",
		Short: "List the projections: how far they have followed the log, and how many rows they have",
		Long: `List the projections: how far they have followed the log, and how many rows they
have; what one is stopped at, and why tables cannot be used.

Exit status: 0 done, 1 an error, 2 a mistake in the command line or in the
configuration.`,
		Args:              checked(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	makeProjectionList(list)
	cmd.AddCommand(list, newRebuildProjectionsCommand(), newVerifyProjectionsCommand())
	return cmd
}

// makeProjectionList makes a command list the projections.
func makeProjectionList(cmd *cobra.Command) {
	var asJSON bool
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return operate(cmd, func(ctx context.Context, o *operator) error {
			list, err := o.listProjections(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
			}
			return list.print(cmd.OutOrStdout())
		})
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addOperatorSettings(cmd.Flags())
}

// projectionList is what `carelog projections list` tells.
type projectionList struct {
	Head        int64              `json:"head"` // of the log
	Projections []listedProjection `json:"projections"`
}

type listedProjection struct {
	Name          string             `json:"name"`
	SchemaVersion int                `json:"schema_version"` // of the tables; 0 when they were never filled
	Position      int64              `json:"position"`
	Lag           int64              `json:"lag"` // events
	Rows          int64              `json:"rows"`
	Stopped       *stoppedProjection `json:"stopped,omitempty"`
	Unfit         string             `json:"unfit,omitempty"` // why the tables cannot be used
}

// stoppedProjection is the event that the runner is stopped at.
type stoppedProjection struct {
	Position int64  `json:"position"`
	Type     string `json:"type"`
	Reason   string `json:"reason"`
}

func (o *operator) listProjections(ctx context.Context) (projectionList, error) {
	status, err := projections.ReadStatus(ctx, o.projections)
	if err != nil {
		return projectionList{}, err
	}
	rows, err := projections.CountRows(ctx, o.projections)
	if err != nil {
		return projectionList{}, err
	}
	list := projectionList{Head: int64(status.Head)}
	for _, p := range status.Projections {
		listed := listedProjection{
			Name: p.Name, SchemaVersion: p.SchemaVersion, Position: int64(p.Position), Lag: p.Lag, Rows: rows[p.Name],
		}
		if p.Stopped != nil {
			listed.Stopped = &stoppedProjection{Position: int64(p.Stopped.Position), Type: string(p.Stopped.Type), Reason: p.Stopped.Err.Error()}
		}
		if p.Unfit != nil {
			listed.Unfit = p.Unfit.Error()
		}
		list.Projections = append(list.Projections, listed)
	}
	return list, nil
}

func (l projectionList) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSCHEMA\tPOSITION\tLAG\tROWS\tSTATE")
	for _, p := range l.Projections {
		state := "ok"
		switch {
		case p.Unfit != "":
			state = p.Unfit
		case p.Stopped != nil:
			state = fmt.Sprintf("stopped at position %d, %s: %s", p.Stopped.Position, p.Stopped.Type, p.Stopped.Reason)
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%s\n", p.Name, p.SchemaVersion, p.Position, p.Lag, p.Rows, printable(state))
	}
	return table.Flush()
}

// knownProjections are arguments that name projections.
func knownProjections(_ *cobra.Command, args []string) error {
	_, err := projections.Named(args...)
	return err
}

func newRebuildProjectionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rebuild [name]...",
		Short: "Build read tables anew from the log, all of them or those that are named",
		Long: `Build read tables anew from the log, all of them or those that are named, while
they go on to serve. The new tables are filled beside the old ones and take their
place in one short transaction, at the same position of the log. Until then
nothing changes, wherever this is interrupted; what it leaves behind then, the
next rebuild removes.

Exit status: 0 done, 1 an error, 2 a mistake in the command line or in the
configuration.`,
		Args:              checked(knownProjections),
		ValidArgsFunction: completeProjection,
		RunE: func(cmd *cobra.Command, names []string) error {
			return operate(cmd, func(ctx context.Context, o *operator) error {
				return o.rebuild(ctx, names, cmd.OutOrStdout(), cmd.ErrOrStderr())
			})
		},
	}
	addOperatorSettings(cmd.Flags())
	return cmd
}

func (o *operator) rebuild(ctx context.Context, names []string, stdout, stderr io.Writer) (err error) {
	config := o.projections
	if config.Projections, err = projections.Named(names...); err != nil {
		return err
	}
	began, progress := time.Now(), newFillProgress(stderr)
	err = projections.Rebuild(ctx, config, progress.show)
	progress.end()
	if err != nil {
		return err
	}
	var rebuilt []string
	for _, p := range config.Projections {
		rebuilt = append(rebuilt, p.Name())
	}
	fmt.Fprintf(stdout, "rebuilt %s from %d events in %v\n",
		strings.Join(rebuilt, ", "), progress.last.Position, time.Since(began).Round(time.Millisecond))
	return nil
}

// differencesError is the answer of a verification that found rows that differ.
type differencesError struct{ rows int64 }

func (e *differencesError) Error() string {
	return fmt.Sprintf("rows that are not what the log makes of them: %d; `carelog projections rebuild` mends them", e.rows)
}

func newVerifyProjectionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [name]...",
		Short: "Compare every row of the read tables with what the log makes of it",
		Long: fmt.Sprintf(`Compare every row of the read tables, of all projections or of those that are
named, with what the log makes of it, while they serve. Each row that differs is a
line: table, key, and what is wrong, without values.

Exit status: 0 all rows are right, 1 an error, 2 a mistake in the command line or in
the configuration, %d rows differ.`, exitDiffers),
		Args:              checked(knownProjections),
		ValidArgsFunction: completeProjection,
		RunE: func(cmd *cobra.Command, names []string) error {
			return operate(cmd, func(ctx context.Context, o *operator) error {
				return o.verify(ctx, names, cmd.OutOrStdout(), cmd.ErrOrStderr())
			})
		},
	}
	addOperatorSettings(cmd.Flags())
	return cmd
}

func (o *operator) verify(ctx context.Context, names []string, stdout, stderr io.Writer) (err error) {
	config := o.projections
	if config.Projections, err = projections.Named(names...); err != nil {
		return err
	}
	progress := newFillProgress(stderr)
	tables, err := projections.Verify(ctx, config, progress.show, func(d projections.Difference) {
		fmt.Fprintln(stdout, describe(d))
	})
	progress.end()
	if err != nil {
		return err
	}
	var differences int64
	for _, t := range tables {
		fmt.Fprintf(stdout, "%s: %d rows at position %d, %d differ\n", t.Table, t.Rows, t.Position, t.Differences)
		differences += t.Differences
	}
	if differences > 0 {
		return &differencesError{differences}
	}
	return nil
}

// describe is the line of a row that differs.
func describe(d projections.Difference) string {
	switch d.Wrong {
	case projections.Missing:
		return fmt.Sprintf("%s %s is missing", d.Table, d.Key)
	case projections.Extra:
		return fmt.Sprintf("%s %s should not be there", d.Table, d.Key)
	}
	return fmt.Sprintf("%s %s differs in %s", d.Table, d.Key, strings.Join(d.Columns, ", "))
}
