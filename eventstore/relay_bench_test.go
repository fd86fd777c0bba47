package eventstore_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// BenchmarkRelay takes events to a publisher that does nothing: those that were
// just appended, handed over in memory (the time beyond BenchmarkAppend with one
// writer is the relay's), and a backlog of 20,000, read from the log.
//
//	CARELOG_TEST_DATABASE_URL=… go test -run xxx -bench Relay ./eventstore
func BenchmarkRelay(b *testing.B) {
	b.Run("appended", func(b *testing.B) {
		s, c := open(b, pgtest.New(b)), newCarrier()
		startRelay(b, s, c, false)
		for b.Loop() {
			c.waitFor(b, mustAppend(b, s, events.AppendCondition{}, event(events.PatientAmendedType, "patient:1", "owner:1")))
			c.forget()
		}
	})
	b.Run("backlog", func(b *testing.B) {
		s := open(b, pgtest.New(b))
		const backlog, each = 20_000, 500
		for range backlog / each {
			evs := make([]events.Event, each)
			for i := range evs {
				evs[i] = event(events.PatientAmendedType, "patient:1", "owner:1")
			}
			mustAppend(b, s, events.AppendCondition{}, evs...)
		}
		for b.Loop() {
			ctx, arrived := context.WithCancelCause(b.Context())
			relay := eventstore.NewRelay(eventstore.RelayConfig{
				Store: s, Logger: slog.New(slog.DiscardHandler),
				Publisher: until{position: backlog, arrived: func() { arrived(errArrived) }},
				Begin:     func(context.Context) (events.Position, error) { return 0, nil },
			})
			if err := relay.Run(ctx); err != nil || !errors.Is(context.Cause(ctx), errArrived) {
				b.Fatal(err, context.Cause(ctx))
			}
		}
		b.ReportMetric(float64(b.N*backlog)/b.Elapsed().Seconds(), "events/s")
	})
}

var errArrived = errors.New("arrived")

// until is a publisher that tells when it has a position.
type until struct {
	position events.Position
	arrived  func()
}

func (u until) Resume(context.Context) (events.Position, error) { return 0, nil }

func (u until) Publish(_ context.Context, evs []events.Recorded) error {
	if evs[len(evs)-1].Position >= u.position {
		u.arrived()
	}
	return nil
}
