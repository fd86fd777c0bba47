package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
)

// asCommand is carelog as a process of its own, not started yet.
func asCommand(t *testing.T, config Config, args ...string) (command *exec.Cmd, stdout io.ReadCloser, stderr *logBuffer) {
	t.Helper()
	command = exec.CommandContext(t.Context(), os.Args[0], args...)
	command.Dir = t.TempDir()
	command.Env = append(os.Environ(), asProgram+"=1", "CARELOG_DATA_DIR="+config.DataDir, "DATABASE_URL="+config.DatabaseURL, "GORACE=atexit_sleep_ms=0")
	stderr = &logBuffer{}
	command.Stderr = stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	return command, stdout, stderr
}

// TestFollowingTheLog: with writers at work nothing is missed, doubled or out of
// order, and Ctrl-C is a good end.
func TestFollowingTheLog(t *testing.T) {
	for name, config := range map[string]Config{"private": privateConfig(t), "DATABASE_URL": databaseConfig(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, config)
			access, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
			filter := map[string][]string{"private": {"--type", "patient"}, "DATABASE_URL": {"--tag", "owner:1", "--actor", "1"}}[name]
			command, stdout, stderr := asCommand(t, config, append([]string{"events", "--follow", "--json"}, filter...)...)
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			const writers, each = 4, 25
			var writing errgroup.Group
			for range writers {
				writing.Go(func() error {
					for range each {
						if got, err := server.as(access, "POST", "/api/patients/", somePatient); err != nil || got.status != 201 {
							return fmt.Errorf("%d, %w", got.status, err)
						}
						if got, err := server.as(access, "POST", "/api/doctors/", strings.Replace(someDoctor, "sarah", fmt.Sprintf("d%d", histories.Add(1)), 1)); err != nil || got.status != 201 {
							return fmt.Errorf("%d, %w", got.status, err)
						}
					}
					return nil
				})
			}
			lines := bufio.NewScanner(stdout)
			patients, last := map[string]bool{}, int64(0)
			for len(patients) < writers*each && lines.Scan() {
				e := decodeLines[listed](t, lines.Text())[0]
				if e.Position <= last || e.Type != "patient.registered" || patients[e.Subject] {
					t.Errorf("%+v came after position %d", e, last)
				}
				last, patients[e.Subject] = e.Position, true
			}
			if err := writing.Wait(); err != nil {
				t.Error(err)
			}
			if err := command.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(stdout)
			if err := command.Wait(); err != nil || len(rest) > 0 || len(patients) != writers*each || stderr.String() != "" {
				t.Errorf("%v; %d patients came, then %q; %s", err, len(patients), rest, stderr)
			}
		})
	}
}

// TestAReaderClosesThePipe: the command ends quietly, with its own PostgreSQL
// stopped in good order.
func TestAReaderClosesThePipe(t *testing.T) {
	config := privateConfig(t)
	server := start(t, config)
	fillLog(t, server.program.postgres.URL(), 3_000) // more than a pipe holds
	server.stop()
	for _, args := range [][]string{{"events"}, {"events", "--json"}, {"events", "--json", "--follow"}, {"history", "patient", "1"}} {
		command, stdout, stderr := asCommand(t, config, args...)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReaderSize(stdout, 16).ReadString('\n'); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		stdout.Close()
		if err := command.Wait(); err != nil || stderr.String() != "" {
			t.Errorf("%v: %v, %s", args, err, stderr)
		}
		if _, err := os.Stat(filepath.Join(config.DataDir, "postgres", "data", "postmaster.pid")); !os.IsNotExist(err) {
			t.Errorf("%v: PostgreSQL was not stopped: %v", args, err)
		}
	}
}

// TestFollowingADatabaseThatStops: the command tells where to go on.
func TestFollowingADatabaseThatStops(t *testing.T) {
	url, stop := startPostgres(t, filepath.Join(dataDir(t), "postgres"))
	config := testConfig(t, map[string]string{"DATABASE_URL": url, "CARELOG_JWT_SECRET": testSecret})
	server := start(t, config)
	server.register(t, "John Doe", "john@example.com", oldPassword)
	server.stop()
	command, stdout, stderr := asCommand(t, config, "events", "--follow", "--json")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || decodeLines[listed](t, line)[0].Position != 1 {
		t.Errorf("%v, %s", err, line)
	}
	stop()
	_ = command.Wait() // its status tells
	if command.ProcessState.ExitCode() != exitError || !strings.HasSuffix(stderr.String(), "; go on with --since 2\n") {
		t.Errorf("status %d: %s", command.ProcessState.ExitCode(), stderr)
	}
}
