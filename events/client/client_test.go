package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/cloudevent"
)

// TestFollow: history, then live, with events that NATS loses, a token that expires, a
// stream that is wiped and an API that is away for a while.
func TestFollow(t *testing.T) {
	s := newServer(t)
	for range 20 {
		s.add(true)
	}
	live := make(chan struct{})
	go func() {
		<-live
		for i := range 200 {
			switch i {
			case 50:
				s.mu.Lock()
				s.tokens++ // the present one has expired
				s.mu.Unlock()
			case 80:
				if err := s.js.DeleteStream(t.Context(), "CARELOG"); err != nil {
					t.Error(err)
				}
				s.makeStream()
			case 120:
				s.mu.Lock()
				until := s.asked + 3
				s.refuse = func(n int) int {
					if n <= until {
						return 503
					}
					return 200
				}
				s.mu.Unlock()
			}
			s.add(i%10 == 3)
		}
	}()
	got, err := s.follow(0, 220, func(e Event) error {
		if e.Position == 20 {
			close(live)
		}
		removed, ok := e.Payload.(events.PatientRemoved)
		if !ok || removed.PatientID != 7 || e.Log != s.log || e.Subject != "patient/7" || e.Metadata.Actor.UserID != 1 || e.ID == uuid.Nil {
			return fmt.Errorf("handed over: %+v", e)
		}
		return nil
	})
	if err != nil || !consecutive(got, 1) || len(got) != 220 {
		t.Errorf("%v: %v", err, got)
	}
	if got, err := s.follow(215, 5, nil); err != nil || !slices.Equal(got, []events.Position{216, 217, 218, 219, 220}) {
		t.Errorf("resumed: %v, %v", got, err)
	}
}

// TestFollowWithoutNATS: everything comes over HTTP.
func TestFollowWithoutNATS(t *testing.T) {
	s := newServer(t)
	s.config.NATS = nil
	s.add(true)
	got, err := s.follow(0, 10, func(e Event) error {
		if e.Position < 10 {
			s.add(true)
		}
		return nil
	})
	if err != nil || !consecutive(got, 1) {
		t.Errorf("%v: %v", err, got)
	}
}

// TestFollowFilters: also what comes over NATS, which carries everything.
func TestFollowFilters(t *testing.T) {
	s := newServer(t)
	s.config.Types = []events.Type{events.PatientRemovedType}
	s.config.Tags = []events.Tag{"patient:8"}
	s.config.HTTP = &http.Client{Transport: roundTripper(func(r *http.Request) {
		if q := r.URL.Query(); q.Get("types") != "patient.removed" || q.Get("tags") != "patient:8" {
			t.Errorf("asked %s", r.URL)
		}
	})}
	s.add(false)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	never := func(_ context.Context, e Event) error { return fmt.Errorf("handed over: %v", e.Tags) }
	first := s.checkpoint(1)
	if err := Follow(ctx, s.config, first, never); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	s.mu.Lock()
	s.log = uuid.New()
	s.mu.Unlock()
	var other *OtherLogError
	if err := Follow(t.Context(), s.config, first, never); !errors.As(err, &other) {
		t.Errorf("another log, without an event that is asked for: %v", err)
	}
}

type roundTripper func(*http.Request)

func (look roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	look(r)
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
}

func TestFollowEnds(t *testing.T) {
	s := newServer(t)
	for range 3 {
		s.add(false)
	}
	first := s.log
	var other *OtherLogError
	_, err := s.follow(0, 100, func(e Event) error { // the log is replaced under way
		if e.Position == 3 {
			s.mu.Lock()
			s.log = uuid.New()
			s.mu.Unlock()
			s.add(false)
		}
		return nil
	})
	if !errors.As(err, &other) || other.Want != first {
		t.Errorf("a log that was replaced: %v", err)
	}
	s.refuse = func(int) int { return 403 }
	var refused *StatusError
	if _, err := s.follow(0, 1, nil); !errors.As(err, &refused) || refused.Status != 403 {
		t.Errorf("refused: %v", err)
	}
	s.refuse = func(int) int { return 401 }
	if _, err := s.follow(0, 1, nil); !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("a token that is never good: %v", err)
	}
	token := s.config.Token
	for status, ends := range map[int]bool{401: true, 400: true, 429: false, 503: false} {
		asked := 0
		s.config.Token = func(context.Context) (string, error) {
			if asked++; asked > 1 {
				return "", &StatusError{Status: 404}
			}
			return "", &StatusError{Status: status}
		}
		_, err := s.follow(0, 1, nil)
		if !errors.As(err, &refused) || (refused.Status == status) != ends {
			t.Errorf("no token, for %d: %v", status, err)
		}
	}
	s.config.Token = token
	if err := Follow(t.Context(), Config{}, Checkpoint{}, nil); err == nil {
		t.Error("nothing is configured")
	}
	if err := Follow(t.Context(), s.config, Checkpoint{Position: 1}, nil); err == nil || !strings.Contains(err.Error(), "the log, the position and the id") {
		t.Errorf("a position alone: %v", err)
	}
}

