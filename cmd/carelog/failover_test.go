package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events/client"
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

// TestAFailoverThatIsSeenLate: the log has grown past all that the server had seen before it
// reaches the database again, as another server has written meanwhile, which has disabled
// the user.
func TestAFailoverThatIsSeenLate(t *testing.T) {
	t.Parallel()
	config := databaseConfig(t)
	server := start(t, config)
	john, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	jane, _ := server.register(t, "Jane Roe", "jane@example.com", oldPassword)
	for range 5 {
		server.mustAs(t, jane, "POST", "/api/patients/", somePatient, 201)
	}
	server.mustAs(t, john, "POST", "/api/patients/", somePatient, 201) // is seen at position 7
	conn, err := pgx.Connect(t.Context(), config.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	const event = `insert into events (position, id, type, schema_version, tags, data, metadata, salt, recorded_at)
		select $1, gen_random_uuid(), $2, 1, $3::text[], $4::json, metadata, salt, now() from events where position = 1`
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		sql  string
		args []any
	}{
		{`delete from event_tags where position > 2`, nil},
		{`delete from events where position > 2`, nil},
		{`delete from projections.patients`, nil},
		{event, []any{3, "user.disabled", "{user:1}", `{"user_id":1}`}},
		{event, []any{4, "doctor.removed", "{doctor:7}", `{"doctor_id":7}`}},
		{`insert into events select (jsonb_populate_record(e, jsonb_build_object('position', n, 'id', gen_random_uuid()))).* from events e, generate_series(5, 20) n where e.position = 4`, nil},
		{`insert into event_tags (tag, type, position) select unnest(tags), type, position from events where position > 2`, nil},
		{`update projections.users set active = id <> 1`, nil},
		{`update projections.checkpoints set position = 20`, nil},
	} {
		if _, err := tx.Exec(t.Context(), s.sql, s.args...); err != nil {
			t.Fatalf("%s: %v", s.sql, err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	endOtherSessions(t, conn)
	refused := 0
	eventually(t, "all connections are new, and the user is refused", 20*time.Second, func() bool {
		got, err := server.as(john, "POST", "/api/patients/", somePatient)
		if err != nil || got.status != 401 && got.status != 503 {
			t.Fatalf("%v, %d %s", err, got.status, got.body)
		}
		if refused++; got.status == 503 {
			refused = 0
		}
		return refused == 10
	})
	if n := query[int](t, config.DatabaseURL, `select count(*) from events where type = 'patient.registered'`); n != 0 {
		t.Errorf("%d changes of a disabled user are in the log", n)
	}
}

// TestFollowersOfALogThatWentBack: it has grown past where they were before they ask again,
// and each of them is told; none goes on as if nothing had happened.
func TestFollowersOfALogThatWentBack(t *testing.T) {
	t.Parallel()
	s := startSubscribed(t, "billing")
	john, _ := s.register(t, "John Doe", "john@example.com", oldPassword)
	expectCarelog(t, s.config, "", "user 1 has role auditor\n", "users", "grant", "1", "auditor")
	for range 10 {
		s.mustAs(t, john, "POST", "/api/patients/", somePatient, 201)
	}
	connection, js := s.as(t, "billing")
	durable, err := js.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "billing"})
	if err != nil {
		t.Fatal(err)
	}
	mustBeFrom(t, positions(t, durable, 12), 1)
	stream, err := follow(t.Context(), s.running, john, "?after=11", "")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.body.Close()
	_, _, last, err := stream.next()
	if err != nil {
		t.Fatal(err)
	}
	lost := parseWired(t, last) // the event at position 12

	followed, handled := make(chan error, 2), make(chan client.Event, 100)
	for _, conn := range []*nats.Conn{nil, connection} {
		config := client.Config{URL: s.running.url, Token: func(context.Context) (string, error) { return john, nil }, NATS: conn, Domain: "carelog", Poll: 200 * time.Millisecond}
		go func() {
			followed <- client.Follow(t.Context(), config, client.Checkpoint{}, func(_ context.Context, e client.Event) error {
				handled <- e
				return nil
			})
		}()
	}
	for range 2 * 12 {
		<-handled
	}

	goBack(t, s.config.DatabaseURL, 6)
	if _, event, data, err := stream.next(); err != nil || event != "end" || !strings.Contains(data, `"reason":"went_back"`) {
		t.Errorf("a stream: %s %s %v", event, data, err)
	}
	for range 10 {
		eventually(t, "a patient is registered", 20*time.Second, func() bool {
			got, err := s.running.as(john, "POST", "/api/patients/", somePatient)
			return err == nil && got.status == 201
		})
	}
	s.mustAs(t, john, "GET", "/api/events/?after=12&after_id="+lost.ID, "", 409)
	for range 2 {
		var back *client.WentBackError
		if err := <-followed; !errors.As(err, &back) || back.Last.Position != 12 || back.Last.ID.String() != lost.ID {
			t.Errorf("a client: %v", err)
		}
	}
	if n := len(handled); n > 0 {
		t.Errorf("%d more events were handed over", n)
	}
	eventually(t, "the durable consumer is gone with the NATS stream of what was", 20*time.Second, func() bool {
		_, err := js.Consumer(t.Context(), "CARELOG", "billing")
		return errors.Is(err, jetstream.ErrConsumerNotFound)
	})
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
	} {
		if _, err := conn.Exec(t.Context(), sql, position); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	endOtherSessions(t, conn)
}

// endOtherSessions ends all on the connection's database but that.
func endOtherSessions(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	_, err := conn.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
	if err != nil {
		t.Fatal(err)
	}
}
