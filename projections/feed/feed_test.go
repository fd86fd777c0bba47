package feed

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryLog is a log in memory, which is also its own progress.
type memoryLog struct {
	mu    sync.Mutex
	evs   []events.Recorded
	reads int
	fails error
	grown chan struct{} // closed when there is more

	restarts int64
}

func newLog() *memoryLog { return &memoryLog{grown: make(chan struct{})} }

func (l *memoryLog) append(t events.Type, tags ...events.Tag) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evs = append(l.evs, events.Recorded{
		Event:    events.Event{ID: uuid.New(), Type: t, SchemaVersion: 1, Tags: tags, Data: []byte("{\n}")},
		Position: events.Position(len(l.evs) + 1),
	})
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *memoryLog) Stream(_ context.Context, s events.Selection) iter.Seq2[events.Recorded, error] {
	l.mu.Lock()
	evs, fails := slices.Clone(l.evs), l.fails
	l.mu.Unlock()
	return func(yield func(events.Recorded, error) bool) {
		for _, e := range evs {
			in := (len(s.Query) == 0 || s.Query.Matches(e.Type, e.Tags)) && (s.Kind == "" || e.Type.Entity() == s.Kind) && (len(s.Types) == 0 || slices.Contains(s.Types, e.Type)) &&
				e.Position > s.After && e.Position <= s.Until
			if in && !yield(e, nil) {
				return
			}
		}
		if fails != nil {
			yield(events.Recorded{}, fails)
		}
	}
}

func (l *memoryLog) Read(_ context.Context, after events.Position, limit int) ([]events.Recorded, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	rest := l.evs[min(int(after), len(l.evs)):]
	return slices.Clone(rest[:min(limit, len(rest))]), l.fails
}

func (l *memoryLog) at(p events.Position) events.Recorded {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.evs[p-1]
}

func (l *memoryLog) Head(context.Context) (events.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return events.Position(len(l.evs)), nil
}

func (l *memoryLog) Restarts() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.restarts
}

