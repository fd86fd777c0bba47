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
		server.mustAs(t, john, "POST", "/api/patients/", somePatient, 201)
	}
	goBack(t, config.DatabaseURL, 2)

	expectCarelog(t, config, "", "user 1 is disabled\n", "users", "disable", "1")
	server.expectAnswer(t, john, "POST", "/api/patients/", 401, inactive)
	eventually(t, "another writes", 20*time.Second, func() bool {
		got, err := server.as(jane, "POST", "/api/patients/", somePatient)
		return err == nil && got.status == 201
	})
	for range 20 { // until events have all the positions that were lost
		server.mustAs(t, jane, "POST", "/api/patients/", somePatient, 201)
		server.expectAnswer(t, john, "POST", "/api/patients/", 401, inactive)
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
