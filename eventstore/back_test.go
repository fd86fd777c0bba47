package eventstore_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// TestAConditionOnALogThatHasGoneBackFails: it rests on a position that was lost,
// and what was appended since is not after it. A store that trusts positions does
// not find out.
func TestAConditionOnALogThatHasGoneBackFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		open opener
		want error
	}{
		"as it is":              {open, events.ErrConflict},
		"that trusts positions": {openAltered((*eventstore.Store).TrustPositions), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			s := c.open(t, url)
			seen := mustAppend(t, s, events.AppendCondition{}, event("b.done"), event("b.done"), event("b.done"))
			conn := connect(t, url)
			execute(t, conn, "delete from event_tags where position > 1")
			execute(t, conn, "delete from events where position > 1")
			head := mustAppend(t, s, events.AppendCondition{}, event("a.done", "user:1"))
			for _, condition := range []events.AppendCondition{
				none(seen, "a.done", "user:1"),
				none(seen, "a.done"),
				{FailIfMatch: events.Query{{Tags: []events.Tag{"user:1"}}}, After: seen},
			} {
				_, err := s.Append(t.Context(), []events.Event{event("c.done")}, condition, none(head, "a.done", "user:1"))
				if !errors.Is(err, c.want) {
					t.Errorf("%+v: %v, want %v", condition, err, c.want)
				}
			}
			mustAppend(t, s, none(head, "a.done", "user:1"), event("c.done"))
		})
	}
}

// TestAConditionRestsOnNothingOfItsGroup: the positions that earlier members are
// about to get are not there, since nobody can have seen them.
func TestAConditionRestsOnNothingOfItsGroup(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	release := hold(t, &history{}, s, url) // the log has one event
	var appending sync.WaitGroup
	appendLater := func(condition events.AppendCondition, answer *error, evs ...events.Event) {
		appending.Go(func() { _, *answer = s.Append(t.Context(), evs, condition) })
	}
	var alone, earlier, onTheHead, beyond error
	appendLater(events.AppendCondition{}, &alone, event("a.done")) // position 2, a group of its own
	waitForSession(t, url)
	appendLater(events.AppendCondition{}, &earlier, event("a.done"), event("a.done"))
	s.AwaitWaiting(1)
	appendLater(none(2, "b.done"), &onTheHead, event("c.done"))
	appendLater(none(3, "b.done"), &beyond, event("c.done"))
	s.AwaitWaiting(3)
	release()
	appending.Wait()
	if alone != nil || earlier != nil || onTheHead != nil || !errors.Is(beyond, events.ErrConflict) {
		t.Errorf("answered with %v, %v, %v; beyond the head: %v", alone, earlier, onTheHead, beyond)
	}
}
