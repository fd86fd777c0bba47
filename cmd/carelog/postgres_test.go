package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// dataDir is a temporary directory that PostgreSQL's user can reach when the
// tests run as root: those of testing are closed to others.
func dataDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hasProc: what a killed server left can be found, and is ended at once.
func hasProc() bool {
	_, err := os.Stat("/proc/self/cwd")
	return err == nil
}

func testPostgres(dir string) *postgres {
	return newPostgres(postgresOptions{Dir: dir, StopTimeout: 20 * time.Second, Logger: slog.New(slog.DiscardHandler)})
}

func query[T any](t *testing.T, url, sql string) (result T) {
	t.Helper()
	if err := tryQuery(t.Context(), url, sql, &result); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return result
}

func tryQuery(ctx context.Context, url, sql string, result any) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.QueryRow(ctx, sql).Scan(result)
}

func runSQL(t testing.TB, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func postmasterPID(t *testing.T, p *postgres) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(p.home.data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestPostgres goes through the life of a data directory: made, used, used by
// two, stopped, started again, its server killed, and left behind by a killed
// Carelog.
func TestPostgres(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dataDir(t), "data", "postgres")
	server := testPostgres(dir)
	stop := startPart(t, server.Run, server.Running())
	const add = "with added as (insert into kept values (default) returning n) select n from added"
	runSQL(t, server.URL(), "create table kept (n serial constraint kept_pkey primary key)")
	query[int](t, server.URL(), add)
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "listen_addresses": "", "server_encoding": "UTF8", "data_checksums": "on",
	} {
		if got := query[string](t, server.URL(), "show "+setting); got != want {
			t.Errorf("%s is %q", setting, got)
		}
	}

	err := testPostgres(dir).Run(t.Context())
	if want := fmt.Sprintf("in use by another carelog (process %d)", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a second one on the same directory: %v", err)
	}

	pid := postmasterPID(t, server)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("process %d is left: %v", pid, err)
	}

	server = testPostgres(dir)
	stop = startPart(t, server.Run, server.Running())
	if n := query[int](t, server.URL(), add); n != 2 {
		t.Errorf("after a restart the next number is %d", n)
	}

	killed := postmasterPID(t, server)
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var rows int
	eventually(t, "another server runs after a kill -9", time.Minute, func() bool {
		var pid int
		// the old one's sessions may answer for a moment
		return tryQuery(t.Context(), server.URL(), "select (pg_stat_file('postmaster.pid') is not null)::int", &pid) == nil &&
			postmasterPID(t, server) != killed && tryQuery(t.Context(), server.URL(), "select count(*) from kept", &rows) == nil
	})
	if rows != 2 {
		t.Errorf("%d rows after a kill -9", rows)
	}

	// What people enter is not in the log, neither as a statement nor as a detail.
	if err := tryQuery(t.Context(), server.URL(), "with x as (insert into kept values (4711), (4711) returning n) select n from x", &rows); err == nil {
		t.Error("a number is there twice")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
	if err != nil || !strings.Contains(string(log), "kept_pkey") || strings.Contains(string(log), "4711") {
		t.Errorf("%v; log of PostgreSQL:\n%s", err, log)
	}

	left, ended := leaveBehind(t, server)
	server = testPostgres(dir)
	stop = startPart(t, server.Run, server.Running())
	<-ended
	if pid := postmasterPID(t, server); pid == left {
		t.Error("the server that was left behind still runs")
	}
	if n := query[int](t, server.URL(), add); n < 3 {
		t.Errorf("the next number is %d", n)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}

	// One whose server was killed with it, but not the sessions.
	left, ended = leaveBehind(t, server)
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	busy := conn.PgConn().Exec(t.Context(), "select count(*) from generate_series(1, 3000000)")
	if err := syscall.Kill(left, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-ended
	server = testPostgres(dir)
	stop = startPart(t, server.Run, server.Running())
	busy.Close()
	if log, err := os.ReadFile(filepath.Join(dir, "postgres.log")); err != nil || !hasProc() && !strings.Contains(string(log), sessionsLeft) {
		t.Errorf("the session ended before it was in the way: %v", err)
	}
	if n := query[int](t, server.URL(), add); n < 4 {
		t.Errorf("the next number is %d", n)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// leaveBehind starts a stopped server as if by a Carelog that was killed. The
// channel is closed when it has ended.
func leaveBehind(t *testing.T, p *postgres) (pid int, ended <-chan struct{}) {
	t.Helper()
	home, err := openPostgresHome(t.Context(), p.options.Dir, "", false)
	if err != nil {
		t.Fatal(err)
	}
	p.home = home
	log, err := p.openLog()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	runtime.LockOSThread() // until the test ends: the server must not end with the thread
	cmd := p.command(log)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(waited)
	}()
	eventually(t, "the server takes connections", time.Minute, func() bool { return p.connect(t.Context()) == nil })
	home.close() // the lock goes with its process
	return cmd.Process.Pid, waited
}

// TestPostgresWithAStalePID has a postmaster.pid of a crash whose number is
// another program's by now, one of the same user.
func TestPostgresWithAStalePID(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dataDir(t), "postgres")
	home, err := openPostgresHome(t.Context(), dir, "", true)
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "1000")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	other.SysProcAttr = home.account.procAttr()
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	content := fmt.Sprintf("%d\n%s\n1790000000\n5432\n%s\n\n        1         0\n", other.Process.Pid, home.data, home.socket)
	path := filepath.Join(home.data, "postmaster.pid")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if home.account != nil {
		if err := os.Chown(path, int(home.account.uid), int(home.account.gid)); err != nil {
			t.Fatal(err)
		}
	}
	home.close()
	server := testPostgres(dir)
	stop := startPart(t, server.Run, server.Running())
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Errorf("the other program was ended: %v", err)
	}
	other.Wait()
}

