package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/eventstore/pgtest"
)

var someTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z`)

// readBlock takes a block of code out of a page, which has its name in a comment
// before it.
func readBlock(t *testing.T, page, name string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)<!-- " + name + ":[^>]*-->\n```[a-z]+\n(.*?)```").FindStringSubmatch(readFile(t, filepath.Join("../..", page)))
	if found == nil {
		t.Fatalf("%s has no block %q", page, name)
	}
	return found[1]
}

// readScript takes a script out of the README: the commands, and what they
// answer.
func readScript(t *testing.T, name string) (script, answers string) {
	t.Helper()
	script = readBlock(t, "README.md", name)
	for line := range strings.Lines(script) {
		if answer, ok := strings.CutPrefix(line, "# "); ok {
			answers += strings.TrimSuffix(answer, "\n")
		}
	}
	return script, answers
}

// TestTourOfTheREADME runs the tour as it stands and looks at what it left: the
// events that happened and nothing else, on the NATS stream too, and no personal
// data where none belongs.
func TestTourOfTheREADME(t *testing.T) {
	database := pgtest.New(t)
	server := start(t, testConfig(t, map[string]string{"DATABASE_URL": database, "CARELOG_JWT_SECRET": testSecret}), waitsForBus)
	script, want := readScript(t, "tour")
	shell := exec.Command("sh", "-eu", "-c", script)
	shell.Env = append(os.Environ(), "BASE="+server.url)
	var stderr strings.Builder
	shell.Stderr = &stderr
	output, err := shell.Output()
	if err != nil {
		t.Fatalf("the tour fails: %v: %s", err, stderr.String())
	}
	if got, want := withoutChance(string(output)), withoutChance(want); got != want {
		t.Errorf("the tour answers\n%s\nand the README promises\n%s", got, want)
	}

	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), `select format('%s %s %s', position, type, tags::text) from events order by position`)
	if err != nil {
		t.Fatal(err)
	}
	log, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	hash := regexp.MustCompile(`email:[\w-]{43}`)
	for i := range log {
		log[i] = hash.ReplaceAllString(log[i], "email:<hash>")
	}
	happened := []string{
		"1 user.registered {user:1,user-email:<hash>}",
		"2 patient.registered {patient:1,owner:1}",
		"3 doctor.registered {doctor:1,doctor-email:<hash>}",
		"4 mapping.created {mapping:1,patient:1,doctor:1,pair:1:1,owner:1}",
		"5 patient.amended {patient:1,owner:1}",
		"6 doctor.removed {doctor:1,doctor-email:<hash>}",
		"7 mapping.removed {mapping:1,patient:1,doctor:1,pair:1:1,owner:1}",
	}
	if !slices.Equal(log, happened) {
		t.Errorf("the log holds\n%s", strings.Join(log, "\n"))
	}
	ready := string(server.send(t, "GET", "/readyz", nil, nil).body)
	if !strings.Contains(ready, `"applied":{"from_bus":7,"from_log":0}`) {
		t.Errorf("not every event came over the bus: %s", ready)
	}
	checkStream(t, server, happened)
	checkNoPersonalData(t, "the program's log", server.log.String())
}

// TestScriptsOfTheREADME runs the scripts that follow the tour, after it, one after
// the other in the same shell, as a reader does.
func TestScriptsOfTheREADME(t *testing.T) {
	server := start(t, databaseConfig(t))
	tour, _ := readScript(t, "tour")
	script, want := "{ "+tour+"} >/dev/null\n", ""
	for _, name := range []string{"events", "retries", "history"} {
		next, answers := readScript(t, name)
		script, want = script+next, want+answers
	}
	shell := exec.Command("sh", "-eu", "-c", script)
	shell.Env = append(os.Environ(), "BASE="+server.url)
	var stderr strings.Builder
	shell.Stderr = &stderr
	output, err := shell.Output()
	if err != nil {
		t.Fatalf("the scripts fail: %v: %s", err, stderr.String())
	}
	if got, want := withoutChance(string(output)), withoutChance(want); got != want {
		t.Errorf("the scripts answer\n%s\nand the README promises\n%s", got, want)
	}
}

var someHash = regexp.MustCompile(`email:[\w-]{43}`)

var someUUID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// withoutChance leaves out what is another in every run.
func withoutChance(answers string) string {
	answers = someHash.ReplaceAllString(answers, "email:<hash>")
	answers = someTime.ReplaceAllString(strings.ReplaceAll(answers, "\n", ""), "<time>")
	return someUUID.ReplaceAllString(answers, "<id>")
}

var personal = []string{"John", "Doe", "Alice", "Smith", "Johnson", "Sarah", "Cardiology", "example.com", "hospital.com", "securepassword", "1234567890", "eyJ"}

func checkNoPersonalData(t *testing.T, where, text string) {
	t.Helper()
	for _, datum := range personal {
		if strings.Contains(text, datum) {
			t.Errorf("%s holds %q", where, datum)
		}
	}
}

// checkStream: the same events are on the NATS stream, one message each, and
// neither subjects nor headers tell about people.
func checkStream(t *testing.T, server *running, happened []string) {
	t.Helper()
	stream := carelogStream(t, server)
	if n := stream.CachedInfo().State.Msgs; n != uint64(len(happened)) {
		t.Errorf("%d messages are on the NATS stream", n)
	}
	for i, event := range happened {
		message, err := stream.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		position, rest, _ := strings.Cut(event, " ")
		eventType, _, _ := strings.Cut(rest, " ")
		if message.Subject != "carelog.events."+eventType || message.Header.Get("Carelog-Position") != position {
			t.Errorf("message %d is %s with %v", i+1, message.Subject, message.Header)
		}
		checkNoPersonalData(t, "a message's subject or header", message.Subject+fmt.Sprint(message.Header))
	}
}

// owner connects to the server's own NATS server, with the rights of Carelog itself.
func (r *running) owner(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(r.program.nats.URL(), nats.InProcessServer(r.program.nats))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

// carelogStream is the NATS stream of a server with a NATS server of its own.
func carelogStream(t *testing.T, server *running) jetstream.Stream {
	t.Helper()
	_, js := server.owner(t)
	stream, err := js.Stream(t.Context(), "CARELOG")
	if err != nil {
		t.Fatal(err)
	}
	return stream
}
