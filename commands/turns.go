package commands

import (
	"context"
	"sync"

	"github.com/carelog/carelog/events"
)

// turns lets commands of one process go one after the other where they have
// met a conflict. Append conditions decide who wins, and they alone keep the log
// right; but where many want to change one record at once, most would decide in
// vain most of the time, and a large decision (removing a doctor with thousands
// of patients) would lose to small ones for ever.
//
// So who has met a conflict takes a turn on the first tag of its query, and
// whoever begins to decide about a tag that has a turn waits for its end. Nobody
// waits while having a turn, so nobody waits in a circle.
type turns struct {
	mu    sync.Mutex
	taken map[events.Tag]chan struct{} // closed at the turn's end
}

// await waits until no tag of the query has a turn.
func (t *turns) await(ctx context.Context, query events.Query) error {
	for {
		end := t.anyTaken(query)
		if end == nil {
			return nil
		}
		select {
		case <-end:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *turns) anyTaken(query events.Query) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.taken) == 0 {
		return nil
	}
	for _, item := range query {
		for _, tag := range item.Tags {
			if end := t.taken[tag]; end != nil {
				return end
			}
		}
	}
	return nil
}

// take takes a turn on the tag, as soon as nobody else has one. The function that
// it answers ends the turn.
func (t *turns) take(ctx context.Context, tag events.Tag) (end func(), err error) {
	for {
		t.mu.Lock()
		other := t.taken[tag]
		if other == nil {
			mine := make(chan struct{})
			if t.taken == nil {
				t.taken = map[events.Tag]chan struct{}{}
			}
			t.taken[tag] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.taken, tag)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