// TestFollowWithoutAStream, which is gone and not made again: events come over HTTP, and
// who does not want to go on need not wait.
func TestFollowWithoutAStream(t *testing.T) {
	s := newServer(t)
	s.add(false)
	var stopped time.Time
	got, err := s.follow(0, 20, func(e Event) error {
		if e.Position == 1 {
			if err := s.js.DeleteStream(t.Context(), "CARELOG"); err != nil {
				return err
			}
		}
		s.add(true)
		stopped = time.Now()
		return nil
	})
	if err != nil || !consecutive(got, 1) || len(got) != 20 || time.Since(stopped) > 3*time.Second {
		t.Errorf("%v: %v, %v after the end", err, got, time.Since(stopped))
	}
}

// TestFollowWaitsForWhatIsMissing: an event that the API does not have, as when commits
// were lost that had been published, is not handed over, nor is any of those before it
// left out.
func TestFollowWaitsForWhatIsMissing(t *testing.T) {
	s := newServer(t)
	for range 3 {
		s.add(true)
	}
	got, err := s.follow(0, 7, func(e Event) error {
		if e.Position == 3 {
			go func() {
				s.awaitFollower()
				ahead := &nats.Msg{
					Subject: "carelog.events.patient.removed", Header: nats.Header{positionHeader: {"7"}},
					Data: cloudevent.Append(nil, s.log, events.Recorded{Event: events.Event{ID: uuid.New(), Type: events.PatientRemovedType, SchemaVersion: 1,
						Data: json.RawMessage(`{"patient_id":7,"owner_id":1}`), Metadata: json.RawMessage(`{}`)}, Position: 7}),
				}
				if _, err := s.js.PublishMsg(t.Context(), ahead); err != nil {
					t.Error(err)
				}
				for range 4 {
					s.add(true)
				}
			}()
		}
		return nil
	})
	if err != nil || !consecutive(got, 1) || len(got) != 7 {
		t.Errorf("%v: %v", err, got)
	}
}

// TestFollowByWhoDoesNotSeeAll fails where NATS carries more than the API shows.
func TestFollowByWhoDoesNotSeeAll(t *testing.T) {
	s := newServer(t)
	for range 3 {
		s.add(true)
	}
	s.hidden = 2
	for _, types := range [][]events.Type{nil, {events.PatientRemovedType}} {
		s.config.Types = types
		if got, err := s.follow(0, 3, nil); !errors.Is(err, ErrNotAll) || len(got) != 0 {
			t.Errorf("with NATS, types %v: %v, %v", types, got, err)
		}
	}
	s.config.NATS = nil
	if got, err := s.follow(0, 2, nil); err != nil || !slices.Equal(got, []events.Position{1, 3}) {
		t.Errorf("over HTTP alone: %v, %v", got, err)
	}
}

// TestFollowByWhoSeesOthersSuddenly ends before anything is left out. With what is asked for
// in the beginning it goes on later.
func TestFollowByWhoSeesOthersSuddenly(t *testing.T) {
	s := newServer(t)
	s.config.NATS = nil
	for range 7 { // a page
		s.add(true)
	}
	change := func(hidden events.Position) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hidden = hidden
	}
	got, err := s.follow(0, 10, func(e Event) error {
		if e.Position == 7 {
			change(9)
			for range 3 {
				s.add(true)
			}
		}
		return nil
	})
	if !errors.Is(err, ErrViewChanged) || !consecutive(got, 1) || len(got) != 7 {
		t.Errorf("no auditor any more: %v, %v", got, err)
	}
	s.config.All = true
	if got, err := s.follow(7, 3, nil); !errors.Is(err, ErrNotAll) || len(got) != 0 {
		t.Errorf("all are wanted: %v, %v", got, err)
	}
	s.config.All = false
	got, err = s.follow(7, 10, func(e Event) error {
		if e.Position == 10 {
			change(0)
			s.add(true)
		}
		return nil
	})
	if !errors.Is(err, ErrViewChanged) || !slices.Equal(got, []events.Position{8, 10}) {
		t.Errorf("an auditor: %v, %v", got, err)
	}
	s.config.All = true
	if got, err := s.follow(7, 4, nil); err != nil || !slices.Equal(got, []events.Position{8, 9, 10, 11}) {
		t.Errorf("as an auditor again: %v, %v", got, err)
	}
}

// TestFollowLeavesNoConsumer.
func TestFollowLeavesNoConsumer(t *testing.T) {
	s := newServer(t)
	s.add(false)
	for range 3 {
		_, err := s.follow(0, 5, func(e Event) error {
			s.add(false)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := s.consumers(); n != 0 {
		t.Errorf("%d consumers are left", n)
	}
}
