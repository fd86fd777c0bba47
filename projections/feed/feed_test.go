package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections/feed/feedtest"
	"github.com/carelog/carelog/projections/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startHub runs a hub until the test ends.
func startHub(t *testing.T, log *feedtest.Log) *Hub {
	t.Helper()
	hub := NewHub(log, uuid.New(), log, nil, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return hub.Run(ctx) })
	t.Cleanup(func() {
		stop()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
	})
	return hub
}

// TestReadAnswersWhatTheFilterLetsThrough: looked up in a long log or read from a
// short one, it is what each event says about itself.
func TestReadAnswersWhatTheFilterLetsThrough(t *testing.T) {
	types := []events.Type{events.PatientRegisteredType, events.DoctorAmendedType, events.MappingCreatedType, events.UserRegisteredType}
	for _, n := range []int{200, nearEnough + 500} {
		log, r := feedtest.NewLog(), rand.New(rand.NewPCG(1, 1))
		for range n {
			tags := map[events.Kind][]events.Tag{
				events.Patient: {events.PatientTag(r.Int64N(3)), events.OwnerTag(r.Int64N(3))},
				events.Doctor:  {events.DoctorTag(r.Int64N(3))},
				events.Mapping: {events.MappingTag(1), events.DoctorTag(r.Int64N(3)), events.PatientTag(r.Int64N(3)), events.OwnerTag(r.Int64N(3))},
				events.User:    {events.UserTag(r.Int64N(3))},
			}
			kind := types[r.IntN(len(types))]
			log.Append(1, kind, tags[kind.Entity()]...)
		}
		hub := NewHub(log, uuid.New(), log, nil, slog.New(slog.DiscardHandler))
		for range 100 {
			filter := Filter{Viewer: history.Viewer{User: r.Int64N(3), All: r.IntN(3) == 0}}
			filter.Types = types[:r.IntN(len(types))]
			filter.Tags = []events.Tag{events.DoctorTag(r.Int64N(3)), events.PatientTag(1)}[:r.IntN(3)]
			after, until := events.Position(r.IntN(100)), events.Position(n-r.IntN(50))
			var got, want []events.Position
			for e, err := range hub.Read(t.Context(), filter, after, until) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.Position)
			}
			for _, e := range log.All()[after:until] {
				if filter.Matches(e) {
					want = append(want, e.Position)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%d events, %+v, %d to %d: %d events, want %d", n, filter, after, until, len(got), len(want))
			}
		}
	}
}

// TestASlowFollowerHoldsAPart of what is kept, so the end of its token, or a stop, comes
// after that, and what is kept is not held in memory by who is slow.
func TestASlowFollowerHoldsAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := feedtest.NewLog()
		hub := startHub(t, log)
		f := hub.Follow(Place{})
		defer f.Close()
		synctest.Wait() // until it is followed
		const n = 3*readLimit + 1
		for range n {
			log.Append(1, events.DoctorAmendedType, "doctor:1")
		}
		time.Sleep(time.Second)
		for position := 0; position < n; {
			news, err := f.Next(t.Context())
			if err != nil || len(news) > readLimit || cap(news) > 2*readLimit || news[0].Position != events.Position(position+1) {
				t.Fatalf("after %d: %d events with room for %d, %v", position, len(news), cap(news), err)
			}
			position += len(news)
		}
	})
}

func TestWhoMaySeeWhat(t *testing.T) {
	mine, others := Filter{Viewer: history.Viewer{User: 1}}, Filter{Viewer: history.Viewer{User: 2}}
	for _, c := range []struct {
		eventType events.Type
		tags      []events.Tag
		mine      bool
		others    bool
	}{
		{events.PatientAmendedType, []events.Tag{"patient:1", "owner:1"}, true, false},
		{events.MappingCreatedType, []events.Tag{"mapping:1", "doctor:1", "owner:1"}, true, false},
		{events.DoctorAmendedType, []events.Tag{"doctor:1"}, true, true},
		{events.UserRegisteredType, []events.Tag{"user:1"}, false, false},
		{events.UserDisabledType, []events.Tag{"user:2"}, false, false},
	} {
		e := events.Recorded{Event: events.Event{Type: c.eventType, Tags: c.tags}}
		if mine.Matches(e) != c.mine || others.Matches(e) != c.others || !(Filter{Viewer: history.Viewer{All: true}}).Matches(e) {
			t.Errorf("%s %v", c.eventType, c.tags)
		}
	}
}

