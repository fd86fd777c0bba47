package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/carelog/carelog/eventstore/pgtest"
	"github.com/carelog/carelog/httpapi"
)

// examine runs `carelog doctor --json` with these variables, and answers the lines
// of each check. The exit status must be that of the errors in them.
func examine(t *testing.T, vars map[string]string, args ...string) map[string][]finding {
	t.Helper()
	for _, s := range settings {
		t.Setenv(s.name, vars[s.name]) // nothing is the default
	}
	t.Setenv("DB_NAME", vars["DB_NAME"])
	t.Setenv("DB_USER", vars["DB_USER"])
	t.Chdir(t.TempDir()) // without a .env
	var stdout, stderr logBuffer
	status := execute(t.Context(), append([]string{"doctor", "--json"}, args...), &stdout, &stderr)
	checks := map[string][]finding{}
	for _, f := range decodeLines[finding](t, stdout.String()) {
		checks[f.Check] = append(checks[f.Check], f)
	}
	wantStatus, want := 0, ""
	if errors := countStates(checks)["error"]; errors > 0 {
		wantStatus, want = exitError, fmt.Sprintf("carelog: errors found: %d\n", errors)
	}
	if status != wantStatus || stderr.String() != want {
		t.Errorf("status %d, %q\n%s", status, &stderr, &stdout)
	}
	return checks
}

func countStates(checks map[string][]finding) map[string]int {
	states := map[string]int{}
	for _, found := range checks {
		for _, f := range found {
			states[f.State]++
		}
	}
	return states
}

// expectFinding wants a line of the check with this state and text, in the message
// or in how to mend it.
func expectFinding(t *testing.T, checks map[string][]finding, check, state, text string) {
	t.Helper()
	for _, f := range checks[check] {
		if f.State == state && strings.Contains(f.Message+": "+f.Mend, text) {
			return
		}
	}
	t.Errorf("%s: no %s with %q: %+v", check, state, text, checks[check])
}

// TestDoctorOfAHealthyServer: beside it, and when it does not run; nothing is
// changed.
func TestDoctorOfAHealthyServer(t *testing.T) {
	config := privateConfig(t)
	vars := map[string]string{"CARELOG_DATA_DIR": config.DataDir}
	server := start(t, config)
	writeStory(t, server, config)
	before := fingerprint(t, server.program.postgres.URL())
	checks := examine(t, vars)
	if states := countStates(checks); states["warning"]+states["error"] > 0 {
		t.Errorf("trouble with a healthy server: %+v", checks)
	}
	for check, text := range map[string]string{
		"postgres": "database carelog of", "server": "a carelog serves on this database", "durability": "fsync, full_page_writes and synchronous_commit are on",
		"log": "id " + logID(t, server) + ", head 8, recorded at ", "projections": "users at position 8, 0 behind the log", "schema": "as this program needs",
		"clock": "differ by 0s", "connections": "of 100 are used", "data dir": config.DataDir, "disk": "free for ", "token key": "can be used",
		"nats": "inside the process of the server", "open files": "is enough for", "program": "carelog ", "settings": "all can be used",
	} {
		expectFinding(t, checks, check, "ok", text)
	}
	if after := fingerprint(t, server.program.postgres.URL()); after != before {
		t.Errorf("the database was\n%s\nand is\n%s", before, after)
	}
	server.stop()
	checks = examine(t, vars)
	expectFinding(t, checks, "server", "ok", "no carelog serves on this database now")
	expectFinding(t, checks, "log", "ok", "head 8")
	if _, err := os.Stat(filepath.Join(config.DataDir, "postgres", "data", "postmaster.pid")); !os.IsNotExist(err) {
		t.Errorf("PostgreSQL was not stopped: %v", err)
	}
	server = start(t, config)
	if after := fingerprint(t, server.program.postgres.URL()); after != before {
		t.Errorf("the database was\n%s\nand is\n%s", before, after)
	}

	text := runCarelog(t, config, "", "doctor").stdout
	if !strings.Contains(text, "ok       settings      all can be used\n") || strings.Count(text, "\n") < 15 {
		t.Errorf("for people:\n%s", text)
	}
}

