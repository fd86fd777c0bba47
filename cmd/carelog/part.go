package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
)

// logPart is the part of the log that a command takes, by its flags: those of `carelog
// events`, but for the beginning, which here is behind a position, as that where an
// earlier command has ended.
type logPart struct {
	eventFilter
	after moment
}

// partHelp explains the flags of a logPart.
const partHelp = filterHelp + `

` + momentHelp + `
--after leaves out its moment, --until includes it.`

func (p *logPart) addFlags(cmd *cobra.Command) {
	cmd.Flags().Var(&p.after, "after", "only events after this `moment`")
	completeFlag(cmd, "after")
	p.eventFilter.addFlags(cmd)
}

// resolve asks the log for the moments of the part.
func (p *logPart) resolve(ctx context.Context, o *operator, selected *events.Selection) (err error) {
	if p.after.given() {
		if selected.After, err = o.endAt(ctx, p.after); err != nil {
			return err
		}
	}
	if p.until.given() {
		selected.Until, err = o.endAt(ctx, p.until)
		if err == nil && selected.Until <= selected.After {
			err = &momentError{"nothing is after --after and up to --until"}
		}
	}
	return err
}
