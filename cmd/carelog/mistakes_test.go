package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTheLikeliestMistakes makes each of them, as somebody would who installs
// Carelog, and looks whether what the program says names what mends it.
func TestTheLikeliestMistakes(t *testing.T) {
	t.Parallel()
	database := databaseConfig(t).DatabaseURL
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() })
	with := func(change func(url string) string) string { return "DATABASE_URL=" + change(database) }
	const secret = "CARELOG_JWT_SECRET=" + testSecret
	file := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mistake, test := range map[string]struct {
		args     string // "serve", if nothing else
		settings []string
		dotenv   string
		says     string // a pattern
	}{
		"something listens on the port": {
			settings: []string{"DATABASE_URL=" + database, secret, "CARELOG_ADDR=" + busy.Addr().String()},
			says:     `address already in use.*CARELOG_ADDR`,
		},
		"a database that is not there": {
			settings: []string{with(func(url string) string {
				return regexp.MustCompile(`carelog_test_[0-9a-f-]+`).ReplaceAllString(url, "no_such_database")
			}), secret},
			says: `database "no_such_database" does not exist.*create it, or name another in DATABASE_URL`,
		},
		"a database at no such address": {
			settings: []string{"DATABASE_URL=postgres://carelog@127.0.0.1:1/carelog", secret},
			says:     `waiting for the database, which DATABASE_URL names.*127\.0\.0\.1:1`,
		},
		"a database without a key of tokens": {
			settings: []string{"DATABASE_URL=" + database},
			says:     "CARELOG_JWT_SECRET: not set.*set it to the output of `openssl rand -base64 48`",
		},
		"a key of tokens that is too short": {
			settings: []string{"CARELOG_JWT_SECRET=secret"},
			says:     "CARELOG_JWT_SECRET: 6 bytes, needs at least 32: set it to the output of `openssl rand -base64 48`",
		},
		"a misspelt setting": {
			settings: []string{"CARELOG_ADRR=0.0.0.0:80", "CARELOG_LOG_LEVEL=loud"},
			says:     `CARELOG_ADRR is no setting and was ignored; the nearest is CARELOG_ADDR`,
		},
		"a duration without its unit": {
			settings: []string{"CARELOG_ACCESS_TOKEN_LIFETIME=5"},
			says:     `CARELOG_ACCESS_TOKEN_LIFETIME: .*"5".*5m`,
		},
		"a line of .env that is none": {
			dotenv: "CARELOG_ADDR=127.0.0.1:0\nCARELOG_LOG_LEVEL: debug\n",
			says:   `\.env.*line 2.*NAME=value`,
		},
		"a data directory that cannot be one": {
			settings: []string{"CARELOG_DATA_DIR=" + filepath.Join(file, "data")},
			says:     `not a directory.*CARELOG_DATA_DIR`,
		},
		"a password of the database that is wrong": {
			settings: []string{with(func(url string) string { return strings.Replace(url, "carelog@", "nobody@", 1) }), secret},
			says:     `role "nobody" does not exist.*set DATABASE_URL to the user and password that PostgreSQL knows`,
		},
		"no PostgreSQL": {
			settings: []string{"CARELOG_PG_BIN=" + t.TempDir()},
			says:     `CARELOG_PG_BIN: .*set it to the directory of the programs postgres and initdb`,
		},
		"a NATS server at no such address": {
			settings: []string{"DATABASE_URL=" + database, secret, "NATS_URL=nats://127.0.0.1:1"},
			says:     `the NATS server that NATS_URL names is not reached`,
		},
		"a user who is not there": {
			args: "users grant nobody@example.com auditor", settings: []string{"DATABASE_URL=" + database},
			says: "no user with this id or e-mail address: `carelog users list` shows all",
		},
		"a role that is none": {
			args: "users grant 1 doctor", settings: []string{"DATABASE_URL=" + database},
			says: `auditor.*admin|admin.*auditor`,
		},
		"a command that is none": {
			args: "server", says: "there is no command \"server\".*(serve|--help)",
		},
	} {
		t.Run(mistake, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if test.dotenv != "" {
				if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(test.dotenv), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if test.args == "" {
				test.args = "serve"
			}
			says := regexp.MustCompile("(?s)" + test.says)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, os.Args[0], strings.Fields(test.args)...)
			command.Dir = dir
			command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, asProgram + "=1", "GORACE=atexit_sleep_ms=0",
				"CARELOG_ADDR=127.0.0.1:0", "CARELOG_DATA_DIR=" + filepath.Join(dataDir(t), "carelog")}, test.settings...)
			if test.dotenv != "" {
				command.Env = command.Env[:4] // the environment goes before .env
			}
			output := &logBuffer{}
			command.Stdout, command.Stderr = output, output
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- command.Wait() }()
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("it says\n%s", output)
				}
			})
			eventually(t, "it says what mends it", 10*time.Second, func() bool {
				if says.MatchString(output.String()) {
					return true
				}
				select {
				case err := <-ended:
					ended <- err
					if !says.MatchString(output.String()) {
						t.Fatalf("it ends (%v) without a word of %s:\n%s", err, test.says, output)
					}
				default:
				}
				return false
			})
			if err := command.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			<-ended
			if strings.Contains(output.String(), "goroutine ") {
				t.Errorf("it ends with a stack:\n%s", output)
			}
		})
	}
}

// TestMakeTellsAMistake in .env or in a setting, in place of installing a PostgreSQL that
// is there.
func TestMakeTellsAMistake(t *testing.T) {
	t.Parallel()
	makefile := readFile(t, "../../Makefile")
	found := regexp.MustCompile(`(?m)^POSTGRES := (.*)$`).FindStringSubmatch(makefile)
	if found == nil {
		t.Fatal("the Makefile does not say how PostgreSQL is found")
	}
	line := strings.ReplaceAll(found[1], "$$", "$")
	for what, test := range map[string]struct {
		status int // of bin/carelog find-postgres
		says   string
	}{
		"a mistake":             {exitUsage, "mend it\n"},
		"a directory of no use": {exitError, "mend it\n"},
		"no PostgreSQL":         {exitNotFound, "installed\n"},
		"a PostgreSQL":          {0, ""},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"bin/carelog":                "echo mend it >&2; exit " + strconv.Itoa(test.status),
			"deploy/install-postgres.sh": "echo installed",
		} {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		command := exec.CommandContext(t.Context(), "sh", "-c", line)
		command.Dir = dir
		output, err := command.CombinedOutput()
		if string(output) != test.says || (err == nil) != (test.says != "mend it\n") {
			t.Errorf("%s: %q, %v", what, output, err)
		}
	}
}
