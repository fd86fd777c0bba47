package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// startOn runs the program on a database of the tests' server, until the test
// ends or it is stopped.
func startOn(t *testing.T, database string) *running {
	t.Helper()
	return start(t, testConfig(t, map[string]string{"DATABASE_URL": database, "CARELOG_JWT_SECRET": testSecret}))
}

// with sends JSON with a token and these header lines.
func (r *running) with(token, method, path, body string, lines ...string) (reply, error) {
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token}}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		header.Set(name, value)
	}
	return r.try(method, path, header, strings.NewReader(body))
}

func (r *running) mustWith(t testing.TB, token, method, path, body string, status int, lines ...string) reply {
	t.Helper()
	got, err := r.with(token, method, path, body, lines...)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != status {
		t.Fatalf("%s %s: %d %s", method, path, got.status, got.body)
	}
	return got
}

// countEvents is how many events the log holds, of one type or of all ("").
func countEvents(t *testing.T, database, eventType string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), `select count(*) from events where $1 in (type, '')`, eventType).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func idOf(t *testing.T, r reply) (id int64) {
	t.Helper()
	if err := json.Unmarshal(r.body, &struct{ ID *int64 }{&id}); err != nil || id == 0 {
		t.Fatalf("%s has no id: %v", r.body, err)
	}
	return id
}

// summary is all of an answer that a retry must get again.
func summary(r reply) string {
	return fmt.Sprintf("%d %s, position %s, ETag %s", r.status, r.body, r.header.Get("Carelog-Position"), r.header.Get("Etag"))
}

// TestOneKeySixteenClients sends every kind of change sixteen times at once
// under one key: it happens once, and everybody gets the same answer, also
// those who ask much later.
func TestOneKeySixteenClients(t *testing.T) {
	database := pgtest.New(t)
	server := startOn(t, database)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	const doctorBody = `{"first_name":"Sarah","last_name":"Johnson","specialization":"Cardiology","email":"%s@hospital.com","phone":"1"}`
	patient := idOf(t, server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201))
	doctor := idOf(t, server.mustAs(t, access, "POST", "/api/doctors/", fmt.Sprintf(doctorBody, "a"), 201))
	other := idOf(t, server.mustAs(t, access, "POST", "/api/doctors/", fmt.Sprintf(doctorBody, "b"), 201))
	mapping := idOf(t, server.mustAs(t, access, "POST", "/api/patients/mappings/", fmt.Sprintf(`{"patient":%d,"doctor":%d}`, patient, other), 201))

	type change struct {
		method, path, body, another string
		status, events              int
	}
	changes := []change{
		{"POST", "/api/patients/", somePatient, strings.Replace(somePatient, "30", "31", 1), 201, 1},
		{"POST", "/api/doctors/", fmt.Sprintf(doctorBody, "c"), fmt.Sprintf(doctorBody, "d"), 201, 1},
		{"POST", "/api/patients/mappings/", fmt.Sprintf(`{"patient":%d,"doctor":%d}`, patient, doctor), fmt.Sprintf(`{"patient":%d,"doctor":%d}`, patient, other), 201, 1},
		{"PATCH", fmt.Sprintf("/api/patients/%d/", patient), `{"age":31}`, `{"age":32}`, 200, 1},
		{"PUT", fmt.Sprintf("/api/doctors/%d/", doctor), fmt.Sprintf(doctorBody, "e"), fmt.Sprintf(doctorBody, "a"), 200, 1},
		{"DELETE", fmt.Sprintf("/api/patients/mappings/delete/%d/", mapping), "", "", 204, 1},
		{"DELETE", fmt.Sprintf("/api/patients/%d/", patient), "", "", 204, 2}, // it ends a mapping
		{"DELETE", fmt.Sprintf("/api/doctors/%d/", doctor), "", "", 204, 1},
	}
	first := make([]string, len(changes))
	for i, c := range changes {
		before := countEvents(t, database, "")
		answers := make([]reply, 16)
		var clients errgroup.Group
		for n := range answers {
			clients.Go(func() (err error) {
				path := c.path
				if n%2 == 1 {
					path = strings.TrimSuffix(path, "/")
				}
				answers[n], err = server.with(access, c.method, path, c.body, "Idempotency-Key: the key")
				return err
			})
		}
		if err := clients.Wait(); err != nil {
			t.Fatal(err)
		}
		first[i] = summary(answers[0])
		for _, got := range answers {
			if summary(got) != first[i] || got.status != c.status {
				t.Errorf("%s %s: %s\n  another client: %s", c.method, c.path, summary(got), first[i])
			}
		}
		if n := countEvents(t, database, "") - before; n != c.events {
			t.Errorf("%s %s: %d events", c.method, c.path, n)
		}
	}

	// Whatever happened since, and whichever process answers.
	server.stop()
	server = startOn(t, database)
	before := countEvents(t, database, "")
	for i, c := range changes {
		if got := server.mustWith(t, access, c.method, c.path, c.body, c.status, "Idempotency-Key: the key"); summary(got) != first[i] {
			t.Errorf("%s %s, later: %s\n  first: %s", c.method, c.path, summary(got), first[i])
		}
		if c.another != "" {
			server.mustWith(t, access, c.method, c.path, c.another, 422, "Idempotency-Key: the key")
		}
	}
	stranger, _ := server.register(t, "Jane Roe", "jane@example.com", "securepassword123")
	got := server.mustWith(t, stranger, "POST", "/api/patients/", somePatient, 201, "Idempotency-Key: the key")
	if summary(got) == first[0] {
		t.Error("a key counts for another user")
	}
	if n := countEvents(t, database, "") - before; n != 2 {
		t.Errorf("%d events, want a user and a patient", n)
	}
}

