package eventstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// TestALostConnectionFailsNobodyWhoSharesADrawing: the server ends the session
// under a drawing of ids, and they are drawn once more. Only one whose second
// drawing is lost, too, is told to try again.
func TestALostConnectionFailsNobodyWhoSharesADrawing(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, locking, killer := open(t, url), connect(t, url), connect(t, url)
	execute(t, locking, "begin")
	execute(t, locking, "alter sequence patient_ids cache 1") // whoever draws has to wait for the end of it

	var drawing sync.WaitGroup
	ids, errs := make([]int64, 10), make([]error, 10)
	draw := func(i int) { drawing.Go(func() { ids[i], errs[i] = s.NextID(t.Context(), events.Patient) }) }
	draw(0)
	waitForOneThatWaits(t, killer, "true")
	for i := 1; i < len(ids); i++ {
		draw(i)
	}
	s.AwaitDrawing(events.Patient, len(ids)-1)
	for range 3 { // both drawings of the first, and one of the others
		waitForOneThatWaits(t, killer, "pg_terminate_backend(pid, 10000)") // with a time, to have it gone
	}
	execute(t, locking, "rollback")
	drawing.Wait()

	if !errors.Is(errs[0], events.ErrUnavailable) {
		t.Errorf("lost twice: %v", errs[0])
	}
	drawn := map[int64]bool{}
	for i := 1; i < len(ids); i++ {
		if errs[i] != nil || ids[i] < 1 || drawn[ids[i]] {
			t.Errorf("lost once: id %d, %v", ids[i], errs[i])
		}
		drawn[ids[i]] = true
	}
}

// waitForOneThatWaits waits until a session waits for a lock and something that is
// asked or done of it is true.
func waitForOneThatWaits(t *testing.T, conn *pgx.Conn, ofIt string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for found := false; !found; {
		err := conn.QueryRow(ctx, `select coalesce(bool_or(`+ofIt+`), false) from pg_stat_activity
			where datname = current_database() and wait_event_type = 'Lock'`).Scan(&found)
		if err != nil {
			t.Fatalf("nobody waits for a lock: %v", err)
		}
	}
}
