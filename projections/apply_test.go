package projections

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// panicking is a projection with a mistake.
type panicking struct{ counting }

func (panicking) Apply(_ *pgx.Batch, evs []Applied) error {
	for _, e := range evs {
		if p, ok := e.Payload.(events.PatientRegistered); ok && p.FirstName == "P5" {
			panic("secret@example.org")
		}
	}
	return nil
}

func TestAnEventThatCannotBeAppliedStopsTheRunner(t *testing.T) {
	t.Parallel()
	secret := "secret@example.org"
	tooOld := registerPatient(9, 1).(events.PatientRegistered)
	tooOld.Age = 1 << 40
	withData := func(e events.Recorded, data string) events.Recorded {
		e.Data = json.RawMessage(data)
		return e
	}
	good := patientsOfUser1(4)
	for _, c := range []struct {
		name   string
		change func(*Config)
		bad    func() events.Recorded // at position 6
		reason string
	}{
		{"a record that is there already", nil,
			func() events.Recorded { return history(t, append(good, registerPatient(4, 1))...)[5] },
			"SQLSTATE 23505, constraint patients_pkey"},
		{"a constraint that is checked at the end", nil,
			func() events.Recorded {
				return history(t, append(good, events.UserRegistered{UserID: 2, Name: secret, Email: "u1@example.org"})...)[5]
			},
			"SQLSTATE 23505, constraint users_email_key"},
		{"a value that the database refuses", nil,
			func() events.Recorded {
				return history(t, append(good, events.UserRegistered{UserID: 2, Name: secret + "\x00"})...)[5]
			},
			"SQLSTATE 22021"},
		{"a value that does not fit", nil,
			func() events.Recorded { return history(t, append(good, tooOld)...)[5] },
			"its data cannot be turned into rows"},
		{"data of another shape", nil,
			func() events.Recorded {
				return withData(history(t, append(good, registerPatient(5, 1))...)[5], `{"age":"`+secret+`"}`)
			},
			`field "age" does not hold a value of type int`},
		{"broken data", nil,
			func() events.Recorded {
				return withData(history(t, append(good, registerPatient(5, 1))...)[5], `{"created_at":"`+secret+`"}`)
			},
			"its data cannot be turned into rows"},
		{"a panic", only(panicking{}),
			func() events.Recorded { return history(t, append(good, registerPatient(5, 1))...)[5] },
			"projection counting panicked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDatabase(t)
			change := func(*Config) {}
			if c.change != nil {
				change = c.change
			}
			log := append(history(t, good...), c.bad())
			log = append(log, history(t, append(good, good[0], registerPatient(6, 1))...)[6])

			p := d.process(change)
			stop := background(t, p.runner.Run)
			err := p.deliver(t.Context(), log)
			var stopped *StoppedError
			if !errors.As(err, &stopped) || stopped.Position != 6 || stopped.Type != log[5].Type || stopped.Err.Error() != c.reason {
				t.Fatalf("got %v, want a stop at 6 for %q", err, c.reason)
			}
			if got := p.progress.Checkpoint(); got != 5 {
				t.Errorf("the read tables contain %d, want 5: all before the event and nothing after it", got)
			}
			if err := p.deliver(t.Context(), log[6:]); !errors.As(err, &stopped) {
				t.Errorf("what follows: %v", err)
			}
			if err := p.progress.Live(); !errors.As(err, &stopped) {
				t.Errorf("Live answers %v", err)
			}
			if got := query[string](d, "select min(stopped_position) || ' ' || min(stopped_type) || ' ' || min(stopped_reason) from checkpoints"); got != "6 "+string(log[5].Type)+" "+c.reason {
				t.Errorf("the mark in the database is %q", got)
			}
			if text := d.logged.String(); strings.Contains(text, secret) || strings.Contains(text, "u1@") || strings.Count(text, "level=ERROR") != 1 {
				t.Errorf("logged:\n%s", text)
			}
			if err := stop(); err != nil {
				t.Errorf("Run answers %v", err)
			}

			// Run again it stops again, or goes on when the event can be applied.
			p = d.process(change)
			stop = background(t, p.runner.Run)
			if _, err := p.runner.Checkpoint(t.Context()); err != nil {
				t.Error(err)
			}
			if err := p.progress.Live(); !errors.As(err, &stopped) || stopped.Position != 6 || stopped.Err.Error() != c.reason {
				t.Errorf("run again, before the event is tried, Live answers %v", err)
			}
			if err := p.deliver(t.Context(), log[5:]); !errors.As(err, &stopped) || stopped.Position != 6 {
				t.Errorf("run again: %v", err)
			}
			if err := stop(); err != nil {
				t.Errorf("Run answers %v", err)
			}
			p = d.process()
			stop = background(t, p.runner.Run)
			defer stop()
			log[5] = history(t, append(good, registerPatient(5, 1))...)[5]
			if c.change == nil {
				p.apply(log[5:])
			} else {
				p.apply(log) // of projections that are new
			}
			if got := query[int](d, "select count(*) from checkpoints where stopped_position is not null and name <> 'counting'"); got != 0 {
				t.Errorf("%d marks are left", got)
			}
			if rows := query[int](d, "select count(*) from patients"); rows != 6 {
				t.Errorf("%d patients, want 6", rows)
			}
			if err := p.progress.Live(); err != nil {
				t.Errorf("Live answers %v", err)
			}
		})
	}
}

func TestAnEventOfANewerProgramEndsTheRun(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.process()
	log := history(t, patientsOfUser1(2)...)
	log[2].Type = "patient.cloned"
	done := make(chan error)
	go func() { done <- p.runner.Run(context.Background()) }()
	err := p.deliver(t.Context(), log)
	ran := <-done
	for _, err := range []error{err, ran} {
		var unknown *events.UnknownTypeError
		var stopped *StoppedError
		if !errors.As(err, &unknown) || !errors.As(err, &stopped) || stopped.Position != 3 || unknown.Type != "patient.cloned" {
			t.Errorf("got %v", err)
		}
	}
	if rows := query[int](d, "select count(*) from patients"); rows != 1 {
		t.Errorf("%d patients, want the one before the event", rows)
	}
	if got := query[int](d, "select count(*) from checkpoints where stopped_position = 3"); got != 4 {
		t.Errorf("%d checkpoints are marked", got)
	}
	if err := p.progress.Live(); err == nil {
		t.Error("Live answers nil")
	}
}

func TestAStopThatAnotherRunnerGotPastIsNotMarked(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.running().apply(history(t, patientsOfUser1(4)...))
	conn, err := d.config.connect(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer disconnect(conn)
	stopped := &StoppedError{Position: 5, Type: events.PatientRegisteredType, Err: errors.New("late")}
	if err := markStopped(t.Context(), conn, d.config.withDefaults(), stopped); err != nil {
		t.Fatal(err)
	}
	if got := query[int](d, "select count(*) from checkpoints where stopped_position is not null"); got != 0 {
		t.Errorf("%d checkpoints are marked", got)
	}
}
