package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

// Everything at once, as in production: carrier and feed over one connection,
// while the NATS server is restarted, wiped, and its NATS stream purged.
func TestPipelineOverFaults(t *testing.T) {
	nats := runRestartable(t)
	conn := connect(t, ConnConfig{URL: nats.url()})
	c := NewCarrier(CarrierConfig{Conn: conn, LogID: testLog, AckWait: time.Second})
	r := runFeed(t, conn, 1_000_000)

	// Like the relay: publish, and resume after any failure.
	head := events.Position(0)
	publish := func(n events.Position) {
		t.Helper()
		head += n
		eventually(t, "published", func() bool {
			at, err := c.Resume(t.Context())
			if err == nil && at == 0 {
				at = r.position()
			}
			return err == nil && (at >= head || c.Publish(t.Context(), group(at+1, head)) == nil)
		})
		r.requireReaches(t, head)
	}
	publish(20)
	nats.stop()
	nats.start()
	publish(20)
	nats.stop()
	if err := os.RemoveAll(nats.options.StoreDir); err != nil {
		t.Fatal(err)
	}
	nats.start()
	publish(20)
	if err := conn.js.DeleteStream(t.Context(), StreamName); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatal(err)
	}
	publish(20)
	if err := lookUpStream(t, conn).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(20)
	select {
	case err := <-r.result:
		t.Fatalf("the feed ended: %v", err)
	default:
	}
}

// The whole way of a group of events through NATS to the applier.
func BenchmarkCarryGroup(b *testing.B) {
	for _, size := range []events.Position{1, 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchmarkCarryGroup(b, size) })
	}
}

func benchmarkCarryGroup(b *testing.B, size events.Position) {
	conn := testBus(b)
	c := newCarrier(b, conn)
	applied := make(chan events.Position, 1000)
	var at events.Position
	feed, err := NewFeed(FeedConfig{
		Conn: conn, LogID: testLog, Log: &memoryLog{},
		Position: func() events.Position { return at },
		Deliver: func(_ context.Context, evs []events.Recorded) error {
			at = evs[len(evs)-1].Position
			applied <- at
			return nil
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { feed.Run(ctx) })
	defer running.Wait()
	defer cancel()
	next := events.Position(1)
	for b.Loop() {
		if err := c.Publish(b.Context(), group(next, next+size-1)); err != nil {
			b.Fatal(err)
		}
		next += size
		for <-applied < next-1 {
		}
	}
}
