package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/carelog/carelog/events"
)

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

func (t eventTable) print(e events.Recorded, metadata events.Metadata) error {
	return t.row(e.Position, e.RecordedAt, e.Type, e.Subject(), actorText(metadata.Actor, ""))
}

func (t eventTable) row(position events.Position, at time.Time, of events.Type, subject, actor string) error {
	_, err := fmt.Fprintf(t.w, t.format, position, timeText(at), printable(string(of)), printable(subject), actor)
	return err
}

// eventLines print events for programs.
type eventLines struct{ lineWriter }

func newEventLines(w io.Writer) *eventLines { return &eventLines{lineWriter{w: w}} }

func (l *eventLines) print(e events.Recorded, metadata events.Metadata) error {
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
