package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/carelog/carelog/events"
)

// applier applies events like the projections' runner: it skips what it has
// and refuses a gap.
type applier struct {
	mu         sync.Mutex
	checkpoint events.Position
	delivered  []events.Position // from the bus
	filled     []events.Position // from the log
	before     func([]events.Recorded) error
}

func (a *applier) position() events.Position {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.checkpoint
}

func (a *applier) apply(evs []events.Recorded, seen *[]events.Position) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.before != nil {
		if err := a.before(evs); err != nil {
			return err
		}
	}
	for _, e := range evs {
		*seen = append(*seen, e.Position)
		if e.Position > a.checkpoint+1 {
			return fmt.Errorf("gap: %d after %d", e.Position, a.checkpoint)
		}
		a.checkpoint = max(a.checkpoint, e.Position)
	}
	return nil
}

func (a *applier) deliver(_ context.Context, evs []events.Recorded) error {
	return a.apply(evs, &a.delivered)
}

func (a *applier) fill(_ context.Context, evs []events.Recorded) error {
	return a.apply(evs, &a.filled)
}

func (a *applier) requireSeen(t *testing.T, delivered, filled []events.Position) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.delivered, delivered) || !slices.Equal(a.filled, filled) {
		t.Errorf("by the bus %v, from the log %v; want %v and %v", a.delivered, a.filled, delivered, filled)
	}
}

// runningFeed is a feed in a goroutine, which ends with the test.
type runningFeed struct {
	*Feed
	*applier
	log    *memoryLog
	logged *logText
	cancel context.CancelFunc
	result chan error
}

