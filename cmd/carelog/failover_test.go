package main

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestAFailoverThatLostCommits: the database goes back to an earlier state under a
// running server, and its connections end. What the server had seen of a user is of
// positions that others' events get: it does not let a disabled user change anything.
func TestAFailoverThatLostCommits(t *testing.T) {
	config := databaseConfig(t)
	server := start(t, config)
	john, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	jane, _ := server.register(t, "Jane Roe", "jane@example.com", oldPassword)
	for range 10 {
		server.mustAs(t, jane, "POST", "/api/patients/", somePatient, 201)
	}
	server.mustAs(t, john, "POST", "/api/patients/", somePatient, 201) // so that he is seen
	goBack(t, config.DatabaseURL, 2)

	expectCarelog(t, config, "", "user 1 is disabled\n", "users", "disable", "1")
	status := func(token string, want int) {
		t.Helper()
		eventually(t, "the server has its connections again", 20*time.Second, func() bool {
			got, err := server.as(token, "POST", "/api/patients/", somePatient)
			if err != nil || got.status != want && got.status != 503 {
				t.Fatalf("%v, %d %s, want %d", err, got.status, got.body, want)
			}
			return got.status == want
		})
	}
	status(john, 401)
	for range 20 { // until others' events have all the positions that were lost
		status(jane, 201)
		status(john, 401)
	}
	if n := query[int](t, config.DatabaseURL, `select count(*) from events where type = 'patient.registered' and tags @> '{owner:1}'`); n != 0 {
		t.Errorf("%d changes of a disabled user are in the log", n)
	}
}

// goBack puts a log of users and patients back to a position, with the read tables,
// as a standby has them that takes over before the last commits have arrived.
func goBack(t *testing.T, url string, position int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{
		`delete from event_tags where position > $1`,
		`delete from events where position > $1`,
		`delete from projections.patients where position > $1`,
		`update projections.checkpoints set position = $1`,
		`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and $1 > 0`,
	} {
		if _, err := conn.Exec(t.Context(), sql, position); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}
