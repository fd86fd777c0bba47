package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections/history"
)

// errFieldsDiffer is the answer of a comparison that found differences, and has
// printed them.
var errFieldsDiffer = errors.New("fields differ")

func newDiffCommand() *cobra.Command {
	var from, to moment
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Compare a record with what it was",
		Long: `Compare a record at two moments: each field that differs, old → new. Without --to the
second is now. When the record was not there at one of them, that is told, and every
field differs.

` + momentHelp + `

` + exitHelp + fmt.Sprintf(", 3 the record was there at neither moment, %d something differs.", exitDiffers),
	}
	cmd.Flags().Var(&from, "from", "compare what was at this `moment`")
	cmd.Flags().Var(&to, "to", "with what was at this `moment` (default: now)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if !from.given() {
			return &usageError{errors.New("say with --from what to compare with"), cmd.CommandPath()}
		}
		return nil
	}
	completeFlag(cmd, "from")
	completeFlag(cmd, "to")
	return newRecordCommand(cmd, func(ctx context.Context, o *operator, of history.Subject, w *bufio.Writer) error {
		d, err := o.compare(ctx, of, from, to)
		if err != nil {
			return err
		}
		if asJSON {
			lines := lineWriter{w: w}
			err = lines.write(d)
		} else {
			err = d.print(w)
		}
		if err == nil && len(d.Changes) > 0 {
			return errFieldsDiffer
		}
		return err
	})
}

// comparison is what `carelog diff` tells.
type comparison struct {
	Subject string        `json:"subject"`
	From    side          `json:"from"`
	To      side          `json:"to"`
	Changes changedFields `json:"changes"`
}

type side struct {
	Position events.Position `json:"position"`
	There    bool            `json:"there"`
	absence  string          // why it is not there
}

// compare fails with a *notFoundError when the record was there at neither moment.
func (o *operator) compare(ctx context.Context, of history.Subject, from, to moment) (d comparison, err error) {
	d.Subject = of.String()
	if d.From.Position, err = o.endAt(ctx, from); err != nil {
		return d, err
	}
	if to.given() {
		d.To.Position, err = o.endAt(ctx, to)
	} else {
		d.To.Position, err = o.store.Head(ctx)
	}
	if err != nil {
		return d, err
	}
	if d.From.Position > d.To.Position {
		return d, &momentError{fmt.Sprintf("--from is position %d, and --to is %d, before it", d.From.Position, d.To.Position)}
	}
	life, err := o.lifeOf(ctx, of)
	if err != nil {
		return d, err
	}
	before, err := o.side(ctx, life, &d.From)
	if err != nil {
		return d, err
	}
	after, err := o.side(ctx, life, &d.To)
	if err == nil && before == nil && after == nil {
		err = &notFoundError{d.From.absence + "; " + d.To.absence}
	}
	d.Changes = history.Compare(before, after)
	return d, err
}

func (o *operator) side(ctx context.Context, life life, s *side) ([]history.Field, error) {
	fields, err := o.recordAt(ctx, life.of, s.Position)
	if s.There = fields != nil; !s.There && err == nil {
		s.absence = life.absence(s.Position)
	}
	return fields, err
}

func (d comparison) print(w *bufio.Writer) error {
	for _, s := range []side{d.From, d.To} {
		if !s.There {
			fmt.Fprintln(w, s.absence)
		}
	}
	for _, c := range d.Changes {
		fmt.Fprintln(w, changeText(c))
	}
	return nil // a failed write comes again with Flush
}
