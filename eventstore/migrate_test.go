package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// emptyDatabase is one that was never migrated.
func emptyDatabase(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(t.Context(), `drop schema projections, accounts, public cascade; create schema public`); err != nil {
		t.Fatal(err)
	}
	return pool
}

// applied is which migrations the database has had, in this order.
func applied(t *testing.T, pool *pgxpool.Pool) []int64 {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select version_id from migrations where version_id > 0 order by id`)
	if err != nil {
		t.Fatal(err)
	}
	versions, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	return versions
}

// isMigrated fails unless the database has had each migration once, in order.
func isMigrated(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	database, program, err := eventstore.SchemaVersions(t.Context(), pool)
	if err != nil || database != program {
		t.Errorf("schema version %d of %d, %v", database, program, err)
	}
	var want []int64
	for v := range program {
		want = append(want, v+1)
	}
	if got := applied(t, pool); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the migrations were %v", got)
	}
	if _, err := pool.Exec(t.Context(), `select from events, accounts.credentials, projections.checkpoints`); err != nil {
		t.Error(err)
	}
}

func TestProcessesThatMigrateTogetherTakeTurns(t *testing.T) {
	pool := emptyDatabase(t)
	var processes errgroup.Group
	for range 2 {
		processes.Go(func() error { return eventstore.Migrate(context.Background(), pool.Config().ConnConfig) })
	}
	if err := processes.Wait(); err != nil {
		t.Fatal(err)
	}
	isMigrated(t, pool)
}

// The process is cut off in the middle of the second migration. The first stays,
// nothing of the second does, and the next start goes on.
func TestAMigrationIsInterrupted(t *testing.T) {
	pool := emptyDatabase(t)
	block, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := block.Exec(t.Context(), `create schema accounts`); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- eventstore.Migrate(context.Background(), pool.Config().ConnConfig) }()
	for deadline, killed := time.Now().Add(20*time.Second), false; !killed; {
		err := pool.QueryRow(t.Context(), `select coalesce(bool_or(pg_terminate_backend(pid)), false)
			from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).Scan(&killed)
		if err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("no migration waits")
		}
	}
	if err := <-ended; !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("interrupted, it answers %v", err)
	}
	if got := applied(t, pool); fmt.Sprint(got) != "[1]" {
		t.Errorf("the migrations were %v", got)
	}
	if err := block.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := eventstore.Migrate(t.Context(), pool.Config().ConnConfig); err != nil {
		t.Fatal(err)
	}
	isMigrated(t, pool)
}

func TestANewerProgramsDatabaseIsLeftAsItIs(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(t.Context(), `insert into migrations (version_id, is_applied) values (9999, true); alter table events add column more text`); err != nil {
		t.Fatal(err)
	}
	before := applied(t, pool)
	if err := eventstore.Migrate(t.Context(), pool.Config().ConnConfig); err != nil {
		t.Fatal(err)
	}
	if got := applied(t, pool); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("the migrations were %v, and before %v", got, before)
	}
	if database, program, err := eventstore.SchemaVersions(t.Context(), pool); err != nil || database != 9999 || program >= 9999 {
		t.Errorf("schema version %d, %d, %v", database, program, err)
	}
}

// TestIndexesAreOrderedByBytes: an order of the operating system's changes with its C
// library, and an append condition would then miss what is there. Names of projections
// are lower-case letters, which every order has alike.
func TestIndexesAreOrderedByBytes(t *testing.T) {
	t.Parallel()
	rows, err := connect(t, pgtest.New(t)).Query(t.Context(), `
		select c.oid::regclass::text
		from pg_index i join pg_class c on c.oid = i.indexrelid
		where c.relnamespace in ('public'::regnamespace, 'projections'::regnamespace, 'accounts'::regnamespace)
		  and exists (select from unnest(i.indcollation) used where used not in (0, 'pg_catalog."C"'::regcollation))`)
	if err != nil {
		t.Fatal(err)
	}
	others, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(others) != "[projections.checkpoints_pkey]" {
		t.Errorf("ordered otherwise: %v", others)
	}
}