// TestRepliesLost loses the reply to a change in two ways, and sends it again
// under the same key: it has happened once.
func TestRepliesLost(t *testing.T) {
	database := pgtest.New(t)
	server := startOn(t, database)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	address := strings.TrimPrefix(server.url, "http://")
	deaf := startDeafProxy(t, address)
	const rounds = 12
	ids := map[int64]bool{}
	for round := range rounds {
		key := fmt.Sprintf("Idempotency-Key: round %d", round)
		if round%2 == 0 { // the request is carried out, and the reply gets lost
			awaitHangUp(t, sendPatient(t, deaf, access, key))
		} else { // the client hangs up at once: carried out or not
			_ = sendPatient(t, address, access, key).Close()
		}
		first := server.mustWith(t, access, "POST", "/api/patients/", somePatient, 201, key)
		again := server.mustWith(t, access, "POST", "/api/patients/", somePatient, 201, key)
		if summary(first) != summary(again) {
			t.Errorf("round %d: %s, then %s", round, summary(first), summary(again))
		}
		ids[idOf(t, first)] = true
	}
	if n := countEvents(t, database, "patient.registered"); n != rounds || len(ids) != rounds {
		t.Errorf("%d events and %d ids after %d requests", n, len(ids), rounds)
	}
	// Without a key the same happens twice.
	awaitHangUp(t, sendPatient(t, deaf, access, ""))
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	if n := countEvents(t, database, "patient.registered"); n != rounds+2 {
		t.Errorf("%d events after %d requests and one without a key and its retry", n, rounds)
	}
}

// sendPatient sends a request for a new patient, with another header line, and
// does not read the reply.
func sendPatient(t *testing.T, address, token, line string) net.Conn {
	t.Helper()
	request, err := http.NewRequest("POST", "http://"+address+"/api/patients/", strings.NewReader(somePatient))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	if name, value, given := strings.Cut(line, ": "); given {
		request.Header.Set(name, value)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.Write(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// awaitHangUp waits for the other side to hang up without a reply.
func awaitHangUp(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	if reply, _ := io.ReadAll(conn); len(reply) > 0 {
		t.Fatalf("a reply got through: %s", reply)
	}
}

// startDeafProxy hands on what clients send to the address, waits for the reply
// and hangs up instead of handing that on.
func startDeafProxy(t *testing.T, address string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer client.Close()
				server, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer server.Close()
				running.Go(func() { _, _ = io.Copy(server, client) })
				_, _ = server.Read(make([]byte, 1))
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}
