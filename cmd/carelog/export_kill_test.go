package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carelog/carelog/eventstore/archive"
)

// killedWhen runs a command and kills it as soon as something holds.
func killedWhen(t *testing.T, config Config, what string, holds func() bool, args ...string) {
	t.Helper()
	command, _, stderr := asCommand(t, config, args...)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, what, time.Minute, holds)
	t.Logf("%s, after %v", what, time.Since(began).Round(time.Millisecond))
	_ = command.Process.Kill() // it may have ended
	if err := command.Wait(); err == nil {
		t.Errorf("carelog %s had ended before it was killed: %s", args[0], stderr)
	}
}

// segmentHashes are those of all files of an export.
func segmentHashes(t *testing.T, dir string) (hashes []string) {
	t.Helper()
	e, err := archive.Open(dir)
	if err == nil {
		err = e.Check()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range e.Segments {
		hashes = append(hashes, s.SHA256, s.LinesSHA256)
	}
	return hashes
}

// TestKill9OfExportAndImport: an export goes on behind the files that are whole, and makes
// the same; an import leaves nothing, or all but the read tables, and can be run again.
func TestKill9OfExportAndImport(t *testing.T) {
	t.Parallel()
	const n = 120_000
	from := databaseConfig(t)
	start(t, from).stop()
	fillLog(t, from.DatabaseURL, n)
	whole, dir := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "export")
	mustCarelog(t, from, "export", whole)

	there := func(name string) func() bool {
		return func() bool {
			_, err := os.Stat(filepath.Join(dir, name))
			return err == nil
		}
	}
	killedWhen(t, from, "there is a manifest", there("manifest.partial.json"), "export", dir)
	killedWhen(t, from, "a file is in the manifest", func() bool { // one that is not yet is written again
		text, err := os.ReadFile(filepath.Join(dir, "manifest.partial.json"))
		return err == nil && strings.Contains(string(text), "events-000000000001.ndjson.zst")
	}, "export", dir)
	if _, err := archive.Open(dir); err != archive.ErrUnfinished {
		t.Errorf("an export that was killed: %v", err)
	}
	var done exported
	got := mustCarelog(t, from, "export", dir, "--json")
	if err := json.Unmarshal([]byte(got.stdout), &done); err != nil || done.Events != n || done.Added >= n || done.Added == 0 {
		t.Errorf("%+v, %v", done, err)
	}
	if want, got := fmt.Sprint(segmentHashes(t, whole)), fmt.Sprint(segmentHashes(t, dir)); want != got {
		t.Errorf("the files are %s, and of an export that was not killed %s", got, want)
	}

	to := emptyConfig(t)
	running := func(statement string) func() bool {
		return func() bool {
			return query[bool](t, to.DatabaseURL, `select exists (select from pg_stat_activity where datname = current_database()
				and state = 'active' and query like '`+statement+`%')`)
		}
	}
	for _, statement := range []string{"copy events", "alter table event_tags add"} {
		killedWhen(t, to, statement, running(statement), "import", dir)
		eventually(t, "the import's session has ended", 20*time.Second, func() bool {
			return query[int](t, to.DatabaseURL, `select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`) == 0
		})
		if left := query[int](t, to.DatabaseURL, `select (select count(*) from events) + (select count(*) from event_tags) + (select count(*) from log)`); left != 0 {
			t.Fatalf("killed at %s it leaves %d rows", statement, left)
		}
	}
	killedWhen(t, to, "the log is there", func() bool {
		return query[bool](t, to.DatabaseURL, `select exists (select from events where position = 1)`)
	}, "import", dir)
	mustCarelog(t, to, "projections", "rebuild")
	verified := mustCarelog(t, to, "projections", "verify")
	if rows := query[int64](t, to.DatabaseURL, `select count(*) from projections.patients`); rows != (n-1000)/10 {
		t.Errorf("%d patients: %s", rows, verified.stdout)
	}
	if logRows(t, to.DatabaseURL, 1000) != logRows(t, from.DatabaseURL, 1000) {
		t.Error("the imported log differs")
	}
}