// goBack loses the last events.
func (l *memoryLog) goBack(to int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evs = l.evs[:to]
	l.restarts++
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *memoryLog) Wait(ctx context.Context, p events.Position) error {
	for {
		l.mu.Lock()
		reached, grown := events.Position(len(l.evs)) >= p, l.grown
		l.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-grown:
		case <-time.After(20 * time.Millisecond):
			return projections.ErrPending
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// startHub runs a hub until the test ends.
func startHub(t *testing.T, log *memoryLog) *Hub {
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
		log, r := newLog(), rand.New(rand.NewPCG(1, 1))
		for range n {
			tags := map[events.Kind][]events.Tag{
				events.Patient: {events.PatientTag(r.Int64N(3)), events.OwnerTag(r.Int64N(3))},
				events.Doctor:  {events.DoctorTag(r.Int64N(3))},
				events.Mapping: {events.MappingTag(1), events.DoctorTag(r.Int64N(3)), events.PatientTag(r.Int64N(3)), events.OwnerTag(r.Int64N(3))},
				events.User:    {events.UserTag(r.Int64N(3))},
			}
			kind := types[r.IntN(len(types))]
			log.append(kind, tags[kind.Entity()]...)
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
			for _, e := range log.evs[after:until] {
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
		log := newLog()
		hub := startHub(t, log)
		f := hub.Follow(Place{})
		defer f.Close()
		synctest.Wait() // until it is followed
		const n = 3*readLimit + 1
		for range n {
			log.append(events.DoctorAmendedType, "doctor:1")
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
	log := newLog()
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
		log.append(events.DoctorAmendedType, "doctor:1")
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
	log := newLog()
	hub := startHub(t, log)
	slow, quick := hub.Follow(Place{}), hub.Follow(Place{})
	defer slow.Close()
	defer quick.Close()
	for i := range 3*kept + readLimit {
		log.append(events.DoctorAmendedType, "doctor:1")
		if i%readLimit != 0 {
			continue
		}
		if news, err := quick.Next(t.Context()); err != nil && !errors.Is(err, ErrSlow) || len(news) == 0 && err == nil {
			t.Fatal(len(news), err)
		} else if errors.Is(err, ErrSlow) {
			quick.Skip(Place{Position: events.Position(i)}) // it began before the hub did
		}
	}
	if news, err := slow.Next(t.Context()); !errors.Is(err, ErrSlow) {
		t.Errorf("%d events, %v", len(news), err)
	}
	hub.Stop()
	if _, err := quick.Next(t.Context()); !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
}

// TestNobodyFollows: then nothing is read nor kept.
func TestNobodyFollows(t *testing.T) { synctest.Test(t, nobodyFollows) }

func nobodyFollows(t *testing.T) {
	log := newLog()
	hub := startHub(t, log)
	f := hub.Follow(Place{})
	for {
		log.append(events.DoctorAmendedType, "doctor:1")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		news, err := f.Next(ctx)
		cancel()
		if err != nil || len(news) > 0 {
			break
		}
	}
	f.Close()
	time.Sleep(time.Second) // of the bubble: longer than the progress waits
	synctest.Wait()
	hub.mu.Lock()
	if hub.live || hub.recent != nil {
		t.Errorf("%d events are kept for nobody", len(hub.recent))
	}
	hub.mu.Unlock()
	before := log.reads
	for range 100 {
		log.append(events.DoctorAmendedType, "doctor:1")
	}
	synctest.Wait()
	if log.mu.Lock(); log.reads != before {
		t.Errorf("%d reads for nobody", log.reads-before)
	}
	log.mu.Unlock()
}

// TestTheLogFailsForAWhile: the hub goes on afterwards, without a gap.
func TestTheLogFailsForAWhile(t *testing.T) {
	log := newLog()
	log.append(events.DoctorAmendedType, "doctor:1")
	hub := startHub(t, log)
	f := hub.Follow(Place{Position: 1})
	defer f.Close()
	log.mu.Lock()
	log.fails = events.ErrUnavailable
	log.mu.Unlock()
	log.append(events.DoctorAmendedType, "doctor:1")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if news, err := f.Next(ctx); len(news) > 0 || err != nil && !errors.Is(err, ErrSlow) {
		t.Fatal(len(news), err)
	}
	log.mu.Lock()
	log.fails = nil
	log.mu.Unlock()
	log.append(events.DoctorAmendedType, "doctor:1")
	news, err := f.Next(t.Context())
	if errors.Is(err, ErrSlow) { // the hub began after the events
		return
	}
	if err != nil || len(news) == 0 || news[0].Position != 2 {
		t.Errorf("%v, %v", news, err)
	}
}

// TestTheLogGoesBack: who follows is told, since what others append gets the positions
// of what was sent. Who comes afterwards gets what is in the log then.
func TestTheLogGoesBack(t *testing.T) {
	log := newLog()
	hub := startHub(t, log)
	await := func(f *Follower) []Event {
		t.Helper()
		for {
			log.append(events.DoctorAmendedType, "doctor:1")
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			news, err := f.Next(ctx)
			cancel()
			if err != nil && !errors.Is(err, ErrSlow) {
				t.Fatal(err)
			}
			if len(news) > 0 {
				return news
			}
			head, _ := log.Head(t.Context())
			f.Skip(Place{Position: head})
		}
	}
	f := hub.Follow(Place{})
	defer f.Close()
	await(f)
	told := make(chan error)
	go func() {
		_, err := f.Next(t.Context())
		told <- err
	}()
	log.goBack(0)
	if err := <-told; !errors.Is(err, ErrWentBack) {
		t.Errorf("who follows is told %v", err)
	}
	later := hub.Follow(Place{})
	defer later.Close()
	for _, e := range await(later) {
		if there := log.at(e.Position); e.ID != there.ID {
			t.Errorf("who comes afterwards gets %s at position %d, where the log has %s", e.ID, e.Position, there.ID)
		}
	}
}

// TestWhoKnowsAnEventThatWasLost does not get what follows the one in its place, though
// nobody has seen the log go back.
func TestWhoKnowsAnEventThatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		hub := startHub(t, log)
		log.append(events.DoctorAmendedType, "doctor:1")
		lost, err := hub.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		log.mu.Lock()
		log.evs = nil
		log.mu.Unlock()
		log.append(events.DoctorAmendedType, "doctor:1")
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
				log.append(events.DoctorAmendedType, "doctor:1")
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