func runFeed(t *testing.T, conn *Conn, head events.Position, change ...func(*FeedConfig, *applier)) *runningFeed {
	t.Helper()
	r := &runningFeed{applier: &applier{}, log: &memoryLog{head: head}, logged: &logText{}, result: make(chan error, 1)}
	cfg := FeedConfig{
		Conn:     conn,
		LogID:    testLog,
		Log:      r.log,
		Position: r.position,
		Deliver:  r.deliver,
		Fill:     r.applier.fill,
		Logger:   r.logged.logger(slog.LevelInfo),
	}
	for _, c := range change {
		c(&cfg, r.applier)
	}
	feed, err := NewFeed(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Feed = feed
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	var running sync.WaitGroup
	running.Go(func() { r.result <- feed.Run(ctx) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	select {
	case <-feed.Running():
	case <-time.After(10 * time.Second):
		t.Fatal("the feed does not run")
	}
	return r
}

func (r *runningFeed) requireReaches(t *testing.T, position events.Position) {
	t.Helper()
	eventually(t, fmt.Sprintf("position %d is applied", position), func() bool { return r.position() >= position })
}

// requireEnd waits for Run's result.
func (r *runningFeed) requireEnd(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.result:
		return err
	case <-time.After(15 * time.Second):
		t.Fatal("the feed does not end")
		return nil
	}
}

func startingAt(checkpoint events.Position) func(*FeedConfig, *applier) {
	return func(_ *FeedConfig, a *applier) { a.checkpoint = checkpoint }
}

func TestFeedDeliversEverythingByTheBus(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	r := runFeed(t, conn, 0)
	for p := events.Position(1); p < 300; p += 3 {
		mustPublish(t, c, group(p, p+2))
	}
	r.requireReaches(t, 300)
	r.requireSeen(t, positions(1, 300), nil)
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if r.log.reads != 0 {
		t.Errorf("the log was read %d times", r.log.reads)
	}
	r.cancel()
	if err := r.requireEnd(t); err != nil {
		t.Errorf("a cancelled feed ended with %v", err)
	}
	if text := r.logged.String(); text != "" {
		t.Errorf("logged: %s", text)
	}
}

func TestFeedStartsAtTheCheckpoint(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	mustPublish(t, c, recorded(101, 200))
	for _, checkpoint := range []events.Position{150, 100, 50, 200} {
		t.Run(fmt.Sprint(checkpoint), func(t *testing.T) {
			r := runFeed(t, conn, 300, startingAt(checkpoint))
			if checkpoint == 200 { // nothing to come yet
				mustPublish(t, c, recorded(201, 201))
			}
			last := max(checkpoint, 200) + checkpoint/200
			r.requireReaches(t, last)
			r.requireSeen(t, positions(max(checkpoint, 100)+1, last), positions(checkpoint+1, 100))
		})
	}
}

func TestSequenceAfter(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	check := func(name string, want map[events.Position]uint64) {
		t.Helper()
		stream := lookUpStream(t, conn)
		for after, sequence := range want {
			got, err := sequenceAfter(t.Context(), stream, after)
			if err != nil || got != sequence {
				t.Errorf("%s: after position %d at sequence %d (%v), want %d", name, after, got, err, sequence)
			}
		}
	}
	check("empty", map[events.Position]uint64{0: 1, 7: 1})
	publishRaw(t, conn, testLog, recorded(101, 110)...) // sequences 1 to 10
	check("in line", map[events.Position]uint64{0: 1, 99: 1, 100: 1, 101: 2, 104: 5, 109: 10, 110: 11, 500: 11})

	stream := lookUpStream(t, conn)
	if err := stream.DeleteMsg(t.Context(), 5); err != nil { // position 105
		t.Fatal(err)
	}
	check("deleted", map[events.Position]uint64{104: 1, 105: 6, 103: 4})

	publishRaw(t, conn, testLog, recorded(110, 112)...) // 110 twice: sequences 10 and 11, 112 at 13
	check("twice", map[events.Position]uint64{111: 13, 112: 14, 108: 9, 104: 1})

	publishForeign(t, conn)
	check("foreign at the end", map[events.Position]uint64{112: 1})
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("purged", map[events.Position]uint64{112: 15})
}

func TestFeedFillsGapsFromTheLog(t *testing.T) {
	t.Run("deleted in the middle", func(t *testing.T) {
		conn := testBus(t)
		mustPublish(t, newCarrier(t, conn), recorded(1, 20))
		for _, sequence := range []uint64{3, 4, 11} {
			if err := lookUpStream(t, conn).DeleteMsg(t.Context(), sequence); err != nil {
				t.Fatal(err)
			}
		}
		r := runFeed(t, conn, 20)
		r.requireReaches(t, 20)
		r.requireSeen(t, slices.Concat(positions(1, 2), positions(5, 10), positions(12, 20)), []events.Position{3, 4, 11})
		var filled dto.Metric
		if err := conn.metrics.filled.Write(&filled); err != nil || filled.Counter.GetValue() != 3 {
			t.Errorf("%v events were counted as filled in, %v", filled.Counter.GetValue(), err)
		}
	})
	t.Run("purged while running", func(t *testing.T) {
		conn := testBus(t)
		c := newCarrier(t, conn)
		r := runFeed(t, conn, 3000, func(cfg *FeedConfig, _ *applier) { cfg.MaxEvents = 100 })
		mustPublish(t, c, recorded(1, 5))
		r.requireReaches(t, 5)
		if err := lookUpStream(t, conn).Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		requireResume(t, c, 0)
		mustPublish(t, c, recorded(2001, 2002))
		r.requireReaches(t, 2002)
		r.requireSeen(t, []events.Position{1, 2, 3, 4, 5, 2001, 2002}, positions(6, 2000))
		if r.log.reads != 20 {
			t.Errorf("%d reads, want 20 of at most 100 events", r.log.reads)
		}
	})
	t.Run("while somebody else applies them", func(t *testing.T) {
		conn := testBus(t)
		c := newCarrier(t, conn)
		r := runFeed(t, conn, 100, func(cfg *FeedConfig, a *applier) {
			cfg.MaxEvents = 10
			cfg.Fill = func(ctx context.Context, evs []events.Recorded) error {
				err := a.fill(ctx, evs)
				a.mu.Lock()
				a.checkpoint = 95
				a.mu.Unlock()
				return err
			}
		})
		mustPublish(t, c, recorded(50, 100))
		r.requireReaches(t, 100)
		r.requireSeen(t, positions(96, 100), positions(1, 10))
	})
}

func TestFeedWithDuplicatesAndReordering(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	r := runFeed(t, conn, 10, func(_ *FeedConfig, a *applier) { a.checkpoint = 2 })
	evs := recorded(1, 10)
	for _, p := range []events.Position{3, 3, 5, 4, 6, 1, 2, 9, 8, 7, 10, 10, 5} {
		publishRaw(t, conn, testLog, evs[p-1])
	}
	r.requireReaches(t, 10)
	r.requireSeen(t, []events.Position{3, 5, 6, 9, 10}, []events.Position{4, 7, 8})
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func TestFeedRefusesAnotherLog(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	r := runFeed(t, conn, 10)
	publishRaw(t, conn, testLog, recorded(1, 2)...)
	r.requireReaches(t, 2)
	publishRaw(t, conn, otherLog, recorded(3, 3)...)
	var refusal *OtherLogError
	eventually(t, "the refusal is told", func() bool { return errors.As(r.Err(), &refusal) })
	if refusal.Log != testLog || refusal.Found != otherLog.String() {
		t.Errorf("refusal %v", refusal)
	}
	r.requireSeen(t, positions(1, 2), nil)

	publishRaw(t, conn, testLog, recorded(4, 4)...) // all is well again, 3 comes from the log
	r.requireReaches(t, 4)
	eventually(t, "the error is gone", func() bool { return r.Err() == nil })
	r.requireSeen(t, []events.Position{1, 2, 4}, []events.Position{3})
	if n := strings.Count(r.logged.String(), "\n"); n != 1 {
		t.Errorf("%d lines logged: %s", n, r.logged.String())
	}
}

func TestFeedDropsWhatIsNoEvent(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	r := runFeed(t, conn, 10)
	publishForeign(t, conn)
	eventually(t, "it is told", func() bool { return r.Err() != nil })
	if !strings.Contains(r.Err().Error(), "message 1 of the NATS stream CARELOG") {
		t.Error(r.Err())
	}
	publishRaw(t, conn, testLog, recorded(1, 1)...)
	r.requireReaches(t, 1)
	eventually(t, "the error is gone", func() bool { return r.Err() == nil })
}

// The NATS stream ahead of the log: the database lost what it had committed.
func TestFeedDoesNotApplyWhatTheLogDoesNotHave(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	r := runFeed(t, conn, 5)
	publishRaw(t, conn, testLog, recorded(8, 9)...)
	r.requireReaches(t, 5)
	eventually(t, "it is told", func() bool { return r.Err() != nil })
	if !strings.Contains(r.Err().Error(), "the log ends with 5") {
		t.Error(r.Err())
	}
	r.requireSeen(t, nil, positions(1, 5))
}

func TestFeedTriesAgainWhileTheDatabaseIsAway(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	failures := 3
	r := runFeed(t, conn, 10, func(_ *FeedConfig, a *applier) {
		a.before = func(evs []events.Recorded) error {
			if evs[0].Position == 4 && failures > 0 {
				failures--
				return fmt.Errorf("apply: %w", events.ErrUnavailable)
			}
			return nil
		}
	})
	mustPublish(t, c, recorded(1, 1))
	r.requireReaches(t, 1)
	r.log.mu.Lock()
	r.log.fails = fmt.Errorf("read: %w", events.ErrUnavailable)
	r.log.mu.Unlock()
	publishRaw(t, conn, testLog, recorded(4, 6)...)
	r.requireReaches(t, 6)
	eventually(t, "the error is gone", func() bool { return r.Err() == nil })
	if !strings.Contains(r.logged.String(), events.ErrUnavailable.Error()) {
		t.Errorf("logged: %s", r.logged.String())
	}
}

func TestFeedEndsWithTheErrorOfDeliver(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	broken := errors.New("cannot be applied")
	t.Run("an error", func(t *testing.T) {
		r := runFeed(t, conn, 10, func(_ *FeedConfig, a *applier) {
			a.before = func([]events.Recorded) error { return broken }
		})
		mustPublish(t, c, recorded(1, 2))
		if err := r.requireEnd(t); !errors.Is(err, broken) || !strings.Contains(err.Error(), "positions 1 to ") {
			t.Errorf("ended with %v", err)
		}
		r.requireSeen(t, nil, nil)
	})
	t.Run("of the log", func(t *testing.T) {
		r := runFeed(t, conn, 10, startingAt(1))
		r.log.mu.Lock()
		r.log.fails = broken
		r.log.mu.Unlock()
		publishRaw(t, conn, testLog, recorded(9, 9)...)
		if err := r.requireEnd(t); !errors.Is(err, broken) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("a panic", func(t *testing.T) {
		r := runFeed(t, conn, 10, func(cfg *FeedConfig, _ *applier) {
			cfg.Deliver = func(context.Context, []events.Recorded) error { panic("a mistake in a projection") }
		})
		if err := r.requireEnd(t); err == nil || !strings.Contains(err.Error(), "a mistake in a projection") {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestFeedEndsWhileDelivering(t *testing.T) {
	conn := testBus(t)
	mustPublish(t, newCarrier(t, conn), recorded(1, 2))
	entered := make(chan struct{})
	r := runFeed(t, conn, 10, func(cfg *FeedConfig, _ *applier) {
		cfg.Deliver = func(ctx context.Context, _ []events.Recorded) error {
			close(entered)
			<-ctx.Done()
			return ctx.Err()
		}
	})
	<-entered
	r.cancel()
	if err := r.requireEnd(t); err != nil {
		t.Errorf("ended with %v", err)
	}
}
