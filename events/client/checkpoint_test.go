package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
)

// goBack loses the events after a position, and others take their places: so many.
func (s *server) goBack(to, others int) {
	s.t.Helper()
	s.mu.Lock()
	s.evs = s.evs[:to]
	s.mu.Unlock()
	for range others {
		s.add(true)
	}
}

// TestFollowALogThatGoesBack: also when it has grown past what was followed before that is
// noticed, when that happens while nobody follows, and when nothing was handed over of
// what was lost.
func TestFollowALogThatGoesBack(t *testing.T) {
	for name, others := range map[string]int{"shorter": 1, "as long": 3, "longer": 30} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			for range 8 {
				s.add(true)
			}
			before, last := s.checkpoint(5), s.checkpoint(8)
			var back *WentBackError
			got, err := s.follow(0, 100, func(e Event) error {
				if e.Position == 8 {
					s.goBack(5, others)
				}
				return nil
			})
			if !errors.As(err, &back) || back.Last != last || !consecutive(got, 1) || len(got) != 8 {
				t.Errorf("under way: %v, %v", err, got)
			}
			err = Follow(t.Context(), s.config, last, func(_ context.Context, e Event) error { return fmt.Errorf("handed over: %d", e.Position) })
			if !errors.As(err, &back) || back.Last != last {
				t.Errorf("from what was lost: %v", err)
			}
			enough := errors.New("enough")
			next := events.Position(5)
			err = Follow(t.Context(), s.config, before, func(_ context.Context, e Event) error {
				if next++; e.Position != next {
					t.Errorf("%d after %d", e.Position, next-1)
				}
				if next == events.Position(5+others) {
					return enough
				}
				return nil
			})
			if !errors.Is(err, enough) {
				t.Errorf("from what was before: %v", err)
			}
			s.config.Tags, s.config.NATS = []events.Tag{"patient:8"}, nil
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			time.AfterFunc(300*time.Millisecond, func() { s.goBack(3, others+10) })
			if err := Follow(ctx, s.config, Checkpoint{}, nil); !errors.As(err, &back) {
				t.Errorf("of which nothing was handed over: %v", err)
			}
		})
	}
}

// TestFollowAStreamThatBeginsAnew, since it was purged and the log went back: what comes
// over NATS at positions that have come tells of it, though the API was not asked.
func TestFollowAStreamThatBeginsAnew(t *testing.T) {
	s := newServer(t)
	s.add(true)
	s.config.Poll = time.Minute
	var others sync.WaitGroup
	var back *WentBackError
	got, err := s.follow(0, 100, func(e Event) error {
		switch e.Position {
		case 1:
			others.Go(func() {
				s.awaitFollower()
				for range 7 {
					s.add(false)
				}
			})
		case 8:
			others.Go(func() {
				if stream, err := s.js.Stream(t.Context(), "CARELOG"); err != nil || stream.Purge(t.Context()) != nil {
					t.Error(err)
				}
				s.goBack(5, 0)
				for range 12 {
					s.add(false)
				}
			})
		}
		return nil
	})
	others.Wait()
	if !errors.As(err, &back) || len(got) != 8 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestCheckpointsAreStored(t *testing.T) {
	for _, want := range []Checkpoint{{}, {uuid.New(), 42, uuid.New()}} {
		if got, err := ParseCheckpoint(want.String() + "\n"); err != nil || got != want {
			t.Errorf("%q: %v, %v", want, got, err)
		}
	}
	log := uuid.NewString()
	for _, text := range []string{"42", log + "/42", log + "/x/" + log, log + "/0/" + log, "x/1/" + log, log + "/1/x", log + "/1/" + uuid.Nil.String(), uuid.Nil.String() + "/0/" + uuid.Nil.String()} {
		if got, err := ParseCheckpoint(text); err == nil || got != (Checkpoint{}) {
			t.Errorf("%q: %v", text, got)
		}
	}
}