// TestFollowersGetEverythingInOrder: many follow at once from different positions, at
// different paces, come and go, while events are appended.
func TestFollowersGetEverythingInOrder(t *testing.T) {
	log := feedtest.NewLog()
	hub := startHub(t, log)
	const n = 3 * kept
	var all errgroup.Group
	for follower := range 20 {
		all.Go(func() error {
			r := rand.New(rand.NewPCG(uint64(follower), 0))
			f := hub.Follow(Place{})
			defer func() { f.Close() }()
			position := events.Position(0)
			for position < n {
				news, err := f.Next(t.Context())
				if errors.Is(err, ErrSlow) { // as who follows does: reads the log, and goes on
					head, _ := log.Head(t.Context())
					for e, err := range hub.Read(t.Context(), Filter{Viewer: history.Viewer{All: true}}, position, head) {
						if err != nil || e.Position != position+1 {
							return fmt.Errorf("from the log, %d after %d: %w", e.Position, position, err)
						}
						position = e.Position
					}
					f.Skip(Place{Position: position})
					continue
				}
				if err != nil {
					return err
				}
				for _, e := range news {
					if e.Position != position+1 || len(e.Document) == 0 || slices.Contains(e.Document, '\n') {
						return fmt.Errorf("%d after %d: %s", e.Position, position, e.Document)
					}
					position = e.Position
				}
				if r.IntN(20) == 0 {
					f.Close()
					f = hub.Follow(Place{Position: position})
				}
			}
			return nil
		})
	}
	for range n {
		log.Append(1, events.DoctorAmendedType, "doctor:1")
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	hub.mu.Lock()
	defer hub.mu.Unlock()
	if len(hub.recent) > 3*kept || hub.followers != 0 {
		t.Errorf("%d events are kept for %d followers", len(hub.recent), hub.followers)
	}
}

// TestWhoFallsBehindIsTold: with nothing lost for who does not.
func TestWhoFallsBehindIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := feedtest.NewLog()
		hub := startHub(t, log)
		slow, quick := hub.Follow(Place{}), hub.Follow(Place{})
		defer slow.Close()
		defer quick.Close()
		synctest.Wait() // until the hub has begun, here and below
		const n = 3*kept + readLimit
		for position := 0; position < n; {
			log.Append(readLimit, events.DoctorAmendedType, "doctor:1")
			news, err := quick.Next(t.Context())
			if err != nil || len(news) == 0 || news[0].Position != events.Position(position+1) {
				t.Fatal(position, len(news), err)
			}
			position += len(news)
		}
		if news, err := slow.Next(t.Context()); !errors.Is(err, ErrSlow) {
			t.Errorf("%d events, %v", len(news), err)
		}
		hub.Stop()
		if _, err := quick.Next(t.Context()); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
	})
}

// TestNobodyFollows: then nothing is read nor kept.
func TestNobodyFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := feedtest.NewLog()
		hub := startHub(t, log)
		f := hub.Follow(Place{})
		synctest.Wait()
		log.Append(1, events.DoctorAmendedType, "doctor:1")
		if news, err := f.Next(t.Context()); err != nil || len(news) != 1 {
			t.Error(len(news), err)
		}
		f.Close()
		time.Sleep(time.Second) // longer than the progress waits
		hub.mu.Lock()
		if hub.live || hub.recent != nil {
			t.Errorf("%d events are kept for nobody", len(hub.recent))
		}
		hub.mu.Unlock()
		before := log.Reads()
		log.Append(100, events.DoctorAmendedType, "doctor:1")
		time.Sleep(time.Second)
		if reads := log.Reads(); reads != before {
			t.Errorf("%d reads for nobody", reads-before)
		}
	})
}

// TestTheLogFailsForAWhile: the hub goes on afterwards, without a gap.
func TestTheLogFailsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := feedtest.NewLog()
		log.Append(1, events.DoctorAmendedType, "doctor:1")
		hub := startHub(t, log)
		f := hub.Follow(Place{Position: 1})
		defer f.Close()
		synctest.Wait()
		log.Fail(events.ErrUnavailable)
		log.Append(1, events.DoctorAmendedType, "doctor:1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if news, err := f.Next(ctx); len(news) > 0 || err != nil {
			t.Error(len(news), err)
		}
		log.Fail(nil)
		for position := events.Position(2); position <= 3; position++ {
			news, err := f.Next(t.Context())
			if err != nil || len(news) != 1 || news[0].Position != position {
				t.Fatalf("%v, %v", news, err)
			}
			log.Append(1, events.DoctorAmendedType, "doctor:1")
		}
	})
}

// TestTheLogGoesBack: who follows is told, since what others append gets the positions
// of what was sent. Who comes afterwards gets what is in the log then.
func TestTheLogGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := feedtest.NewLog()
		hub := startHub(t, log)
		follow := func() *Follower {
			f := hub.Follow(Place{})
			t.Cleanup(f.Close)
			synctest.Wait()
			log.Append(3, events.DoctorAmendedType, "doctor:1")
			if news, err := f.Next(t.Context()); err != nil || len(news) != 3 || news[0].ID != log.All()[0].ID {
				t.Error(news, err)
			}
			return f
		}
		f := follow()
		synctest.Wait()
		log.GoBack(0)
		if _, err := f.Next(t.Context()); !errors.Is(err, ErrWentBack) {
			t.Errorf("who follows is told %v", err)
		}
		follow()
	})
}

// TestWhoKnowsAnEventThatWasLost does not get what follows the one in its place, though
// nobody has seen the log go back.
func TestWhoKnowsAnEventThatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := feedtest.NewLog()
		hub := startHub(t, log)
		log.Append(1, events.DoctorAmendedType, "doctor:1")
		lost, err := hub.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		log.Replace(0, 1, events.DoctorAmendedType)
		there, err := hub.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := hub.Check(t.Context(), lost); !errors.Is(err, ErrWentBack) {
			t.Errorf("it is there: %v", err)
		}
		if err := hub.Check(t.Context(), there); err != nil {
			t.Error(err)
		}
		for _, after := range []Place{lost, there, {Position: 1}} {
			f := hub.Follow(after)
			defer f.Close()
			synctest.Wait() // until the event at position 1 is where the hub begins
			if after != lost {
				log.Append(1, events.DoctorAmendedType, "doctor:1")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			news, err := f.Next(ctx)
			cancel()
			if after == lost && !errors.Is(err, ErrWentBack) || after != lost && (err != nil || len(news) == 0 || news[0].Position != 2) {
				t.Errorf("after %v: %v, %v", after, news, err)
			}
		}
	})
}
