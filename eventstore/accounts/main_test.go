package accounts

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open answers a pool on a fresh database.
func open(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func execute(t *testing.T, db DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestErrorsOfTheDatabase(t *testing.T) {
	pool := open(t)
	credentials, tokens := NewCredentials(pool), NewRefreshTokens(pool)
	all := func(ctx context.Context) map[string]error {
		_, hash := credentials.Hash(ctx, 1)
		_, sweep := credentials.Sweep(ctx)
		_, sweepTokens := tokens.Sweep(ctx)
		return map[string]error{
			"Add": credentials.Add(ctx, 1, "h"), "Hash": hash, "Replace": credentials.Replace(ctx, 1, "h", "i"),
			"Change": credentials.Change(ctx, 1, "h"),
			"Remove": credentials.Remove(ctx, 1), "Sweep": sweep, "Sweep of tokens": sweepTokens,
			"Rotate": tokens.Rotate(ctx, Rotation{JTI: "a", UserID: 1, SuccessorJTI: "b"}),
		}
	}
	execute(t, pool, `alter schema accounts rename to elsewhere`)
	for name, err := range all(t.Context()) {
		if err == nil || errors.Is(err, events.ErrUnavailable) {
			t.Errorf("%s without its tables: %v", name, err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range all(cancelled) {
		if !errors.Is(err, context.Canceled) || errors.Is(err, events.ErrUnavailable) {
			t.Errorf("%s of a caller that has gone: %v", name, err)
		}
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	for name, err := range all(late) {
		if !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("%s past the deadline: %v", name, err)
		}
	}
	config := pool.Config()
	config.ConnConfig.Host = t.TempDir() // a socket that nobody serves
	config.ConnConfig.Fallbacks = nil
	nowhere, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	credentials, tokens = NewCredentials(nowhere), NewRefreshTokens(nowhere)
	for name, err := range all(t.Context()) {
		if !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("%s without a server: %v", name, err)
		}
	}
}

func TestErrorsOfALostConnection(t *testing.T) {
	pool := open(t)
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	execute(t, pool, `select pg_terminate_backend($1, 10000)`, int(conn.PgConn().PID()))
	if err := NewCredentials(conn).Add(t.Context(), 1, "h"); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
