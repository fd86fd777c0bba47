package eventstore_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opener runs a store on a database until the test ends.
type opener func(t testing.TB, url string, change ...func(*eventstore.Config)) *eventstore.Store

// open runs a store as one process does, with a pool of its own.
func open(t testing.TB, url string, change ...func(*eventstore.Config)) *eventstore.Store {
	return openAltered(func(*eventstore.Store) {})(t, url, change...)
}

// openAltered opens stores that are altered before they run.
func openAltered(alter func(*eventstore.Store)) opener {
	return func(t testing.TB, url string, change ...func(*eventstore.Config)) *eventstore.Store {
		t.Helper()
		pool, err := pgxpool.New(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		appender, err := pgx.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		config := eventstore.Config{Pool: pool, Appender: appender, Logger: slog.New(slog.DiscardHandler)}
		for _, change := range change {
			change(&config)
		}
		store, err := eventstore.Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		alter(store)
		ctx, stop := context.WithCancel(context.Background())
		var running errgroup.Group
		running.Go(func() error { return store.Run(ctx) })
		t.Cleanup(func() {
			stop()
			if err := running.Wait(); err != nil {
				t.Error(err)
			}
		})
		return store
	}
}

func event(t events.Type, tags ...events.Tag) events.Event {
	return events.Event{
		ID: uuid.Must(uuid.NewV7()), Type: t, SchemaVersion: 1, Tags: tags,
		Data: json.RawMessage(`{"b":1, "a":2}`), Metadata: json.RawMessage(`{"actor":{"user_id":1}}`),
	}
}

func mustAppend(t testing.TB, s *eventstore.Store, condition events.AppendCondition, evs ...events.Event) events.Position {
	t.Helper()
	position, err := s.Append(t.Context(), evs, condition)
	if err != nil {
		t.Fatal(err)
	}
	return position
}

// none is the condition that no event has these types and tags after a position.
func none(after events.Position, t events.Type, tags ...events.Tag) events.AppendCondition {
	return events.AppendCondition{FailIfMatch: events.Query{{Types: []events.Type{t}, Tags: tags}}, After: after}
}

// connect is a session of the test's own.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// seed makes the choices of a test random. CARELOG_TEST_SEED repeats those of
// an earlier run, though not its interleavings.
func seed(t testing.TB) uint64 {
	t.Helper()
	chosen, err := strconv.ParseUint(os.Getenv("CARELOG_TEST_SEED"), 10, 64)
	if err != nil {
		chosen = rand.Uint64N(1_000_000)
	}
	t.Logf("CARELOG_TEST_SEED=%d", chosen)
	return chosen
}

// times is n, and 30 times as much when CARELOG_TEST_LONG is set.
func times(n int) int {
	if os.Getenv("CARELOG_TEST_LONG") != "" {
		return 30 * n
	}
	return n
}
