package eventstore_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// The benchmarks of the log, in the form that benchstat compares:
//
//	CARELOG_TEST_DATABASE_URL=… go test -run xxx -bench . -count 6 ./eventstore
//
// On 2 cores that run PostgreSQL as well, with a commit at 0.19 ms: one writer
// 3,200 events a second, 8 writers 14,500, 64 writers 39,000 with a condition
// each and 42,000 without; 10,001 events at once in 0.19 seconds.

// BenchmarkAppend appends events with two tags each, one by one, by a number of
// writers that each wait for the answer. With a condition it is the one of a
// registration: no event of this type with this tag. Two stores, as two
// processes have them, share the writers.
func BenchmarkAppend(b *testing.B) {
	for _, stores := range []int{1, 2} {
		for _, writers := range []int{1, 8, 64} {
			for _, condition := range []bool{false, true} {
				b.Run(fmt.Sprintf("stores=%d/writers=%d/condition=%t", stores, writers, condition), func(b *testing.B) {
					benchmarkAppend(b, stores, writers, condition)
				})
			}
		}
	}
}

func benchmarkAppend(b *testing.B, stores, writers int, conditional bool) {
	url := pgtest.New(b)
	opened := make([]*eventstore.Store, stores)
	for i := range opened {
		opened[i] = open(b, url)
	}
	var last atomic.Int64
	var group errgroup.Group
	b.ResetTimer()
	for w := range writers {
		group.Go(func() error {
			for {
				n := last.Add(1)
				if n > int64(b.N) {
					return nil
				}
				tag := events.PatientTag(n)
				var condition events.AppendCondition
				if conditional {
					condition.FailIfMatch = events.Query{{Types: []events.Type{events.PatientRegisteredType}, Tags: []events.Tag{tag}}}
				}
				e := event(events.PatientRegisteredType, tag, events.OwnerTag(n%100))
				if _, err := opened[w%stores].Append(b.Context(), []events.Event{e}, condition); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkAppendMany appends 10,001 events at once, as the removal of a doctor
// with 10,000 patients does.
func BenchmarkAppendMany(b *testing.B) {
	s := open(b, pgtest.New(b))
	const many = 10_000
	mapping := int64(0)
	for b.Loop() {
		b.StopTimer()
		evs := []events.Event{event(events.DoctorRemovedType, events.DoctorTag(7))}
		for range many {
			mapping++
			evs = append(evs, event(events.MappingRemovedType, events.MappingTags(mapping, mapping, 7, 1)...))
		}
		b.StartTimer()
		mustAppend(b, s, events.AppendCondition{}, evs...)
	}
	b.ReportMetric(float64(b.N*(many+1))/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkRead reads a log of 50,000 events: all of it in order, by a tag that
// every tenth has, and a history of ten events as commands load it.
func BenchmarkRead(b *testing.B) {
	s := open(b, pgtest.New(b))
	const size = 50_000
	for i := range int64(size / 500) {
		evs := make([]events.Event, 500)
		for j := range evs {
			n := i*500 + int64(j)
			evs[j] = event(events.PatientAmendedType, events.PatientTag(n/10), events.OwnerTag(n%10))
		}
		mustAppend(b, s, events.AppendCondition{}, evs...)
	}
	stream := func(b *testing.B, q events.Query, want int) {
		for b.Loop() {
			n := 0
			for _, err := range s.Stream(b.Context(), events.Selection{Query: q}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != want {
				b.Fatalf("%d events", n)
			}
		}
		b.ReportMetric(float64(b.N*want)/b.Elapsed().Seconds(), "events/s")
	}
	b.Run("all", func(b *testing.B) { stream(b, nil, size) })
	b.Run("tag", func(b *testing.B) { stream(b, events.Query{{Tags: []events.Tag{events.OwnerTag(3)}}}, size/10) })
	b.Run("history", func(b *testing.B) {
		n := int64(0)
		for b.Loop() {
			n++
			found, _, err := s.Load(b.Context(), events.Query{{Tags: []events.Tag{events.PatientTag(n % (size / 10))}}}, 0)
			if err != nil || len(found) != 10 {
				b.Fatalf("%d events, %v", len(found), err)
			}
		}
	})
}
