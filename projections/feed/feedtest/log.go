// Package feedtest has a log in memory, for tests of who follows one.
package feedtest

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// Log is a log, and the progress of its read tables, which contain everything at once.
// It is safe for concurrent use.
type Log struct {
	mu       sync.Mutex
	evs      []events.Recorded
	changed  chan struct{} // closed, and made anew, when it has
	restarts int64
	reads    int
	fails    error
	onStream func()
}

// NewLog returns an empty one.
func NewLog() *Log { return &Log{changed: make(chan struct{})} }

// Append appends so many events of a type. Their data have a line break.
func (l *Log) Append(count int, t events.Type, tags ...events.Tag) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(count, t, tags)
}

func (l *Log) append(count int, t events.Type, tags []events.Tag) {
	for range count {
		l.evs = append(l.evs, events.Recorded{
			Event:    events.Event{ID: uuid.New(), Type: t, SchemaVersion: 1, Tags: tags, Data: []byte("{\n}")},
			Position: events.Position(len(l.evs) + 1),
		})
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// GoBack loses the events after a position, which the progress sees.
func (l *Log) GoBack(to events.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evs = l.evs[:to]
	l.restarts++
	close(l.changed)
	l.changed = make(chan struct{})
}

// Replace loses the events after a position and appends so many others at once. The
// progress does not see it.
func (l *Log) Replace(after events.Position, by int, t events.Type) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evs = l.evs[:after]
	l.append(by, t, nil)
}

// Fail has every read fail with an error; nil: none any more.
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails = err
}

// OnStream has a function called at the begin of every Stream.
func (l *Log) OnStream(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onStream = f
}

// Reads counts those of Read.
func (l *Log) Reads() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

// All answers the events.
func (l *Log) All() []events.Recorded {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.evs)
}

// Stream answers the events of a selection that has an end, in order.
func (l *Log) Stream(_ context.Context, s events.Selection) iter.Seq2[events.Recorded, error] {
	l.mu.Lock()
	onStream := l.onStream
	l.mu.Unlock()
	if onStream != nil {
		onStream()
	}
	l.mu.Lock()
	evs, fails := slices.Clone(l.evs), l.fails
	l.mu.Unlock()
	return func(yield func(events.Recorded, error) bool) {
		for _, e := range evs {
			if e.Position > s.After && e.Position <= s.Until && s.Matches(e.Event, events.Actor{}) && !yield(e, nil) {
				return
			}
		}
		if fails != nil {
			yield(events.Recorded{}, fails)
		}
	}
}

// Read answers at most limit events that follow a position, in order.
func (l *Log) Read(_ context.Context, after events.Position, limit int) ([]events.Recorded, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	rest := l.evs[min(int(after), len(l.evs)):]
	return slices.Clone(rest[:min(limit, len(rest))]), l.fails
}

// Head is the position of the last event.
func (l *Log) Head(context.Context) (events.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return events.Position(len(l.evs)), nil
}

// Restarts counts how often it went back.
func (l *Log) Restarts() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.restarts
}

// Wait returns nil when the log has the position. It fails with
// [projections.ErrWentBack], and with [projections.ErrPending] after 20 milliseconds.
func (l *Log) Wait(ctx context.Context, p events.Position) error {
	pending := time.NewTimer(20 * time.Millisecond)
	defer pending.Stop()
	for before := l.Restarts(); ; {
		l.mu.Lock()
		reached, changed, restarts := len(l.evs) >= int(p), l.changed, l.restarts
		l.mu.Unlock()
		switch {
		case reached:
			return nil
		case restarts != before:
			return projections.ErrWentBack
		}
		select {
		case <-changed:
		case <-pending.C:
			return projections.ErrPending
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
