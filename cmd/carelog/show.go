package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/projections/history"
)

func newShowCommand() *cobra.Command {
	var asOf moment
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show a record as it is, or as it was",
		Long: `Show a record as the log has it now, or had it at a moment. A mapping has the names
of then.

` + momentHelp + `

` + exitHelp + `, 3 the record is not there, or was not there then.`,
	}
	cmd.Flags().Var(&asOf, "as-of", "show the record as it was at this `moment`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object, as that of the API")
	completeFlag(cmd, "as-of")
	return newRecordCommand(cmd, func(ctx context.Context, o *operator, of history.Subject, w *bufio.Writer) error {
		at, err := o.store.Head(ctx)
		if err == nil && asOf.given() {
			at, err = o.endAt(ctx, asOf)
		}
		if err != nil {
			return err
		}
		fields, err := o.recordAt(ctx, of, at)
		if err != nil {
			return err
		}
		if fields == nil {
			life, err := o.lifeOf(ctx, of)
			if err != nil {
				return err
			}
			return &notFoundError{life.absence(at)}
		}
		if asJSON {
			lines := lineWriter{w: w}
			return lines.write(recordFields(fields))
		}
		return printFields(w, fields)
	})
}

func printFields(w *bufio.Writer, fields []history.Field) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		text := fmt.Sprint(f.Value)
		switch v := f.Value.(type) {
		case time.Time:
			text = timeText(v)
		case []string:
			text = strings.Join(v, ", ")
		}
		fmt.Fprintf(table, "%s\t%s\n", f.Name, printable(text))
	}
	return table.Flush()
}
