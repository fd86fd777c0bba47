package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestNodeFollows has three programs of another language, with libraries that know
// nothing of Carelog, follow the tour and a restart of the server: over NATS, and over
// HTTP with a token and with a ticket. Each prints what is in the log, once.
func TestNodeFollows(t *testing.T) {
	t.Parallel()
	dir := npmPackages(t, "testdata/node")
	config := databaseConfig(t)
	config.Addr = freeAddress(t)
	natsURL, passwords := listen(t, &config, "billing", "claims")
	server := start(t, config)
	(&subscribed{url: natsURL, passwords: passwords}).awaitStream(t, "billing")
	auditor, _ := server.register(t, "Jane Roe", "jane@example.com", oldPassword)
	expectCarelog(t, config, "", "user 1 has role auditor\n", "users", "grant", "1", "auditor")

	overNATS := func(name string, subjects ...string) *nodeProgram {
		t.Helper()
		return startNode(t, dir, "CARELOG_PASSWORD="+passwords[name], append([]string{"nats.mjs", natsURL, name}, subjects...)...)
	}
	billing := overNATS("billing")
	all := []*nodeProgram{billing}
	for _, way := range []string{"header", "ticket"} {
		all = append(all, startNode(t, dir, "CARELOG_TOKEN="+auditor, "events.mjs", server.url, way))
	}
	tour, _ := readScript(t, "tour")
	shell := exec.Command("sh", "-eu", "-c", tour)
	shell.Env = append(os.Environ(), "BASE="+server.url)
	if output, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("the tour fails: %v: %s", err, output)
	}
	for _, p := range all {
		p.prints(t, logLines(t, config, 1, 9))
	}
	claims := overNATS("claims", "carelog.events.doctor.>", "carelog.events.mapping.>")
	claims.prints(t, filtered(logLines(t, config, 1, 9), "doctor", "mapping"))
	claims.stop()

	server.stop()
	server = start(t, config)
	john, _ := server.login(t, "john@example.com", "securepassword123")
	server.mustAs(t, john, "POST", "/api/patients/", somePatient, 201)
	server.mustAs(t, john, "DELETE", "/api/patients/2/", "", 204)
	for _, p := range all {
		p.prints(t, logLines(t, config, 1, 11))
	}

	claims = overNATS("claims") // its consumer is there, with other settings
	eventually(t, "what is new has come without a filter", 20*time.Second, func() bool {
		return strings.HasSuffix(claims.stdout.String(), logLines(t, config, 10, 11))
	})

	_, js := (&subscribed{url: natsURL, passwords: passwords}).as(t, "billing")
	eventually(t, "the acknowledgements have arrived", 10*time.Second, func() bool {
		consumer, err := js.Consumer(t.Context(), "CARELOG", "billing")
		return err == nil && consumer.CachedInfo().AckFloor.Stream == 11
	})
	billing.stop()
	for range 400 {
		server.mustAs(t, john, "POST", "/api/patients/", somePatient, 201)
	}
	killed := overNATS("billing")
	eventually(t, "it is in the middle of it", 20*time.Second, func() bool { return strings.Count(killed.stdout.String(), "\n") >= 10 })
	killed.stop()
	last := 11
	for line := range strings.Lines(killed.stdout.String()) {
		last = goesOn(t, line, last)
	}
	again := overNATS("billing")
	eventually(t, "all has come", 40*time.Second, func() bool {
		position := last
		for line := range strings.Lines(again.stdout.String()) {
			position = goesOn(t, line, position)
		}
		return position == 411
	})
	if last == 411 {
		t.Errorf("it was killed when all had come")
	}
}

// logLines is what a client prints of these positions, by the log itself.
func logLines(t *testing.T, config Config, first, last int) (lines string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), config.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	err = conn.QueryRow(t.Context(), `select string_agg(format(E'%s carelog.%s.v%s %s\n', position, type, schema_version, replace(tags[1], ':', '/')), '' order by position)
		from events where position >= $1`, first).Scan(&lines)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(lines, "\n") != last-first+1 {
		t.Fatalf("the log holds other than positions %d to %d:\n%s", first, last, lines)
	}
	return lines
}

