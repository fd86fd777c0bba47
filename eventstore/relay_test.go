package eventstore_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// carrier records what is published. It may fail: before or after a batch
// arrived.
type carrier struct {
	mu       sync.Mutex
	arrived  []events.Recorded
	failures int // how many publishes still fail
	disorder int // events of a publish that do not follow the one before
	grown    chan struct{}
}

func newCarrier() *carrier { return &carrier{grown: make(chan struct{}, 1)} }

func (c *carrier) Resume(context.Context) (events.Position, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.arrived) == 0 {
		return 0, nil
	}
	return c.arrived[len(c.arrived)-1].Position, nil
}

func (c *carrier) Publish(_ context.Context, evs []events.Recorded) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range evs {
		if e.Position != evs[0].Position+events.Position(i) {
			c.disorder++
		}
	}
	if c.failures > 0 {
		c.failures--
		if c.failures%2 == 0 {
			c.arrived = append(c.arrived, evs[:len(evs)/2]...)
		}
		return errors.New("the carrier failed")
	}
	c.arrived = append(c.arrived, evs...)
	select {
	case c.grown <- struct{}{}:
	default:
	}
	return nil
}

// forget drops all but the last of what arrived.
func (c *carrier) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrived = c.arrived[len(c.arrived)-1:]
}

func (c *carrier) waitFor(t testing.TB, position events.Position) []events.Recorded {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		c.mu.Lock()
		arrived := c.arrived
		c.mu.Unlock()
		if n := len(arrived); n > 0 && arrived[n-1].Position >= position {
			return arrived
		}
		select {
		case <-c.grown:
		case <-deadline:
			t.Fatalf("position %d did not arrive", position)
		}
	}
}

func startRelay(t testing.TB, s *eventstore.Store, c *carrier, listen bool) *eventstore.Relay {
	t.Helper()
	relay := eventstore.NewRelay(eventstore.RelayConfig{
		Store: s, Publisher: c, Logger: slog.New(slog.DiscardHandler),
		Begin: func(context.Context) (events.Position, error) { return 0, nil },
	})
	ctx, stop := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return relay.Run(ctx) })
	if listen {
		running.Go(func() error { return relay.Listen(ctx) })
	}
	t.Cleanup(func() {
		stop()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
	})
	return relay
}

func checkConsecutive(t *testing.T, evs []events.Recorded) {
	t.Helper()
	for i, e := range evs {
		if e.Position != evs[0].Position+events.Position(i) {
			t.Fatalf("position %d follows %d", e.Position, evs[i-1].Position)
		}
	}
}

func TestTheRelayPublishesEverythingOnceInOrder(t *testing.T) {
	url := pgtest.New(t)
	mine, others := open(t, url), open(t, url)
	for range 3 {
		mustAppend(t, mine, events.AppendCondition{}, event("a.done"))
	}
	c := newCarrier()
	c.failures = 7
	relay := startRelay(t, mine, c, true)
	var writing errgroup.Group
	for w := range 16 {
		writing.Go(func() error {
			for range 25 {
				store := mine
				if w%4 == 0 {
					store = others
				}
				if _, err := store.Append(t.Context(), []events.Event{event("a.done"), event("b.done")}, events.AppendCondition{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := writing.Wait(); err != nil {
		t.Fatal(err)
	}
	arrived := c.waitFor(t, 803)
	checkConsecutive(t, arrived)
	if len(arrived) != 803 || c.disorder > 0 || relay.Err() != nil {
		t.Fatalf("%d events arrived, %d out of order, %v", len(arrived), c.disorder, relay.Err())
	}
}

func TestTheRelayResumesAfterWhatArrived(t *testing.T) {
	url := pgtest.New(t)
	s := open(t, url)
	for range 5 {
		mustAppend(t, s, events.AppendCondition{}, event("a.done"))
	}
	first, err := s.Read(t.Context(), 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	c := newCarrier()
	c.arrived = first
	startRelay(t, s, c, false)
	checkConsecutive(t, c.waitFor(t, 5))
}
