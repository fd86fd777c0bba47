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
const partHelp = `An event is taken when all flags select it, and of --type any. A type is exact, as
patient.amended, or a kind of record, as patient. A tag is one that the event has:
patient:1 is on every event about patient 1, its mappings included. --actor is a
user's id, the tool of an operator ("carelog users"), or an operator's name.

` + momentHelp + `
--after leaves out its moment, --until includes it.`

func (p *logPart) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&p.after, "after", "only events after this `moment`")
	flags.Var(&p.until, "until", "only events up to this `moment`")
	flags.StringArrayVar(&p.tags, "tag", nil, "only events with this `tag`; repeated: with all of them")
	flags.StringArrayVar(&p.types, "type", nil, "only events of this `type`, or about this kind of record; repeated: of any")
	flags.StringVar(&p.actor, "actor", "", "only what this `user id, operator or tool` has done")
	completeFlag(cmd, "tag", "patient:", "doctor:", "mapping:", "user:", "owner:")
	completeFlag(cmd, "type", typeNames(events.NewRegistry())...)
	for _, flag := range []string{"after", "until", "actor"} {
		completeFlag(cmd, flag)
	}
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
