// Package pgtest gives each test a Postgres database of its own.
//
// The databases are made on the server that CARELOG_TEST_DATABASE_URL names, as
// clones of a template that holds Carelog's schema; `make test` starts a
// throwaway server and sets it. Without it tests fail, they are not skipped.
package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/eventstore"
)

// New returns the URL of a fresh database with Carelog's schema. It is dropped
// when the test ends, with whatever still is connected to it.
func New(t testing.TB) string {
	t.Helper()
	server := os.Getenv("CARELOG_TEST_DATABASE_URL")
	if server == "" {
		t.Fatal("CARELOG_TEST_DATABASE_URL is not set: run the tests by `make test`, " +
			"or name a PostgreSQL server on which databases may be created")
	}
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("connect to the test server: %v", err)
	}
	defer admin.Close(ctx)
	name := "carelog_test_" + uuid.New().String()[:13]
	template := makeTemplate(ctx, t, admin, server)
	execute(ctx, t, admin, fmt.Sprintf("create database %q template %q", name, template))
	t.Cleanup(func() {
		admin, err := pgx.Connect(ctx, server)
		if err != nil {
			t.Errorf("connect to the test server: %v", err)
			return
		}
		defer admin.Close(ctx)
		execute(ctx, t, admin, fmt.Sprintf("drop database %q with (force)", name))
	})
	return withDatabase(t, server, name)
}

// makeTemplate makes the template database once for each state of the
// migrations; test processes that start together take turns.
func makeTemplate(ctx context.Context, t testing.TB, admin *pgx.Conn, server string) string {
	t.Helper()
	name := "carelog_template_" + migrationsHash(t)
	execute(ctx, t, admin, "select pg_advisory_lock(hashtext($1))", name)
	defer execute(ctx, t, admin, "select pg_advisory_unlock(hashtext($1))", name)
	var ready bool
	err := admin.QueryRow(ctx, "select exists (select from pg_database where datname = $1 and datistemplate)", name).Scan(&ready)
	if err != nil {
		t.Fatalf("look for the template database: %v", err)
	}
	if ready {
		return name
	}
	execute(ctx, t, admin, fmt.Sprintf("drop database if exists %q with (force)", name)) // a test that was killed may have left half of one
	execute(ctx, t, admin, fmt.Sprintf("create database %q", name))
	config, err := pgx.ParseConfig(withDatabase(t, server, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := eventstore.Migrate(ctx, config); err != nil {
		t.Fatal(err)
	}
	execute(ctx, t, admin, fmt.Sprintf("alter database %q is_template true", name))
	return name
}

func migrationsHash(t testing.TB) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(file), "..", "migrations", "*.sql"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no migrations found: %v", err)
	}
	slices.Sort(paths)
	hash := sha256.New()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil)[:6])
}

func withDatabase(t testing.TB, server, name string) string {
	t.Helper()
	parsed, err := url.Parse(server)
	if err != nil {
		t.Fatal("CARELOG_TEST_DATABASE_URL is not a URL, as in postgres://postgres@127.0.0.1:5432/postgres")
	}
	parsed.Path = "/" + name
	return parsed.String()
}

func execute(ctx context.Context, t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