// logID is the id of the server's log.
func logID(t *testing.T, server *running) (id string) {
	t.Helper()
	return query[string](t, server.program.postgres.URL(), `select id::text from log`)
}

// fingerprint is what a command could have changed in a database.
func fingerprint(t *testing.T, url string) string {
	t.Helper()
	return query[string](t, url, `
		select concat_ws(' ', (select count(*) from events), (select id from log), (select max(version_id) from migrations),
		    (select string_agg(concat_ws(' ', name, schema_version, log_id, position, stopped_position), ', ' order by name) from projections.checkpoints),
		    (select count(*) from pg_class))`)
}

// TestDoctorBeforeTheFirstStart makes nothing.
func TestDoctorBeforeTheFirstStart(t *testing.T) {
	config := privateConfig(t)
	checks := examine(t, map[string]string{"CARELOG_DATA_DIR": config.DataDir})
	expectFinding(t, checks, "postgres", "warning", "there is no database in "+config.DataDir+" yet: `carelog serve` makes one")
	expectFinding(t, checks, "programs", "ok", "PostgreSQL version")
	expectFinding(t, checks, "data dir", "ok", "is not there yet")
	expectFinding(t, checks, "token key", "ok", "not made yet")
	if _, err := os.Stat(config.DataDir); !os.IsNotExist(err) {
		t.Errorf("the data directory was made: %v", err)
	}
	empty := pgtest.New(t)
	runSQL(t, empty, `drop schema accounts cascade; drop schema projections cascade; drop schema public cascade; create schema public`)
	checks = examine(t, map[string]string{"DATABASE_URL": empty, "CARELOG_JWT_SECRET": testSecret, "CARELOG_DATA_DIR": t.TempDir(), "CARELOG_PG_BIN": "/nowhere"})
	expectFinding(t, checks, "schema", "warning", "this database holds no log of Carelog")
	if tables := query[int](t, empty, `select count(*) from pg_tables where schemaname not in ('pg_catalog', 'information_schema')`); tables > 0 {
		t.Errorf("%d tables were made", tables)
	}
	checks = examine(t, map[string]string{"CARELOG_DATA_DIR": config.DataDir, "CARELOG_PG_BIN": "/nowhere"})
	expectFinding(t, checks, "programs", "error", "CARELOG_PG_BIN: ")
}

// TestDoctorOfADatabaseThatStops: with fsync off, and when it cannot be reached; the
// rest is checked all the same.
func TestDoctorOfADatabaseThatStops(t *testing.T) {
	url, stop := startPostgres(t, filepath.Join(dataDir(t), "postgres")) // with fsync off
	vars := map[string]string{"DATABASE_URL": url, "CARELOG_JWT_SECRET": testSecret, "CARELOG_DATA_DIR": t.TempDir()}
	start(t, testConfig(t, vars)).stop()
	checks := examine(t, vars)
	expectFinding(t, checks, "durability", "error", "fsync is off: a loss of power can destroy what was answered: set fsync = on in postgresql.conf, and reload")
	expectFinding(t, checks, "durability", "error", "full_page_writes is off")
	if states := countStates(checks); states["error"] != 2 {
		t.Errorf("other errors, too: %+v", checks)
	}
	runSQL(t, url, `alter database carelog set synchronous_commit = off; alter database carelog set default_transaction_read_only = on`)
	checks = examine(t, vars)
	expectFinding(t, checks, "durability", "warning", "synchronous_commit is off")
	expectFinding(t, checks, "postgres", "error", "lets this user read only: reset default_transaction_read_only")
	stop()
	checks = examine(t, vars)
	expectFinding(t, checks, "postgres", "error", "it cannot be reached: ")
	expectFinding(t, checks, "disk", "ok", "free for ")
	expectFinding(t, checks, "nats", "ok", "inside the process")
}

