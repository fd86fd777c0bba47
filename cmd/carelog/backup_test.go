package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
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

// TestADumpUnderLoadIsPutBack does what deploy/backup.md says, while patients are
// registered: what comes back is the log up to a position, whole, and Carelog goes
// on with it.
func TestADumpUnderLoadIsPutBack(t *testing.T) {
	t.Parallel()
	config := databaseConfig(t)
	server := start(t, config)
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
	name := "carelog_restored_" + uuid.NewString()[:8]
	dir, restored := t.TempDir(), config
	restored.DatabaseURL = strings.Replace(config.DatabaseURL, query[string](t, config.DatabaseURL, "select current_database()"), name, 1)
	variables := []string{postgresPath(t), "DATABASE_URL=" + config.DatabaseURL, "NEW_NAME=" + name, "NEW_URL=" + restored.DatabaseURL}
	runScript(t, dir, "deploy/backup.md", "dump", variables...)
	dumped := answered.Load()
	enough(20)
	close(stop)
	if err := load.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), config.DatabaseURL)
		if err == nil {
			_, err = conn.Exec(context.Background(), "drop database "+name+" with (force)")
			conn.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
	runScript(t, dir, "deploy/backup.md", "restore", variables...)
	runSQL(t, restored.DatabaseURL, readBlock(t, "deploy/backup.md", "new log id"))

	const everything = `select md5(string_agg(e::text, '' order by position)) from events e where position <= `
	head := query[int64](t, restored.DatabaseURL, "select max(position) from events")
	if head < before+1 || head > dumped+1+4 {
		t.Errorf("%d events came back; when the dump began %d patients were registered, and when it ended %d", head, before, dumped)
	}
	in := func(url string) string { return query[string](t, url, everything+fmt.Sprint(head)) }
	if in(restored.DatabaseURL) != in(config.DatabaseURL) {
		t.Error("the events that came back are others")
	}
	if got := runCarelog(t, restored, "", "projections", "verify"); got.status != 0 {
		t.Errorf("%+v", got)
	}

	server.stop()
	restored.DataDir = filepath.Join(dataDir(t), "carelog")
	server = start(t, restored)
	// What was in the log of the dump and not yet in its tables is applied first.
	list := server.mustWith(t, access, "GET", "/api/patients/", "", 200, fmt.Sprintf("Carelog-Min-Position: %d", head))
	if got := int64(strings.Count(string(list.body), `"id":`)); got != head-1 {
		t.Errorf("%d patients of %d events", got, head)
	}
	server.mustRefresh(t, refresh)
	server.login(t, "john@example.com", oldPassword)
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
}

// TestAPointInTime goes back to a moment as deploy/backup.md says, by a base backup and
// the WAL that was archived.
func TestAPointInTime(t *testing.T) {
	t.Parallel()
	config, backup := privateConfig(t), dataDir(t)
	wal, base := filepath.Join(backup, "wal"), filepath.Join(backup, "base")
	if err := os.Mkdir(wal, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(wal, 0o777); err != nil { // PostgreSQL may be another user
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), "env", append([]string{postgresPath(t), name}, args...)...)
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, output)
		}
	}
	server := start(t, config)
	runSQL(t, server.program.postgres.URL(), "alter system set archive_mode = on")
	runSQL(t, server.program.postgres.URL(), fmt.Sprintf("alter system set archive_command = 'test ! -f %[1]s/%%f && cp %%p %[1]s/%%f'", wal))
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
	run("pg_basebackup", "--dbname", database, "--pgdata", base, "--checkpoint=fast")
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
	run("cp", "-a", base, data)
	settings, err := os.OpenFile(filepath.Join(data, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(settings, "archive_mode = off\nrestore_command = 'cp %s/%%f \"%%p\"'\nrecovery_target_time = '%s'\nrecovery_target_action = 'promote'\n", wal, moment)
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
