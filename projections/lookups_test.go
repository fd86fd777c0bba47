package projections

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestEachAskerOfASharedStatementGetsItsOwn: those who share a statement ask for
// different records, as different users, and some may not ask at all.
func TestEachAskerOfASharedStatementGetsItsOwn(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.running().apply(history(t, patientsOfUser1(100)...))
	q := NewQueries(d.pool)
	var askers errgroup.Group
	for n := range 64 {
		askers.Go(func() error {
			for i := range 50 {
				id := int64((n*50+i)%100 + 1)
				got, err := q.Patient(t.Context(), as(1), id)
				if err != nil || got.ID != id {
					return fmt.Errorf("asked for %d, got %d, %w", id, got.ID, err)
				}
				if _, err := q.Patient(t.Context(), as(1), 1000+id); !errors.Is(err, ErrNotFound) {
					return fmt.Errorf("a missing patient: %w", err)
				}
				if _, err := q.Patient(t.Context(), as(9), id); !errors.Is(err, ErrUnknownUser) {
					return fmt.Errorf("an unknown user: %w", err)
				}
				if _, err := q.CheckSession(t.Context(), Session{1, 7}); !errors.Is(err, ErrSessionEnded) {
					return fmt.Errorf("another session: %w", err)
				}
			}
			return nil
		})
	}
	if err := askers.Wait(); err != nil {
		t.Error(err)
	}
}

// TestWhoGoesAwayHoldsNobodyUp: of those who ask many go away while they wait, or
// when it is their turn to run a statement. The others are answered.
func TestWhoGoesAwayHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.running().apply(history(t, patientsOfUser1(10)...))
	q := NewQueries(d.pool)
	var askers errgroup.Group
	for n := range 64 {
		askers.Go(func() error {
			for i := range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%2 == 1 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i)*10*time.Microsecond)
				}
				_, err := q.Patient(ctx, as(1), 1)
				cancel()
				if err != nil && (n%2 == 0 || !errors.Is(err, context.DeadlineExceeded)) {
					return err
				}
			}
			return nil
		})
	}
	if err := askers.Wait(); err != nil {
		t.Error(err)
	}
	if q.patients.running != 0 || len(q.patients.waiting) != 0 {
		t.Errorf("%d statements are running for nobody, %d wait", q.patients.running, len(q.patients.waiting))
	}
}

// TestLookupsShareStatements: while all statements are running, those who come
// wait for one and the same.
func TestLookupsShareStatements(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.running().apply(history(t, patientsOfUser1(10)...))
	q := NewQueries(d.pool)
	busy := []*asking[lookup, Patient]{{question: lookup{as(1), 1}}, {question: lookup{as(1), 2}}}
	for _, one := range busy {
		if !q.patients.join(one) {
			t.Fatal("no statement is free")
		}
	}
	var askers errgroup.Group
	for n := range int64(10) {
		askers.Go(func() error {
			got, err := q.Patient(t.Context(), as(1), n+1)
			if err == nil && got.ID != n+1 {
				err = fmt.Errorf("asked for %d, got %d", n+1, got.ID)
			}
			return err
		})
	}
	for waiting := 0; waiting < 10; {
		q.patients.mu.Lock()
		waiting = len(q.patients.waiting)
		q.patients.mu.Unlock()
		pause(t.Context(), time.Millisecond)
	}
	q.patients.lead(t.Context(), busy[0])
	if err := askers.Wait(); err != nil {
		t.Error(err)
	}
	if q.patients.running != 1 {
		t.Errorf("%d statements count as running, want the other", q.patients.running)
	}
	q.patients.lead(t.Context(), busy[1])
}

// TestAFailedStatementFailsForAllWhoShareIt, and the next one is run again.
func TestAFailedStatementFailsForAllWhoShareIt(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.running().apply(history(t, patientsOfUser1(10)...))
	q := NewQueries(d.pool)
	d.exec(`alter table patients rename to elsewhere`)
	var askers errgroup.Group
	for range 20 {
		askers.Go(func() error {
			_, err := q.Patient(t.Context(), as(1), 1)
			if err == nil || errors.Is(err, ErrNotFound) {
				return fmt.Errorf("without a table: %w", err)
			}
			return nil
		})
	}
	if err := askers.Wait(); err != nil {
		t.Error(err)
	}
	d.exec(`alter table elsewhere rename to patients`)
	if _, err := q.Patient(t.Context(), as(1), 1); err != nil {
		t.Error(err)
	}
}

// TestAPanicOfWhoLeadsFailsForAllWhoShareTheStatement, and for nobody later.
func TestAPanicOfWhoLeadsFailsForAllWhoShareTheStatement(t *testing.T) {
	t.Parallel()
	running, goOn := make(chan struct{}), make(chan struct{})
	read := &sharedRead[int, int]{doing: "read", run: func(_ context.Context, group []*asking[int, int]) error {
		if group[0].question < 0 {
			running <- struct{}{}
			<-goOn
			panic("a defect")
		}
		for _, one := range group {
			one.answer = one.question
		}
		return nil
	}}
	var askers errgroup.Group
	for range sharedStatements {
		askers.Go(func() (err error) {
			defer func() {
				if recover() == nil {
					err = errors.New("the panic was swallowed")
				}
			}()
			_, _ = read.ask(t.Context(), -1)
			return nil
		})
		<-running
	}
	for n := range 10 {
		askers.Go(func() error {
			if got, err := read.ask(t.Context(), n); err == nil && got != n {
				return fmt.Errorf("asked for %d, got %d", n, got)
			}
			return nil
		})
	}
	close(goOn)
	if err := askers.Wait(); err != nil {
		t.Error(err)
	}
	if got, err := read.ask(t.Context(), 7); got != 7 || err != nil {
		t.Errorf("afterwards: %d, %v", got, err)
	}
}
