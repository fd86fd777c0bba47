package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/history"
)

func newHistoryCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Tell every change of a record: when, by whom, from what to what",
		Long: `Tell every event about a record, oldest first: when it was recorded, who caused it,
and the fields that it changed, old → new. A patient's and a doctor's history include
their mappings. A record that was removed keeps its history.

` + exitHelp + `, 3 there never was such a record.`,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object for each event, on a line of its own")
	return newRecordCommand(cmd, func(ctx context.Context, o *operator, of history.Subject, w *bufio.Writer) error {
		if asJSON {
			return o.tellHistory(ctx, of, (&historyLines{lineWriter{w: w}}).print)
		}
		return o.tellHistory(ctx, of, newHistoryTable(w).print)
	})
}

// historyPage is how many events of a history are held at a time. Each page reads
// the events about the record that were before it, too, so it is long.
const historyPage = 10_000

func (o *operator) tellHistory(ctx context.Context, of history.Subject, print func(history.Entry) error) error {
	for after := events.Position(0); ; {
		page, err := o.history().History(ctx, of, history.Viewer{All: true}, after, historyPage)
		if errors.Is(err, projections.ErrNotFound) {
			return neverThere(of)
		}
		if err != nil {
			return err
		}
		for _, entry := range page.Entries {
			if err := print(entry); err != nil {
				return err
			}
			after = entry.Position
		}
		if !page.More {
			return nil
		}
	}
}

func (o *operator) history() *history.Reader {
	return &history.Reader{Log: o.store, Registry: o.registry}
}

func neverThere(of history.Subject) error {
	return &notFoundError{fmt.Sprintf("there is no %s, and there never was", of)}
}

// historyTable prints a history for people: a line for each event, and below it one
// for each field that it changed.
type historyTable struct{ eventTable }

func newHistoryTable(w io.Writer) historyTable { return historyTable{newEventTable(w)} }

func (t historyTable) print(e history.Entry) error {
	if err := t.row(e.Position, e.RecordedAt, e.Type, e.Subject.String(), actorText(e.Actor, e.ActorName)); err != nil {
		return err
	}
	for _, c := range e.Changes {
		if _, err := fmt.Fprintf(t.w, "          %s\n", changeText(c)); err != nil {
			return err
		}
	}
	return nil
}

// changeText is like `age: 30 → 31`; a side is empty where the record was not there.
func changeText(c history.Change) string {
	text := c.Field + ":"
	if c.Old != nil {
		text += " " + valueText(c.Old)
	}
	text += " →"
	if c.New != nil {
		text += " " + valueText(c.New)
	}
	return text
}

// valueText is a value with quotes where it is text, so that it can be told from
// what is around it; what is not printable is escaped.
func valueText(value any) string {
	switch v := value.(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		quoted := make([]string, len(v))
		for i, text := range v {
			quoted[i] = strconv.Quote(text)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case time.Time:
		return timeText(v)
	}
	return fmt.Sprint(value)
}

// historyLines print a history for programs, as the API writes it.
type historyLines struct{ lineWriter }

func (l *historyLines) print(e history.Entry) error {
	return l.write(struct {
		Position      events.Position `json:"position"`
		ID            string          `json:"id"`
		Type          events.Type     `json:"type"`
		Subject       string          `json:"subject"`
		RecordedAt    string          `json:"recorded_at"`
		Actor         any             `json:"actor"`
		CorrelationID *string         `json:"correlation_id"`
		CausationID   *string         `json:"causation_id"`
		RequestID     *string         `json:"request_id"`
		Changes       changedFields   `json:"changes"`
	}{e.Position, e.ID.String(), e.Type, e.Subject.String(), timeText(e.RecordedAt), actorJSON(e),
		orNull(e.CorrelationID), orNull(e.CausationID), orNull(e.RequestID), changedFields(e.Changes)})
}

func actorJSON(e history.Entry) any {
	if e.Actor.UserID == 0 {
		return struct {
			Tool     *string `json:"tool"`
			Operator *string `json:"operator"`
		}{orNull(e.Actor.Tool), orNull(e.Actor.Operator)}
	}
	return struct {
		ID   int64   `json:"id"`
		Name *string `json:"name"`
	}{e.Actor.UserID, orNull(e.ActorName)}
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