// filtered are the lines about these kinds of records.
func filtered(lines string, kinds ...string) (some string) {
	for line := range strings.Lines(lines) {
		if slices.ContainsFunc(kinds, func(kind string) bool { return strings.Contains(line, " carelog."+kind+".") }) {
			some += line
		}
	}
	return some
}

// nodeProgram is a program that Node runs.
type nodeProgram struct {
	stdout, stderr logBuffer
	stop           func() // kills it
	ended          chan struct{}
}

// startNode runs it for two minutes at most.
func startNode(t *testing.T, dir, variable string, args ...string) *nodeProgram {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	p := &nodeProgram{ended: make(chan struct{})}
	command := exec.CommandContext(ctx, "node", args...)
	command.Dir, command.Env = dir, append(os.Environ(), variable)
	command.Stdout, command.Stderr = &p.stdout, &p.stderr
	if err := command.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = command.Wait() // it only ends when it fails, which prints tells, or is killed
	}()
	p.stop = func() {
		cancel()
		<-p.ended
	}
	t.Cleanup(p.stop)
	return p
}

// prints waits until it has printed these lines, and no others.
func (p *nodeProgram) prints(t *testing.T, want string) {
	t.Helper()
	eventually(t, "a Node program prints what is in the log", 40*time.Second, func() bool {
		ended := false
		select {
		case <-p.ended:
			ended = true
		default:
		}
		got := p.stdout.String()
		if got != want && (ended || !strings.HasPrefix(want, got)) {
			t.Fatalf("it prints\n%sand the log holds\n%s%s", got, want, &p.stderr)
		}
		return got == want
	})
}

// npmPackages copies a directory with a package.json and installs what that asks for.
// Where Node or the npm registry is not there the test is skipped; whatever else goes
// wrong fails it.
func npmPackages(t *testing.T, from string) (dir string) {
	t.Helper()
	skip := func(missing string) {
		t.Helper()
		t.Skipf("%s, so %s was not tried. Once it is there: bin/carelog with-postgres -- go test -run %s ./cmd/carelog", missing, from, t.Name())
	}
	version, err := exec.Command("node", "--version").Output()
	if errors.Is(err, exec.ErrNotFound) {
		skip("Node (20 or newer, https://nodejs.org) is not installed")
	}
	if err != nil {
		t.Fatalf("node --version: %v", err)
	}
	var major int
	if _, err := fmt.Sscanf(string(version), "v%d.", &major); err != nil {
		t.Fatalf("node --version: %q", version)
	}
	if major < 20 {
		skip(fmt.Sprintf("Node (20 or newer, https://nodejs.org) is not installed, only %d", major))
	}
	if _, err := exec.LookPath("npm"); err != nil {
		skip("npm, which comes with Node (https://nodejs.org), is not installed")
	}
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")
	npm.Dir, npm.WaitDelay = dir, time.Second
	output, err := npm.CombinedOutput()
	code := npmCode.FindSubmatch(output)
	switch {
	case err == nil:
		return dir
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		skip("the npm registry has not sent the packages within 90 seconds")
	case code != nil && unreachable[string(code[1])]:
		skip(fmt.Sprintf("the npm registry cannot be reached (%s), and npm has not all packages in its cache", code[1]))
	}
	t.Fatalf("npm ci: %v: %s", err, output)
	return ""
}

// npmCode is how npm tells what went wrong.
var npmCode = regexp.MustCompile(`(?m)^npm (?:error|ERR!) code (\S+)$`)

// unreachable are npm's codes for a network that does not lead to the registry.
var unreachable = map[string]bool{
	"EAI_AGAIN": true, "ENOTFOUND": true, "ECONNREFUSED": true, "ECONNRESET": true, "EHOSTUNREACH": true, "ENETUNREACH": true,
	"ETIMEDOUT": true, "ERR_SOCKET_TIMEOUT": true, "E502": true, "E503": true, "E504": true,
}