// TestDoctorOfALog that is wrong in one way or another.
func TestDoctorOfALog(t *testing.T) {
	broker := startNATS(t, t.TempDir(), -1)
	url := pgtest.New(t)
	vars := map[string]string{"DATABASE_URL": url, "CARELOG_JWT_SECRET": testSecret, "NATS_URL": broker.ClientURL(), "CARELOG_DATA_DIR": t.TempDir()}
	server := start(t, testConfig(t, vars))
	server.register(t, "John Doe", "john@example.com", oldPassword)
	server.register(t, "Jane Doe", "jane@example.com", oldPassword)
	eventually(t, "the events are on the NATS stream", time.Minute, func() bool {
		for _, f := range examine(t, vars)["nats"] {
			return f.State == "ok" && strings.HasSuffix(f.Message, "the last at position 2")
		}
		return false
	})
	server.stop()
	for _, step := range []struct {
		sql, check, state, text string
	}{
		{"select 1", "projections", "ok", "users at position 2, 0 behind the log"},
		{"update events set recorded_at = now() + interval '1 hour' where position = 2", "log", "warning", "which is in the future: the database's clock was set back"},
		{"update projections.checkpoints set position = 0 where name = 'users'", "projections", "ok", "users at position 0, 2 behind the log"},
		{"update projections.checkpoints set stopped_position = 1, stopped_type = 'user.x', stopped_reason = 'a reason' where name = 'users'", "projections", "error", "a reason"},
		{"update projections.checkpoints set schema_version = 99 where name = 'doctors'", "projections", "error", "run `carelog projections rebuild doctors`"},
		{"delete from projections.checkpoints where name = 'mappings'", "projections", "warning", "mappings was never filled"},
		{"update log set id = gen_random_uuid()", "projections", "error", "run `carelog projections rebuild patients`"},
		{"select 1", "nats", "error", "the NATS stream CARELOG carries the log "},
		{"update log set id = (select log_id from projections.checkpoints limit 1); delete from events where position = 2", "nats", "error", "ends with an event at position 2 that is not in the log"},
		{"insert into migrations (version_id, is_applied) values (9999, true)", "schema", "warning", "the database has version 9999 of a newer carelog"},
		{"update migrations set version_id = -version_id where version_id > 1", "schema", "warning", "the next start of this carelog migrates it"},
	} {
		runSQL(t, url, step.sql)
		expectFinding(t, examine(t, vars), step.check, step.state, step.text)
	}
}

// TestDoctorOfNATS that is empty, and that is away.
func TestDoctorOfNATS(t *testing.T) {
	vars := map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "CARELOG_DATA_DIR": t.TempDir()}
	vars["NATS_URL"] = startNATS(t, t.TempDir(), -1).ClientURL()
	expectFinding(t, examine(t, vars), "nats", "ok", "the NATS stream CARELOG is not there yet: a server makes it")
	vars["NATS_URL"] = "nats://somebody:hidden@127.0.0.1:1"
	checks := examine(t, vars)
	expectFinding(t, checks, "nats", "error", "see that NATS runs with JetStream")
	expectFinding(t, checks, "log", "warning", "it has no id yet")
	if text := fmt.Sprint(checks); strings.Contains(text, "hidden") {
		t.Errorf("the password is told: %s", text)
	}
}

