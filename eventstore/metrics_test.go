package eventstore_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/metricstest"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// stuck publishes when it is allowed to.
type stuck struct {
	tried chan struct{}
	free  chan struct{}
}

func (s stuck) Resume(context.Context) (events.Position, error) { return 1, nil }

func (s stuck) Publish(ctx context.Context, _ []events.Recorded) error {
	select {
	case s.tried <- struct{}{}:
	default:
	}
	select {
	case <-s.free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestMetricsOfTheLog: appends by outcome, and the lag of the relay while it is stuck
// and afterwards; of one that does not run nothing is told.
func TestMetricsOfTheLog(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	s := open(t, pgtest.New(t), func(c *eventstore.Config) { c.Metrics = registry })
	publisher := stuck{make(chan struct{}, 1), make(chan struct{})}
	relay := eventstore.NewRelay(eventstore.RelayConfig{Store: s, Publisher: publisher, Metrics: registry, Logger: slog.New(slog.DiscardHandler)})
	for range 3 {
		mustAppend(t, s, none(0, "a.b", "c:1"), event("a.b"))
	}
	if _, err := s.Append(t.Context(), []events.Event{event("a.b")}, none(0, "a.b")); !errors.Is(err, events.ErrConflict) {
		t.Fatal(err)
	}
	got := metricstest.Gather(t, registry)
	for name, want := range map[string]float64{
		"carelog_appends_total stored": 3, "carelog_appends_total conflict": 1, "carelog_appends_total refused": 0, "carelog_log_position": 3,
		"carelog_append_duration_seconds": 4, "carelog_append_group_duration_seconds": 4, "carelog_append_group_events": 4, "carelog_append_waiting": 0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if _, told := got["carelog_relay_lag_events"]; told {
		t.Error("a relay that does not run has a lag")
	}

	ctx, stop := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return relay.Run(ctx) })
	<-publisher.tried
	got = metricstest.Gather(t, registry)
	if got["carelog_relay_position"] != 1 || got["carelog_relay_lag_events"] != 2 || got["carelog_relay_lag_seconds"] <= 0 || got["carelog_relay_up"] != 1 {
		t.Errorf("a relay that is stuck: %v", got)
	}
	close(publisher.free)
	for deadline := time.Now().Add(20 * time.Second); relay.Published() < 3; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("nothing was published")
		}
	}
	got = metricstest.Gather(t, registry)
	if got["carelog_relay_position"] != 3 || got["carelog_relay_lag_events"] != 0 || got["carelog_relay_lag_seconds"] != 0 {
		t.Errorf("a relay that has published everything: %v", got)
	}
	stop()
	if err := running.Wait(); err != nil {
		t.Error(err)
	}
}
