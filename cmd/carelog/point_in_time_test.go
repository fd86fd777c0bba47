package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestAPointInTime goes back to a moment as deploy/backup.md says, by a base backup and
// the WAL that was archived.
func TestAPointInTime(t *testing.T) {
	t.Parallel()
	config, backup := privateConfig(t), dataDir(t)
	wal := filepath.Join(backup, "wal")
	if err := os.Mkdir(wal, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(wal, 0o777); err != nil { // PostgreSQL may be another user
		t.Fatal(err)
	}
	block := func(name string) string {
		return strings.ReplaceAll(readBlock(t, "deploy/backup.md", name), "/backup/", backup+"/")
	}
	run := func(args ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), "env", append([]string{postgresPath(t)}, args...)...)
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args, err, output)
		}
	}
	server := start(t, config)
	for line := range strings.Lines(block("archive")) {
		runSQL(t, server.program.postgres.URL(), "alter system set "+strings.Split(line, " #")[0])
	}
	server.stop()

	server = start(t, config)
	database := server.program.postgres.URL()
	access, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	write := func(patients int) {
		for range patients {
			server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
		}
	}
	write(3)
	run("REPLICATION_URL="+database, "sh", "-euc", block("base backup"))
	write(3)
	moment := query[string](t, database, "select clock_timestamp()::text")
	write(3)
	last := query[string](t, database, "select pg_walfile_name(pg_switch_wal())")
	eventually(t, "the WAL is archived", 20*time.Second, func() bool {
		_, err := os.Stat(filepath.Join(wal, last))
		return err == nil
	})
	server.stop()

	data := filepath.Join(config.DataDir, "postgres", "data")
	lost := data + ".lost"
	if err := os.Rename(data, lost); err != nil {
		t.Fatal(err)
	}
	bases, err := filepath.Glob(filepath.Join(backup, "base-*"))
	if err != nil || len(bases) != 1 {
		t.Fatalf("base backups: %v, %v", bases, err)
	}
	run("cp", "-a", bases[0], data)
	settings, err := os.OpenFile(filepath.Join(data, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(settings, strings.Replace(block("recovery"), "2026-01-31 08:30:00.5+00", moment, 1))
	if err := settings.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "recovery.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run("chown", "-R", "--reference="+lost, data)
	alone := newPostgres(postgresOptions{Dir: filepath.Dir(data), StopTimeout: 20 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running errgroup.Group
	running.Go(func() error { return alone.Run(ctx) })
	eventually(t, "PostgreSQL has recovered", 30*time.Second, func() bool {
		select {
		case <-alone.Running():
			return !query[bool](t, alone.URL(), "select pg_is_in_recovery()")
		default:
			return false
		}
	})
	runSQL(t, alone.URL(), readBlock(t, "deploy/backup.md", "new log id"))
	stop()
	if err := running.Wait(); err != nil {
		t.Fatal(err)
	}

	server = start(t, config)
	list := server.mustAs(t, access, "GET", "/api/patients/", "", 200)
	if got := strings.Count(string(list.body), `"id":`); got != 6 {
		t.Errorf("%d patients are there; 6 were registered before the moment", got)
	}
	write(1)
	if got := runCarelog(t, config, "", "projections", "verify"); got.status != 0 {
		t.Errorf("%+v", got)
	}
}