// TestDoctorOfSettingsAndFiles: all mistakes are told, and what does not depend on
// them is checked.
func TestDoctorOfSettingsAndFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := jwtKeys(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "jwt.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CARELOG_ADRESS", "x")
	checks := examine(t, map[string]string{"CARELOG_DATA_DIR": dir, "CARELOG_MAX_CONNECTIONS": "1000000", "CARELOG_LOG_LEVEL": "loud"}, "--addr", "nowhere")
	expectFinding(t, checks, "settings", "warning", "CARELOG_ADRESS is no setting and was ignored; the nearest is CARELOG_ADDR")
	expectFinding(t, checks, "settings", "error", "CARELOG_LOG_LEVEL: ")
	expectFinding(t, checks, "settings", "error", "--addr: ")
	expectFinding(t, checks, "open files", "warning", "and 1000000 are set: raise it")
	expectFinding(t, checks, "data dir", "error", "others may change what is in "+dir+" (mode 0777): chmod go-w "+dir)
	expectFinding(t, checks, "token key", "error", "can be read by others: run chmod 600 on it")
	expectFinding(t, checks, "postgres", "warning", "there is no database in "+dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	expectFinding(t, examine(t, map[string]string{"CARELOG_DATA_DIR": dir}), "data dir", "warning", "chmod go-r "+dir)

	checks = examine(t, map[string]string{"DATABASE_URL": "mysql://x", "CARELOG_DATA_DIR": filepath.Join(dir, "jwt.key"), "NATS_URL": "http://x"})
	expectFinding(t, checks, "settings", "error", "DATABASE_URL: ")
	expectFinding(t, checks, "settings", "error", "CARELOG_JWT_SECRET: not set")
	expectFinding(t, checks, "settings", "error", "NATS_URL: ")
	expectFinding(t, checks, "postgres", "error", "it cannot be told which database is meant: mend the settings first")
	expectFinding(t, checks, "data dir", "error", "is no directory")
	expectFinding(t, examine(t, map[string]string{"DB_USER": "x", "CARELOG_DATA_DIR": dir}), "postgres", "error", "mend the settings first")
	t.Chdir(t.TempDir())
	if err := os.WriteFile(".env", []byte("no setting\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr logBuffer
	status := execute(t.Context(), []string{"doctor"}, &stdout, &stderr)
	if text := stdout.String(); status != exitError || !strings.Contains(text, "error    settings      .env, line 1: ") ||
		!strings.Contains(text, "mend the settings first") || strings.Contains(text, "nats") || strings.Contains(text, "data dir") {
		t.Errorf("with a .env that cannot be read: %d\n%s%s", status, &stdout, &stderr)
	}
	many := map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "CARELOG_DATA_DIR": dir, "CARELOG_DB_MAX_CONNS": "10000"}
	expectFinding(t, examine(t, many), "connections", "warning", "and a server takes up to 10006: raise max_connections")
}

// TestDoctorTellsKeysApart: by ids, which are no secret; and which key is of no use any more.
func TestDoctorTellsKeysApart(t *testing.T) {
	signing, other := httpapi.KeyID([]byte(testSecret)), httpapi.KeyID([]byte(newSecret))
	dir := t.TempDir()
	vars := map[string]string{"CARELOG_DATA_DIR": dir, "CARELOG_JWT_SECRET": testSecret}
	expectFinding(t, examine(t, vars), "token key", "ok", "key "+signing+" signs")
	vars["CARELOG_JWT_FALLBACK_SECRETS"] = newSecret
	checks := examine(t, vars)
	expectFinding(t, checks, "token key", "ok", "key "+signing+" signs, and tokens of "+other+" are good")
	if text := fmt.Sprint(checks); strings.Contains(text, testSecret) || strings.Contains(text, newSecret) {
		t.Errorf("a key is shown: %s", text)
	}

	path := filepath.Join(dir, "jwt.key")
	vars = map[string]string{"CARELOG_DATA_DIR": dir}
	if err := os.WriteFile(path, []byte(newSecret+"\n"+testSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expectFinding(t, examine(t, vars), "token key", "ok", "key "+other+" signs, and tokens of "+signing+" are good")
	dayAgo := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(path, dayAgo, dayAgo); err != nil {
		t.Fatal(err)
	}
	expectFinding(t, examine(t, vars), "token key", "warning", "delete all lines of "+path+" but the first")
	vars["CARELOG_REFRESH_TOKEN_LIFETIME"] = "48h"
	expectFinding(t, examine(t, vars), "token key", "ok", "tokens of "+signing+" are good")
}

// TestDoctorOfMeasures: what is told of clocks and disks.
func TestDoctorOfMeasures(t *testing.T) {
	var told []string
	c := &checkup{print: func(f finding) error {
		told = append(told, f.State+" "+f.Message)
		return nil
	}}
	for _, differ := range []time.Duration{0, 400 * time.Millisecond, 2 * time.Second, time.Hour} {
		c.tellClock(differ)
	}
	for _, free := range []uint64{1 << 20, 1 << 30, 100 << 30} {
		c.tellSpace("/data", free)
	}
	want := []string{
		"ok the database's and this machine's differ by 0s", "ok the database's and this machine's differ by 400ms",
		"warning the database's and this machine's differ by 2s", "error the database's and this machine's differ by 1h0m0s",
		"error 1.0 MiB free for /data", "warning 1024.0 MiB free for /data", "ok 100 GiB free for /data",
	}
	if !slices.Equal(told, want) || c.errors != 2 {
		t.Errorf("%d errors, %q", c.errors, told)
	}
}
