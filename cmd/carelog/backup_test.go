package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// postgresPath is a PATH with PostgreSQL's programs of the version that the tests use.
func postgresPath(t *testing.T) string {
	t.Helper()
	install, err := findPostgres("", 0)
	if err != nil {
		t.Fatal(err)
	}
	return "PATH=" + install.bin + string(os.PathListSeparator) + os.Getenv("PATH")
}

// twoRoles makes what deploy/postgres/roles.sh does: an owner, a role that serves, and a
// database. The answer tells the URL of a database for a role ("" is one who may do all).
func twoRoles(t *testing.T) (owner, app, database string, urlOf func(role, database string) string) {
	t.Helper()
	all := pgtest.New(t)
	suffix := uuid.NewString()[:8]
	owner, app, database = "carelog_owner_"+suffix, "carelog_app_"+suffix, "carelog_"+suffix
	urlOf = func(role, database string) string {
		parsed, err := url.Parse(all)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Path = "/" + database; role != "" {
			parsed.User = url.User(role)
		}
		return parsed.String()
	}
	conn, err := pgx.Connect(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	do := func(ctx context.Context, statements ...string) {
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
	t.Cleanup(func() {
		do(context.Background(), "drop database if exists "+database+"_new with (force)", "drop database if exists "+database+" with (force)", "drop role if exists "+app, "drop role if exists "+owner)
		conn.Close(context.Background())
	})
	do(t.Context(), "create role "+owner+" login", "create role "+app+" login", "create database "+database+" owner "+owner)
	migrate := testConfig(t, map[string]string{"DATABASE_URL": urlOf(owner, database), "CARELOG_JWT_SECRET": testSecret})
	if got := runCarelog(t, migrate, "", "migrate", "--grant", app); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	return owner, app, database, urlOf
}

// TestADumpUnderLoadIsPutBack does what deploy/backup.md says, while patients are
// registered: what comes back is the log up to a position, whole, and Carelog goes
// on with it. Nobody gets the number of a user who was lost, whose tokens are good for
// nothing; with that number they are, as is seen at last.
func TestADumpUnderLoadIsPutBack(t *testing.T) {
	t.Parallel()
	owner, app, old, urlOf := twoRoles(t)
	name := old + "_new"
	configOf := func(url string) Config {
		return testConfig(t, map[string]string{"DATABASE_URL": url, "CARELOG_JWT_SECRET": testSecret})
	}
	server := start(t, configOf(urlOf(app, old)))
	access, refresh := server.register(t, "John Doe", "john@example.com", oldPassword)
	var answered atomic.Int64
	stop := make(chan struct{})
	var load errgroup.Group
	for range 4 {
		load.Go(func() error {
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				got, err := server.as(access, "POST", "/api/patients/", somePatient)
				if err != nil || got.status != 201 {
					return fmt.Errorf("%d %s %w", got.status, got.body, err)
				}
				answered.Add(1)
			}
		})
	}
	enough := func(more int64) {
		t.Helper()
		until := answered.Load() + more
		eventually(t, "patients are registered", 20*time.Second, func() bool { return answered.Load() >= until })
	}
	enough(50)
	before := answered.Load()
	dir, bin := t.TempDir(), t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(bin, "carelog")); err != nil {
		t.Fatal(err)
	}
	variables := []string{strings.Replace(postgresPath(t), "=", "="+bin+string(os.PathListSeparator), 1), asProgram + "=1", "CARELOG_JWT_SECRET=" + testSecret, "CARELOG_DATA_DIR=" + bin,
		"OWNER=" + owner, "NEW_NAME=" + name, "ADMIN_URL=" + urlOf("", old), "OWNER_URL=" + urlOf(owner, old), "NEW_URL=" + urlOf(owner, name)}
	run := func(block string) { t.Helper(); runScript(t, dir, "deploy/backup.md", block, variables...) }
	run("dump")
	dumped := answered.Load()
	lost, _ := server.register(t, "Jane Roe", "jane@example.com", oldPassword)
	lostID := query[int64](t, urlOf("", old), "select id from projections.users where email = 'jane@example.com'")
	enough(20)
	close(stop)
	if err := load.Wait(); err != nil {
		t.Fatal(err)
	}
	run("new database")
	run("restore")
	if next := query[int64](t, urlOf("", name), "select last_value + is_called::int from user_ids"); next != lostID {
		t.Errorf("the next user would be %d, and the lost one was %d", next, lostID)
	}
	runSQL(t, urlOf(owner, name), readBlock(t, "deploy/backup.md", "new log id"))

	const everything = `select md5(string_agg(e::text, '' order by position)) from events e where position <= `
	head := query[int64](t, urlOf("", name), "select max(position) from events")
	if head < before+1 || head > dumped+1+4 {
		t.Errorf("%d events came back; when the dump began %d patients were registered, and when it ended %d", head, before, dumped)
	}
	in := func(database string) string {
		return query[string](t, urlOf("", database), everything+fmt.Sprint(head))
	}
	if in(name) != in(old) {
		t.Error("the events that came back are others")
	}
	run("rehearsal")

	server.stop()
	if got := runCarelog(t, configOf(urlOf(owner, name)), "", "migrate", "--grant", app); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	server = start(t, configOf(urlOf(app, name)))
	// What was in the log of the dump and not yet in its tables is applied first.
	list := server.mustWith(t, access, "GET", "/api/patients/", "", 200, fmt.Sprintf("Carelog-Min-Position: %d", head))
	if got := int64(strings.Count(string(list.body), `"id":`)); got != head-1 {
		t.Errorf("%d patients of %d events", got, head)
	}
	server.mustRefresh(t, refresh)
	server.login(t, "john@example.com", oldPassword)
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	server.register(t, "Jim Poe", "jim@example.com", oldPassword)
	server.mustAs(t, lost, "GET", "/api/patients/", "", 401)

	runSQL(t, urlOf(owner, name), fmt.Sprintf("select setval('user_ids', %d, false)", lostID))
	server.register(t, "Joe Low", "joe@example.com", oldPassword)
	server.mustAs(t, lost, "GET", "/api/patients/", "", 200)
}
