package projections

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
)

// TestALostConnectionFailsNobodyWhoSharesTheStatement: the server ends the session
// under a statement, and the statement is run once more. When that is lost too, all
// who share it are told that they may try again.
func TestALostConnectionFailsNobodyWhoSharesTheStatement(t *testing.T) {
	t.Parallel()
	for lost := 1; lost <= 2; lost++ {
		t.Run(fmt.Sprintf("lost %d times", lost), func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			d.running().apply(history(t, patientsOfUser1(10)...))
			q := NewQueries(d.pool)
			locking, err := d.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = locking.Rollback(context.Background()) }()
			if _, err := locking.Exec(t.Context(), "lock table patients"); err != nil {
				t.Fatal(err)
			}

			group := make([]*asking[lookup, Patient], 10)
			for i := range group {
				group[i] = &asking[lookup, Patient]{question: lookup{as(1), int64(i + 1)}, wake: make(chan struct{}, 1)}
			}
			q.patients.running, q.patients.waiting = 1, group[1:]
			var leading errgroup.Group
			leading.Go(func() error { q.patients.lead(t.Context(), group[0]); return nil })
			for range lost {
				eventually(t, "a statement that waits is ended", func() bool {
					return query[int](d, `select count(*) filter (where pg_terminate_backend(pid, 10000)) from pg_stat_activity
						where datname = current_database() and wait_event_type = 'Lock'`) == 1
				})
			}
			if err := locking.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			_ = leading.Wait()
			for i, one := range group {
				switch {
				case lost == 1 && (one.err != nil || one.answer.ID != int64(i+1)):
					t.Errorf("asked for %d, got %d, %v", i+1, one.answer.ID, one.err)
				case lost == 2 && !errors.Is(one.err, events.ErrUnavailable):
					t.Errorf("asked for %d, twice in vain: %v", i+1, one.err)
				}
			}
		})
	}
}

// TestAStatementThatIsRunAgainAnswersAnew: nothing stays of the part of the answer
// that arrived before the connection was lost.
func TestAStatementThatIsRunAgainAnswersAnew(t *testing.T) {
	t.Parallel()
	runs := 0
	read := &sharedRead[int, int]{doing: "read", run: func(_ context.Context, group []*asking[int, int]) error {
		if runs++; runs == 1 {
			group[0].answer, group[0].err = 9, ErrNotFound
			return io.ErrUnexpectedEOF
		}
		group[0].answer += group[0].question
		return nil
	}}
	if got, err := read.ask(t.Context(), 7); got != 7 || err != nil || runs != 2 {
		t.Errorf("answered %d, %v, after %d runs", got, err, runs)
	}
}

// TestARefusedStatementIsNotRunAgain, nor one whose time is over.
func TestARefusedStatementIsNotRunAgain(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	for name, sql := range map[string]string{
		"refused":  "select 1 / 0",
		"broken":   "select from nowhere",
		"too slow": "set statement_timeout = 1; select pg_sleep(10)",
	} {
		runs := 0
		read := &sharedRead[int, int]{doing: "read", run: func(ctx context.Context, _ []*asking[int, int]) error {
			runs++
			conn, err := d.pool.Acquire(ctx)
			if err != nil {
				return err
			}
			defer conn.Release()
			_, err = conn.Conn().PgConn().Exec(ctx, sql).ReadAll()
			return err
		}}
		if _, err := read.ask(t.Context(), 1); err == nil || runs != 1 {
			t.Errorf("%s: %v after %d runs", name, err, runs)
		}
	}
}
