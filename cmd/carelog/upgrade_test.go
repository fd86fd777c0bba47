package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore/pgtest"
	"github.com/carelog/carelog/projections"
)

// newerRegistry is that of a program that knows one more type of events.
type newerRegistry struct{ projections.Registry }

func (r newerRegistry) Decode(e events.Event) (events.Payload, error) {
	if e.Type == patientCloned {
		return cloned{}, nil
	}
	return r.Registry.Decode(e)
}

const patientCloned events.Type = "patient.cloned"

type cloned struct{}

func (cloned) EventType() events.Type { return patientCloned }

func newer(p *program) { p.registry = newerRegistry{p.registry} }

// TestAnOlderProgramLetsANewerTakeOver: the process that applies events meets a
// type that it does not know. It stops there, says so and takes no commands,
// until a process of a newer program goes on.
func TestAnOlderProgramLetsANewerTakeOver(t *testing.T) {
	broker := startNATS(t, t.TempDir(), -1)
	vars := map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "NATS_URL": broker.ClientURL()}
	config := testConfig(t, vars)
	older := start(t, config)
	access, _ := older.register(t, "John Doe", "john@example.com", "securepassword123")
	before := older.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	runSQL(t, config.DatabaseURL, fmt.Sprintf(`insert into events values
		(3, gen_random_uuid(), '%s', 1, '{}', '{"first_name":"Secret"}', '{}', '', now()),
		(4, gen_random_uuid(), 'patient.amended', 1, '{}', '{"patient_id":1,"owner_id":1,"age":31}', '{}', '', now())`, patientCloned))

	const stop = "stopped at position 3, an event of type patient.cloned"
	ready := func(server *running) reply { return server.send(t, "GET", "/readyz", nil, nil) }
	eventually(t, "the older program stops", 20*time.Second, func() bool { return strings.Contains(string(ready(older).body), stop) })
	if got := ready(older); got.status != 503 {
		t.Errorf("/readyz answers %d %s", got.status, got.body)
	}
	if got := older.mustAs(t, access, "POST", "/api/patients/", somePatient, 503); got.header.Get("Retry-After") == "" {
		t.Errorf("a command is refused with %v", got.header)
	}
	if got := older.mustAs(t, access, "GET", "/api/patients/1/", "", 200); string(got.body) != string(before.body) {
		t.Errorf("a read answers %s, and %s was written", got.body, before.body)
	}
	if text := older.log.String(); !strings.Contains(text, `level=ERROR msg="projections: stopped`) || !strings.Contains(text, "position=3 type=patient.cloned") ||
		strings.Contains(text, "Secret") {
		t.Errorf("logged:\n%s", text)
	}
	err := withOperator(t.Context(), config, quiet(), func(ctx context.Context, o *operator) error {
		err := o.rebuild(ctx, nil, t.Output(), t.Output()) // of what is applied already, that is
		list, _ := o.listProjections(ctx)
		if len(list.Projections) != 4 || list.Projections[0].Lag != 2 || *list.Projections[0].Stopped != (stoppedProjection{
			Position: 3, Type: "patient.cloned", Reason: (&events.UnknownTypeError{Type: patientCloned, SchemaVersion: 1}).Error(),
		}) {
			t.Errorf("the list is %+v", list)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	stopped := time.Now()
	takesOver := start(t, testConfig(t, vars), newer)
	for _, server := range []*running{takesOver, older} {
		eventually(t, "commands are taken again", 20*time.Second, func() bool {
			got, err := server.as(access, "POST", "/api/patients/", somePatient)
			return err == nil && got.status == 201 && got.header.Get("Carelog-Projected") == ""
		})
		if got := ready(server); got.status != http.StatusOK || strings.Contains(string(got.body), "stopped") {
			t.Errorf("/readyz answers %d %s", got.status, got.body)
		}
		if got := server.mustAs(t, access, "GET", "/api/patients/1/", "", 200); !strings.Contains(string(got.body), `"age":31`) {
			t.Errorf("the event after the new one was not applied: %s", got.body)
		}
	}
	t.Logf("the newer program took over after %v", time.Since(stopped))
	err = withOperator(t.Context(), config, quiet(), func(ctx context.Context, o *operator) error {
		if err := o.verify(ctx, nil, t.Output(), t.Output()); err == nil || !strings.Contains(err.Error(), "stopped at position 3, patient.cloned") {
			t.Errorf("the older program verifies: %v", err)
		}
		o.projections.Registry = newerRegistry{o.projections.Registry}
		return o.verify(ctx, nil, t.Output(), t.Output())
	})
	if err != nil {
		t.Error(err)
	}
}

// TestTwoProgramsStartOnAnEmptyDatabase at once, and one is cut off while it
// migrates.
func TestTwoProgramsStartOnAnEmptyDatabase(t *testing.T) {
	broker := startNATS(t, t.TempDir(), -1)
	config := testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "NATS_URL": broker.ClientURL()})
	database, err := pgxpool.New(t.Context(), config.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	if _, err := database.Exec(t.Context(), `drop schema projections, accounts, public cascade; create schema public`); err != nil {
		t.Fatal(err)
	}
	block, err := database.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := block.Exec(t.Context(), `create schema projections`); err != nil {
		t.Fatal(err)
	}
	var programs []*program
	ended := make(chan error, 2)
	ctx, stop := context.WithCancel(context.Background())
	for range 2 {
		program, err := newProgram(config, quiet())
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, program)
		go func() { ended <- program.Run(ctx) }()
	}
	eventually(t, "one that migrates is cut off", 30*time.Second, func() (cut bool) {
		err := database.QueryRow(t.Context(), `select coalesce(bool_or(pg_terminate_backend(pid)), false) from pg_stat_activity
			where datname = current_database() and application_name = 'carelog migrations' and wait_event_type = 'Lock'`).Scan(&cut)
		if err != nil {
			t.Fatal(err)
		}
		return cut
	})
	if err := block.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		select {
		case <-program.Running():
		case <-time.After(time.Minute):
			t.Error("a program does not start")
		}
	}
	var versions string
	err = database.QueryRow(t.Context(), `select string_agg(version_id::text, ' ' order by id) from migrations`).Scan(&versions)
	if err != nil || !strings.HasPrefix(versions, "0 1 2 3") {
		t.Errorf("the migrations were %s, %v", versions, err)
	}
	stop()
	for range programs {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestANewerDatabaseIsServed, for the time of an upgrade, with a warning.
func TestANewerDatabaseIsServed(t *testing.T) {
	config := databaseConfig(t)
	runSQL(t, config.DatabaseURL, `insert into migrations (version_id, is_applied) values (9999, true)`)
	server := start(t, config)
	server.register(t, "John Doe", "john@example.com", "securepassword123")
	if text := server.log.String(); !strings.Contains(text, `level=WARN msg="a newer carelog has migrated the database`) || !strings.Contains(text, "database=9999 known=") {
		t.Errorf("logged:\n%s", text)
	}
}
