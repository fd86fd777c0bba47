package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestTheDatabaseIsRestoredToAnOlderState: the NATS store has outlived it, and
// carries events that never happened in this log. None of them becomes a row,
// and no position of theirs is taken for applied.
func TestTheDatabaseIsRestoredToAnOlderState(t *testing.T) {
	t.Parallel()
	config := privateConfig(t)
	postgres, backup := filepath.Join(config.DataDir, "postgres"), filepath.Join(t.TempDir(), "backup")
	copyTo := func(from, to string) {
		t.Helper()
		if output, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
	}
	server := start(t, config)
	server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.stop()
	copyTo(postgres, backup)

	server = start(t, config)
	lost, _ := server.register(t, "Jane Roe", "jane@example.com", "securepassword123")
	for range 10 {
		server.mustAs(t, lost, "POST", "/api/patients/", somePatient, 201)
	}
	server.stop()
	if err := os.RemoveAll(postgres); err != nil {
		t.Fatal(err)
	}
	copyTo(backup, postgres)

	server = start(t, config)
	access, _ := server.register(t, "Jim Poe", "jim@example.com", "securepassword123")
	for i := range 20 {
		list := server.mustAs(t, access, "GET", "/api/patients/", "", 200)
		if there := strings.Count(string(list.body), `"id":`); there != i {
			t.Fatalf("after %d patients there are %d: %s", i, there, list.body)
		}
		server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	}
	eventually(t, "events come over NATS again", 10*time.Second, func() bool { return overBus(t, server, access) })
}

// overBus tells whether the event of a write comes over NATS.
func overBus(t *testing.T, server *running, access string) bool {
	t.Helper()
	fromLog := func() string {
		state := string(server.send(t, "GET", "/readyz", nil, nil).body)
		_, after, _ := strings.Cut(state, `"from_log":`)
		return after
	}
	before := fromLog()
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	return fromLog() == before
}

// TestTheStoreOfNATSIsRemovedAtRunTime: nothing is lost, and the server makes
// itself another.
func TestTheStoreOfNATSIsRemovedAtRunTime(t *testing.T) {
	t.Parallel()
	config := databaseConfig(t)
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	if err := os.RemoveAll(filepath.Join(config.DataDir, "nats")); err != nil {
		t.Fatal(err)
	}
	// The server goes on in the file that it has open. A purge makes it want
	// another one at once.
	if err := carelogStream(t, server).Purge(t.Context()); err == nil {
		t.Log("the purge succeeded")
	}
	written := 1
	eventually(t, "the stream is made anew", 30*time.Second, func() bool {
		server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
		written++
		return strings.Contains(server.log.String(), "made anew")
	})
	eventually(t, "events come over NATS again", 10*time.Second, func() bool {
		written++
		return overBus(t, server, access)
	})
	list := server.mustAs(t, access, "GET", "/api/patients/", "", 200)
	if there := strings.Count(string(list.body), `"id":`); there != written {
		t.Errorf("%d patients are there and %d were written", there, written)
	}
}

// TestANewDatabaseBesideAnOldNATSStore: the stream is another log's, and the
// server's own, so it is made anew.
func TestANewDatabaseBesideAnOldNATSStore(t *testing.T) {
	t.Parallel()
	config := privateConfig(t)
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	server.stop()
	if err := os.RemoveAll(filepath.Join(config.DataDir, "postgres")); err != nil {
		t.Fatal(err)
	}
	server = start(t, config)
	access, _ = server.register(t, "John Doe", "john@example.com", "securepassword123")
	eventually(t, "events come over NATS", 10*time.Second, func() bool { return overBus(t, server, access) })
}

// TestARestoredLogGetsANewID, by what deploy/backup.md says.
func TestARestoredLogGetsANewID(t *testing.T) {
	config := databaseConfig(t)
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	server.stop()
	conn, err := pgx.Connect(t.Context(), config.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), readBlock(t, "deploy/backup.md", "new log id")); err != nil {
		t.Fatal(err)
	}
	server = start(t, config)
	if list := server.mustAs(t, access, "GET", "/api/patients/", "", 200); strings.Count(string(list.body), `"id":`) != 1 {
		t.Errorf("%s", list.body)
	}
	eventually(t, "events come over NATS", 10*time.Second, func() bool { return overBus(t, server, access) })
}
