package commands

import (
	"context"
	"errors"
	"testing"

	"github.com/carelog/carelog/events"
)

var errMayNotAct = errors.New("may not act")

// fakeStanding was seen at a position, and looks at the history for more.
type fakeStanding struct {
	history *history
	seen    events.Position
	checks  int
}

func (f *fakeStanding) Seen() events.Position { return f.seen }

func (f *fakeStanding) Check(context.Context) error {
	f.checks++
	for _, e := range f.history.given {
		switch e.Type {
		case events.UserDisabledType:
			return errMayNotAct
		case events.UserEnabledType, events.UserPasswordChangedType, events.UserRegisteredType:
		}
	}
	f.seen = events.Position(len(f.history.given))
	return nil
}

// TestStanding: a caller who may not act any more changes nothing and is told
// nothing, although it may have been seen to have the right a moment ago.
func TestStanding(t *testing.T) {
	register := func(s *Service, c Caller) error {
		_, _, err := s.RegisterPatient(t.Context(), c, RegisterPatient{"Bob", "Roe", 40, "Male"})
		return err
	}
	amend := func(id int64, name string) func(*Service, Caller) error {
		return func(s *Service, c Caller) error {
			_, _, err := s.AmendPatient(t.Context(), c, AmendPatient{ID: id, FirstName: &name})
			return err
		}
	}
	repeat := func(s *Service, c Caller) error {
		c.Idempotency = Idempotency{Key: "k", Method: "POST", Path: "/api/patients"}
		return register(s, c)
	}
	for name, c := range map[string]struct {
		when   func(*Service, Caller) error
		since  []draft // user 1 was seen at 2
		want   error
		checks int
	}{
		"registers":                             {register, nil, nil, 0},
		"amends":                                {amend(7, "Bob"), nil, nil, 0},
		"asks for what is so already":           {amend(7, "Alice"), nil, nil, 1},
		"asks for what is not there":            {amend(8, "Bob"), nil, ErrNotFound, 1},
		"disabled, registers":                   {register, []draft{disabled(1)}, errMayNotAct, 1},
		"disabled, amends":                      {amend(7, "Bob"), []draft{disabled(1)}, errMayNotAct, 1},
		"disabled, asks for what is so":         {amend(7, "Alice"), []draft{disabled(1)}, errMayNotAct, 1},
		"disabled, asks for what is not there":  {amend(8, "Bob"), []draft{disabled(1)}, errMayNotAct, 1},
		"disabled, repeats":                     {repeat, []draft{disabled(1)}, errMayNotAct, 1},
		"another is disabled":                   {register, []draft{disabled(2)}, nil, 0},
		"the password changed, still may":       {register, []draft{passwordChanged(1)}, nil, 1},
		"the password changed, still may amend": {amend(7, "Bob"), []draft{passwordChanged(1)}, nil, 1},
		"a role was revoked, still may":         {register, []draft{revoked(1, events.Admin)}, nil, 1},
		"a role was revoked, may not":           {amend(7, "Bob"), []draft{revoked(1, events.Admin), disabled(1)}, errMayNotAct, 1},
		"a role of another was revoked":         {register, []draft{revoked(2, events.Admin)}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, h := given(t, user(1, "a@x"), patient(7, 1))
			standing := &fakeStanding{history: h, seen: 2}
			for _, d := range c.since {
				h.record(d)
			}
			err := c.when(s, Caller{UserID: 1, Role: events.Admin, Standing: standing})
			if !errors.Is(err, c.want) || standing.checks != c.checks {
				t.Errorf("%v after %d checks, want %v after %d", err, standing.checks, c.want, c.checks)
			}
			if err != nil && h.appended != nil {
				t.Errorf("appended %v", h.appended)
			}
		})
	}
}
