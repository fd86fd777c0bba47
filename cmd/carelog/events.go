package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
)

func newEventsCommand() *cobra.Command {
	var filter eventFilter
	var limit int
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List the events of the log, and follow it",
		Long: `List the events of the log, oldest first: all of them, or those that the flags
select. It reads the log of the running server, and just as well when none runs.
With --follow it goes on with those that are appended, until Ctrl-C.

An event is listed when all flags select it, and of --type any. A type is exact, as
patient.amended, or a kind of record, as patient. A tag is one that the event has:
patient:1 is on every event about patient 1, its mappings included; others are
doctor:1, mapping:1, user:1, and owner:1 for the records of user 1. --actor is a
user's id, the tool of an operator ("carelog users"), or an operator's name.

` + momentHelp + `
--since and --until include their moment; --since may also be the position of the
next event, so that one can go on where a list has ended.

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
				return list.run(ctx, filter, follow)
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&filter.tags, "tag", nil, "only events with this `tag`; repeated: with all of them")
	flags.StringArrayVar(&filter.types, "type", nil, "only events of this `type`, or about this kind of record; repeated: of any")
	flags.StringVar(&filter.actor, "actor", "", "only what this `user id, operator or tool` has done")
	flags.Var(&filter.since, "since", "only events from this `moment` on")
	flags.Var(&filter.until, "until", "only events up to this `moment`")
	flags.IntVar(&limit, "limit", 0, "at most this `number` of events")
	flags.BoolVar(&follow, "follow", false, "go on with new events until Ctrl-C")
	flags.BoolVar(&asJSON, "json", false, "one JSON object for each event, on a line of its own")
	addOperatorSettings(flags)
	completeFlag(cmd, "tag", "patient:", "doctor:", "mapping:", "user:", "owner:")
	completeFlag(cmd, "type", typeNames(events.NewRegistry())...)
	completeFlag(cmd, "actor")
	completeFlag(cmd, "since")
	completeFlag(cmd, "until")
	completeFlag(cmd, "limit")
	return cmd
}

// recordKinds are the kinds of records there are.
var recordKinds = []string{string(events.Patient), string(events.Doctor), string(events.Mapping), string(events.User)}

// typeNames are what --type takes: kinds, then types.
func typeNames(registry *events.Registry) []string {
	names := slices.Clone(recordKinds)
	for _, t := range registry.Types() {
		if kind := string(t.Entity()); !slices.Contains(names, kind) {
			names = append(names, kind)
		}
	}
	for _, t := range registry.Types() {
		names = append(names, string(t))
	}
	return names
}

// eventFilter is what the flags select.
type eventFilter struct {
	tags, types  []string
	actor        string
	since, until moment
}

// selection is without the moments, for which the log must be asked.
func (f eventFilter) selection(registry *events.Registry) (events.Selection, error) {
	var selected events.Selection
	var item events.QueryItem
	for _, text := range f.tags {
		tag, err := parseTag(text)
		if err != nil {
			return selected, err
		}
		item.Tags = append(item.Tags, tag)
	}
	for _, name := range f.types {
		found := slices.DeleteFunc(registry.Types(), func(t events.Type) bool { return string(t) != name && string(t.Entity()) != name })
		if len(found) == 0 {
			return selected, fmt.Errorf("--type: there is no type of events %q; there are %s", name, strings.Join(typeNames(registry), ", "))
		}
		item.Types = append(item.Types, found...)
	}
	switch {
	case len(item.Tags) == 0 && len(f.types) == 1 && slices.Contains(recordKinds, f.types[0]):
		selected.Kind = events.Kind(f.types[0])
	case len(item.Tags)+len(item.Types) > 0:
		selected.Query = events.Query{item}
	}
	var err error
	selected.Actor, err = parseActor(f.actor)
	return selected, err
}

// parseTag refuses what no tag is like.
func parseTag(text string) (events.Tag, error) {
	name, value, _ := strings.Cut(text, ":")
	if name == "" || value == "" || len(text) > 255 || printable(text) != text {
		return "", fmt.Errorf("--tag: %q is no tag: write name:value, as patient:42", text)
	}
	return events.Tag(text), nil
}

// parseActor takes a number for a user's id. Every tool is a command of carelog.
func parseActor(text string) (events.Actor, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	switch {
	case text == "":
		return events.Actor{}, nil
	case err == nil && id > 0:
		return events.Actor{UserID: id}, nil
	case err == nil:
		return events.Actor{}, errors.New("--actor: the ids of users begin with 1")
	case strings.HasPrefix(text, "carelog "):
		return events.Actor{Tool: text}, nil
	}
	return events.Actor{Operator: text}, nil
}

// eventList lists events.
type eventList struct {
	*operator
	selected events.Selection
	limit    int // 0: none
	listed   int
	out      *bufio.Writer
	print    func(events.Recorded) error
}

// followPause is how long a list that follows waits before it looks again.
const followPause = 200 * time.Millisecond

// run lists what the log holds, and then follows it. Positions have no gaps and are
// in the order of commit, so what follows the head is new, and complete.
func (l *eventList) run(ctx context.Context, filter eventFilter, follow bool) error {
	err := l.resolve(ctx, filter)
	if err != nil {
		return err // without the head of an empty table
	}
	for {
		err = l.listToHead(ctx, filter.until.given())
		if err == nil {
			err = l.out.Flush()
		}
		if err != nil || !follow || l.full() || !pause(ctx, followPause) {
			break
		}
	}
	switch {
	case follow && ctx.Err() != nil:
		return nil // that is how it ends
	case follow && errors.Is(err, events.ErrUnavailable):
		return fmt.Errorf("%w; go on with --since %d", err, l.selected.After+1)
	}
	return errors.Join(err, l.out.Flush())
}

// resolve asks the log for the moments of the filter.
func (l *eventList) resolve(ctx context.Context, filter eventFilter) (err error) {
	if filter.since.given() {
		l.selected.After, err = l.beginAt(ctx, filter.since)
	}
	if err == nil && filter.until.given() {
		l.selected.Until, err = l.endAt(ctx, filter.until)
		if err == nil && filter.since.given() && l.selected.Until < l.selected.After {
			err = &momentError{"--until is before --since"}
		}
	}
	return err
}

func (l *eventList) full() bool { return l.limit > 0 && l.listed == l.limit }

// listToHead lists up to the head of the log, or to the end that was set, and goes
// on there the next time.
func (l *eventList) listToHead(ctx context.Context, ends bool) error {
	selected := l.selected
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
		if err := l.print(e); err != nil {
			return err
		}
		l.selected.After = e.Position
		if l.listed++; l.full() {
			return nil
		}
	}
	l.selected.After = selected.Until
	return nil
}

// eventTable prints events for people. The columns are as wide from the beginning as
// they will be, since nobody knows what follows.
type eventTable struct {
	w      io.Writer
	format string
}

func newEventTable(w io.Writer) eventTable {
	width := 0
	for _, t := range events.NewRegistry().Types() {
		width = max(width, len(t))
	}
	table := eventTable{w, fmt.Sprintf("%%-8v  %%-%ds  %%-%ds  %%-14s  %%s\n", len(timeText(time.Now())), width)}
	fmt.Fprintf(w, table.format, "POSITION", "TIME", "TYPE", "SUBJECT", "ACTOR") // an error comes again with the first event, or with Flush
	return table
}

func (t eventTable) print(e events.Recorded) error {
	metadata, err := e.DecodeMetadata()
	if err != nil {
		return fmt.Errorf("the event at position %d: %w", e.Position, err)
	}
	return t.row(e.Position, e.RecordedAt, e.Type, e.Subject(), actorText(metadata.Actor, ""))
}

func (t eventTable) row(position events.Position, at time.Time, of events.Type, subject, actor string) error {
	_, err := fmt.Fprintf(t.w, t.format, position, timeText(at), printable(string(of)), printable(subject), actor)
	return err
}

// eventLines print events for programs.
type eventLines struct{ lineWriter }

func newEventLines(w io.Writer) *eventLines { return &eventLines{lineWriter{w: w}} }

func (l *eventLines) print(e events.Recorded) error {
	metadata, err := e.DecodeMetadata()
	if err != nil {
		return fmt.Errorf("the event at position %d: %w", e.Position, err)
	}
	return l.write(struct {
		Position      events.Position `json:"position"`
		ID            string          `json:"id"`
		Type          events.Type     `json:"type"`
		SchemaVersion int             `json:"schema_version"`
		Subject       string          `json:"subject"`
		Tags          []events.Tag    `json:"tags"`
		RecordedAt    string          `json:"recorded_at"`
		Actor         events.Actor    `json:"actor"`
		CorrelationID *string         `json:"correlation_id"`
		CausationID   *string         `json:"causation_id"`
		RequestID     *string         `json:"request_id"`
		Data          json.RawMessage `json:"data"`
	}{e.Position, e.ID.String(), e.Type, e.SchemaVersion, e.Subject(), e.Tags, timeText(e.RecordedAt), metadata.Actor,
		orNull(metadata.CorrelationID), orNull(metadata.CausationID), orNull(metadata.RequestID), e.Data})
}
