package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/carelog/carelog/events"
)

// moment is a state of the log as a command line names it: by a position or by a
// time. It is the value of a flag; the zero value stands for a flag that was not
// given.
type moment struct {
	text     string
	position events.Position // 0: by the time
	time     time.Time
}

// momentHelp explains the flags that take a moment.
const momentHelp = `A moment is a position of the log, or a time: 2026-01-31T08:30:00Z (RFC 3339), or a
date as 2026-01-31, which is its midnight on this machine's clock. Times are as
exact as those of the events, a microsecond. A time in the future, and a position
that the log has not reached, are mistakes.`

// exitHelp lists the exit statuses of the commands that look into the log.
const exitHelp = `Exit status: 0 done, 1 an error, 2 a mistake in the command line or in the
configuration`

// Set implements [pflag.Value].
func (m *moment) Set(text string) error {
	if position, err := strconv.ParseInt(text, 10, 64); err == nil {
		if position < 1 {
			return errors.New("positions begin with 1")
		}
		*m = moment{text: text, position: events.Position(position)}
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			*m = moment{text: text, time: at}
			return nil
		}
	}
	return errors.New("write a position, a date as 2026-01-31, or a time as 2026-01-31T08:30:00Z")
}

// String implements [pflag.Value].
func (m *moment) String() string { return m.text }

// Type implements [pflag.Value].
func (m *moment) Type() string { return "moment" }

func (m *moment) given() bool { return m.text != "" }

// endAt is the position of the last event that was in the log at the moment, 0 for
// none; the moment of a position is that of its event. What the log cannot tell yet
// is the mistake of whoever gave the flag.
func (o *operator) endAt(ctx context.Context, m moment) (events.Position, error) {
	if m.position == 0 {
		return o.positionAt(ctx, m, m.time)
	}
	head, err := o.store.Head(ctx)
	if err != nil {
		return 0, err
	}
	if m.position > head {
		return 0, &momentError{fmt.Sprintf("the log ends at position %d, before %s", head, m.text)}
	}
	return m.position, nil
}

// beginAt is the position after which the events since the moment follow.
func (o *operator) beginAt(ctx context.Context, m moment) (events.Position, error) {
	if m.position == 0 {
		return o.positionAt(ctx, m, m.time.Add(-time.Nanosecond)) // those of the moment itself belong to it
	}
	head, err := o.store.Head(ctx)
	if err != nil {
		return 0, err
	}
	if m.position > head+1 { // that of the next event names the end, for who goes on later
		return 0, &momentError{fmt.Sprintf("the log ends at position %d, before %s", head, m.text)}
	}
	return m.position - 1, nil
}

// momentError is a moment that the log cannot tell of: a mistake in the command
// line that only the log shows.
type momentError struct{ message string }

func (e *momentError) Error() string { return e.message }

func (o *operator) positionAt(ctx context.Context, m moment, at time.Time) (events.Position, error) {
	position, err := o.store.PositionAt(ctx, at)
	if errors.Is(err, events.ErrFuture) {
		return 0, &momentError{m.text + " is in the future"}
	}
	return position, err
}
