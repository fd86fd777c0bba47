package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore/pgtest"
	"github.com/carelog/carelog/httpapi"
)

// TestTwoProcessesAreLinearizable: clients of both processes could not tell them
// from one that does one thing after the other.
func TestTwoProcessesAreLinearizable(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	var all sync.WaitGroup
	all.Go(func() { s.registerAndLogIn(t.Context()) })
	for i := range 3 {
		all.Go(func() { s.practise(t.Context(), uint64(i), 4, 60) })
	}
	all.Wait()
	if a := s.settle(t); a.unknown+a.unavailable+a.unsent+a.pending > 0 {
		t.Errorf("nothing was wrong, and yet: %v", a)
	}
}

// registerAndLogIn lets clients fight for few e-mail addresses.
func (s *site) registerAndLogIn(ctx context.Context) {
	var all sync.WaitGroup
	for client := range 4 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(client)))
			for range 8 {
				c := call{kind: []callKind{registerUser, logIn}[r.IntN(2)], email: fmt.Sprintf("fought%d@example.com", r.IntN(3)), password: fmt.Sprintf("securepassword-%d", r.IntN(2))}
				s.accounts.do(s.server(client%2), "", client, c)
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	all.Wait()
}

// heedless answers commands without waiting for the read tables, but for the
// first: without a user nobody could ask anything.
type heedless struct{ httpapi.Progress }

func (h heedless) Wait(ctx context.Context, position events.Position) error {
	if position == 1 {
		return h.Progress.Wait(ctx, position)
	}
	return nil
}

// TestWithoutTheWaitItIsNotLinearizable is the negative control: the read tables
// are a little late, as they would be some day, and only the wait for them makes
// up for it.
func TestWithoutTheWaitItIsNotLinearizable(t *testing.T) {
	t.Parallel()
	for _, waits := range []bool{true, false} {
		t.Run(fmt.Sprintf("waits: %t", waits), func(t *testing.T) {
			t.Parallel()
			config := testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret})
			server := startBetween(t, config, between{
				progress: func(p httpapi.Progress) httpapi.Progress {
					if waits {
						return p
					}
					return heedless{p}
				},
				deliver: func(next deliver) deliver {
					return func(ctx context.Context, evs []events.Recorded) error {
						pause(ctx, 5*time.Millisecond)
						return next(ctx, evs)
					}
				},
			})
			access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
			h := newRecording(&tally{})
			var k known
			var all sync.WaitGroup
			for client := range 3 {
				all.Go(func() {
					r := rand.New(rand.NewPCG(3, uint64(client)))
					for number := range 40 {
						o, _ := h.do(func() *running { return server }, access, client, k.draw(r, h, client, number))
						k.learn(o)
					}
				})
			}
			all.Wait()
			if len(h.tally.unexpected) > 0 {
				t.Error(h.tally.unexpected)
			}
			if err := h.check(practiceModel); (err == nil) != waits {
				t.Errorf("the check answers %v", err)
			}
		})
	}
}

// TestTheModelRefuses histories that no one-at-a-time server could have
// answered: the model and the checker can fail.
func TestTheModelRefuses(t *testing.T) {
	create := &operation{call: call{kind: registerPatient, first: "A", last: "B"}, answer: answer{status: 201, patients: []patientRow{{1, "A", "B"}}}, called: 1, returned: 2}
	list := func(called int64, rows ...patientRow) *operation {
		return &operation{client: 1, call: call{kind: listPatients}, answer: answer{status: 200, patients: rows}, called: called, returned: called + 1}
	}
	remove := func(called int64, status int) *operation {
		return &operation{call: call{kind: removePatient, patient: 1}, answer: answer{status: status}, called: called, returned: called + 1}
	}
	pending := *create
	pending.returned = never
	for _, c := range []struct {
		name string
		fits bool
		all  []*operation
	}{
		{"read after write", true, []*operation{create, list(3, patientRow{1, "A", "B"})}},
		{"a stale read", false, []*operation{create, list(3)}},
		{"a stale read of what is pending", true, []*operation{&pending, list(3), list(5, patientRow{1, "A", "B"})}},
		{"back in time", false, []*operation{&pending, list(3, patientRow{1, "A", "B"}), list(5)}},
		{"two removals done", false, []*operation{create, remove(3, 204), remove(3, 204)}},
		{"two removals", true, []*operation{create, remove(3, 204), remove(3, 404)}},
		{"removed and there", false, []*operation{create, remove(3, 0), list(5, patientRow{1, "A", "B"}), remove(7, 404), list(9, patientRow{1, "A", "B"})}},
		{"nobody's row", false, []*operation{list(3, patientRow{1, "A", "B"})}},
	} {
		h := &recording{operations: slices.Clone(c.all)}
		if err := h.check(practiceModel); (err == nil) != c.fits {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