// TestPostgresBelowAClosedDirectory begins where only this user may go, as
// below /root.
func TestPostgresBelowAClosedDirectory(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "data", "postgres")
	if os.Geteuid() == 0 {
		t.Cleanup(func() {
			target, err := os.Readlink(dir)
			if err != nil || !strings.HasPrefix(target, rootPlace) {
				t.Errorf("%s, %v", target, err)
				return
			}
			os.RemoveAll(target)
		})
	}
	for round := range 2 {
		server := newPostgres(postgresOptions{Dir: dir, StopTimeout: 20 * time.Second, Throwaway: true, Logger: slog.New(slog.DiscardHandler)})
		stop := startPart(t, server.Run, server.Running())
		databases := query[int](t, server.URL(), "select count(*) from pg_database where datname = 'second'")
		if databases != round {
			t.Errorf("round %d begins with another round's data", round)
		}
		if round == 0 {
			runSQL(t, server.URL(), "create database second")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestPostgresWithALongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dataDir(t), strings.Repeat("long, ", 20), "postgres")
	server := newPostgres(postgresOptions{Dir: dir, StopTimeout: 20 * time.Second, Throwaway: true, Logger: slog.New(slog.DiscardHandler)})
	stop := startPart(t, server.Run, server.Running())
	if n := query[int](t, server.URL(), "select 1"); n != 1 {
		t.Error(n)
	}
	socket := server.home.socket
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", socket, err)
	}
}

func TestPostgresThatCannotStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dataDir(t), "postgres")
	home, err := openPostgresHome(t.Context(), dir, "", true)
	if err != nil {
		t.Fatal(err)
	}
	home.close()
	config, err := os.OpenFile(filepath.Join(home.data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(config, "no_such_setting = on")
	config.Close()
	if err := testPostgres(dir).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got %v", err)
	}

	version := filepath.Join(home.data, "PG_VERSION")
	if err := os.WriteFile(version, []byte("8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = testPostgres(dir).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "made by PostgreSQL 8") || !strings.Contains(err.Error(), "install version 8") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(home.data, "base")); err != nil {
		t.Errorf("data were removed: %v", err)
	}

	if err := os.Remove(version); err != nil {
		t.Fatal(err)
	}
	if err := testPostgres(dir).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "put the new data into place") {
		t.Errorf("without PG_VERSION: %v", err)
	}

	link := filepath.Join(dataDir(t), "postgres")
	if err := os.Symlink("/gone", link); err != nil {
		t.Fatal(err)
	}
	if err := testPostgres(link).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "/gone, which is gone") {
		t.Errorf("a dangling link: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := testPostgres(filepath.Join(dataDir(t), "postgres")).Run(ended); err != nil {
		t.Errorf("told to stop before it began: %v", err)
	}
}
