package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
)

func newEventsCommand() *cobra.Command {
	var filter eventFilter
	var since moment
	var limit int
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List the events of the log, and follow it",
		Long: `List the events of the log, oldest first: all of them, or those that the flags
select. It reads the log of the running server, and just as well when none runs.
With --follow it goes on with those that are appended, until Ctrl-C.

` + filterHelp + `

` + momentHelp + ` Both flags include their moment, and
--since may be the position of the next event, to go on where a list has ended.

What --follow lists it has seen in the log, in order and without gaps. When the
database stops it ends, and tells with which --since to go on.

` + exitHelp + `.`,
		Args:              checked(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			selected, err := filter.selection(events.NewRegistry())
			switch {
			case err == nil && follow && filter.until.given():
				err = errors.New("--follow has no end: leave out --until")
			case err == nil && limit < 0:
				err = errors.New("--limit: write a number of events; 0 is no limit")
			}
			if err != nil {
				return &usageError{err, cmd.CommandPath()}
			}
			return operate(cmd, func(ctx context.Context, o *operator) error {
				list := eventList{operator: o, selected: selected, limit: limit, out: bufio.NewWriterSize(cmd.OutOrStdout(), 1<<16)}
				if asJSON {
					list.print = newEventLines(list.out).print
				} else {
					list.print = newEventTable(list.out).print
				}
				return list.run(ctx, since, filter.until, follow)
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	filter.addFlags(cmd)
	flags.Var(&since, "since", "only events from this `moment` on")
	flags.IntVar(&limit, "limit", 0, "at most this `number` of events")
	flags.BoolVar(&follow, "follow", false, "go on with new events until Ctrl-C")
	flags.BoolVar(&asJSON, "json", false, "one JSON object for each event, on a line of its own")
	addOperatorSettings(flags)
	completeFlag(cmd, "since")
	completeFlag(cmd, "limit")
	return cmd
}

// eventList lists events.
type eventList struct {
	*operator
	selected events.Selection
	limit    int // 0: none
	listed   int
	out      *bufio.Writer
	print    func(events.Recorded, events.Metadata) error
}

// followPause is how long a list that follows waits before it looks again.
const followPause = 200 * time.Millisecond

// run lists what the log holds, and then follows it. Positions have no gaps and are
// in the order of commit, so what follows the head is new, and complete.
func (l *eventList) run(ctx context.Context, since, until moment, follow bool) error {
	err := l.resolve(ctx, since, until)
	if err != nil {
		return err // without the head of an empty table
	}
	for following := false; ; following = true {
		err = l.listToHead(ctx, until.given(), following)
		if err == nil {
			err = l.out.Flush()
		}
		if err != nil || !follow || l.full() || !pause(ctx, followPause) {
			break
		}
	}
	err = errors.Join(err, l.out.Flush())
	switch {
	case follow && ctx.Err() != nil:
		return nil // that is how it ends
	case follow && errors.Is(err, events.ErrUnavailable):
		return fmt.Errorf("%w; go on with --since %d", err, l.selected.After+1)
	}
	return err
}

// resolve asks the log for the moments.
func (l *eventList) resolve(ctx context.Context, since, until moment) (err error) {
	if since.given() {
		l.selected.After, err = l.beginAt(ctx, since)
	}
	if err == nil && until.given() {
		l.selected.Until, err = l.endAt(ctx, until)
		if err == nil && since.given() && l.selected.Until < l.selected.After {
			err = &momentError{"--until is before --since"}
		}
	}
	return err
}

func (l *eventList) full() bool { return l.limit > 0 && l.listed == l.limit }

// listToHead lists up to the head of the log, or to the end that was set, and goes
// on there the next time. What has come since then is few events: all are read,
// while the log would look for those that are selected among all there are.
func (l *eventList) listToHead(ctx context.Context, ends, following bool) error {
	selected := l.selected
	if following {
		selected = events.Selection{After: l.selected.After}
	}
	if !ends {
		head, err := l.store.Head(ctx)
		if err != nil {
			return err
		}
		selected.Until = head
	}
	if selected.Until <= selected.After {
		return nil
	}
	for e, err := range l.store.Stream(ctx, selected) {
		if err != nil {
			return err
		}
		metadata, err := e.DecodeMetadata()
		if err != nil {
			return fmt.Errorf("the event at position %d: %w", e.Position, err)
		}
		l.selected.After = e.Position
		if !l.selected.Matches(e.Event, metadata.Actor) {
			continue
		}
		if err := l.print(e, metadata); err != nil {
			return err
		}
		if l.listed++; l.full() {
			return nil
		}
	}
	l.selected.After = selected.Until
	return nil
}
