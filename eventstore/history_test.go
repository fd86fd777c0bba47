package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
)

// attempt is a call of Append and its answer.
type attempt struct {
	events    []events.Event
	condition events.AppendCondition
	last      events.Position
	err       error
	gone      bool // the caller was, before the answer
}

// history is everything that was asked of a log and answered.
type history struct {
	// faults allows answers that the log is unavailable.
	faults bool

	mu       sync.Mutex
	attempts []attempt
	answered atomic.Int64
}

// append appends and remembers the answer.
func (h *history) append(ctx context.Context, s *eventstore.Store, condition events.AppendCondition, evs ...events.Event) (events.Position, error) {
	last, err := s.Append(ctx, evs, condition)
	h.mu.Lock()
	h.attempts = append(h.attempts, attempt{evs, condition, last, err, ctx.Err() != nil})
	h.mu.Unlock()
	h.answered.Add(1)
	return last, err
}

// check compares the answers with the log that they led to.
func (h *history) check(t testing.TB, s *eventstore.Store) {
	t.Helper()
	log := readLog(t, s)
	report(t, h.violations(log))
	counts := map[string]int{}
	for _, a := range h.attempts {
		counts[kindOf(a.err)]++
	}
	t.Logf("%d events of %d appends: %v", len(log), len(h.attempts), counts)
}

func report(t testing.TB, violations []string) {
	t.Helper()
	for i, v := range violations {
		if i == 10 {
			t.Errorf("and %d more", len(violations)-i)
			break
		}
		t.Error(v)
	}
}

func readLog(t testing.TB, s *eventstore.Store) []events.Recorded {
	t.Helper()
	var log []events.Recorded
	for e, err := range s.Stream(t.Context(), events.Selection{}) {
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, e)
	}
	return log
}

// kindOf names what an answer says about the events: that they are stored, that
// they are not and why, or that this is unknown.
func kindOf(err error) string {
	switch {
	case err == nil:
		return "stored"
	case errors.Is(err, events.ErrOutcomeUnknown):
		return "unknown"
	case errors.Is(err, events.ErrConflict):
		return "conflict"
	case errors.Is(err, events.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "withdrawn"
	}
	return "failed"
}

// violations replays the log and tells what of the guarantees does not hold.
func (h *history) violations(log []events.Recorded) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []string
	violated := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	at := make(map[uuid.UUID]int, len(log)) // index in log
	tagged := map[events.Tag][]int{}
	all := make([]int, len(log))
	for i, e := range log {
		all[i] = i
		if e.Position != events.Position(i+1) {
			violated("position %d stands at place %d of the log", e.Position, i+1)
		}
		if i > 0 && e.RecordedAt.Before(log[i-1].RecordedAt) {
			violated("position %d was recorded before the one before it", e.Position)
		}
		if before, twice := at[e.ID]; twice {
			violated("event %s is at positions %d and %d", e.ID, log[before].Position, e.Position)
		}
		at[e.ID] = i
		for _, tag := range e.Tags {
			tagged[tag] = append(tagged[tag], i)
		}
	}
	matches := func(q events.Query) (indexes []int) {
		for _, item := range q {
			candidates := all
			if len(item.Tags) > 0 {
				candidates = tagged[item.Tags[0]]
			}
			for _, i := range candidates {
				if (events.Query{item}).Matches(log[i].Type, log[i].Tags) {
					indexes = append(indexes, i)
				}
			}
		}
		return indexes
	}

	asked := map[uuid.UUID]bool{}
	for n, a := range h.attempts {
		there := 0
		for _, e := range a.events {
			asked[e.ID] = true
			if _, stored := at[e.ID]; stored {
				there++
			}
		}
		switch kind := kindOf(a.err); {
		case kind == "failed", kind == "unavailable" && !h.faults, (kind == "unknown" || kind == "withdrawn") && !a.gone:
			violated("append %d was answered with: %v", n, a.err)
		case kind == "unknown" && there != 0 && there != len(a.events), kind != "unknown" && kind != "stored" && there > 0:
			violated("append %d: %d of its %d events are stored, answered was: %v", n, there, len(a.events), a.err)
		case kind == "conflict" && !slices.ContainsFunc(matches(a.condition.FailIfMatch), func(i int) bool { return log[i].Position > a.condition.After }):
			violated("append %d had a conflict, though nothing matches its condition", n)
		}
		if a.err != nil {
			continue
		}
		first := a.last - events.Position(len(a.events)) + 1
		for i, e := range a.events {
			if place, stored := at[e.ID]; !stored || log[place].Position != first+events.Position(i) {
				violated("append %d was answered with positions %d to %d; its event %d is not at its place there", n, first, a.last, i)
				break
			}
		}
		for _, i := range matches(a.condition.FailIfMatch) {
			if p := log[i].Position; p > a.condition.After && p < first {
				violated("append %d at position %d: position %d matches its condition after %d", n, first, p, a.condition.After)
			}
		}
	}
	for _, e := range log {
		if !asked[e.ID] {
			violated("nobody has appended the event at position %d", e.Position)
		}
	}
	return found
}

// follow reads what comes, as a subscriber does that knows nothing but the last
// position it has seen, until ended is closed and everything is read.
func follow(ctx context.Context, s *eventstore.Store, ended <-chan struct{}) ([]events.Recorded, error) {
	var seen []events.Recorded
	last := events.Position(0)
	for over := false; ; {
		page, err := s.Read(ctx, last, 200)
		if err != nil {
			return seen, err
		}
		if len(page) > 0 {
			seen = append(seen, page...)
			last = page[len(page)-1].Position
			continue
		}
		if over {
			return seen, nil
		}
		select {
		case <-ended:
			over = true // what is there now was appended before
		default:
		}
	}
}

// skipped tells where what a follower has seen differs from the log.
func skipped(log, seen []events.Recorded) []string {
	var found []string
	known := map[uuid.UUID]bool{}
	for i, e := range seen {
		if known[e.ID] {
			found = append(found, fmt.Sprintf("a follower has seen position %d twice", e.Position))
		}
		known[e.ID] = true
		if i > 0 && e.Position <= seen[i-1].Position {
			found = append(found, fmt.Sprintf("a follower has seen position %d after %d", e.Position, seen[i-1].Position))
		}
	}
	for _, e := range log {
		if !known[e.ID] {
			found = append(found, fmt.Sprintf("a follower has missed position %d", e.Position))
		}
	}
	return found
}
