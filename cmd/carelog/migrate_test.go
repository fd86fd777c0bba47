package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// owned is an empty database whose owner may do nothing else, and a role that may do
// nothing yet.
type owned struct {
	config  Config // with the owner's URL
	role    string
	url     string // the role's
	version int    // that it will have
}

func newOwned(t *testing.T) *owned {
	t.Helper()
	o := &owned{config: databaseConfig(t)}
	super, err := pgx.Connect(t.Context(), o.config.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	database := super.Config().Database
	o.version = query[int](t, o.config.DatabaseURL, `select max(version_id)::int from migrations`)
	suffix := strings.ReplaceAll(strings.TrimPrefix(database, "carelog_test_"), "-", "_") // roles belong to the whole server
	owner := "carelog_owner_" + suffix
	o.role = "carelog_app_" + suffix
	for _, sql := range []string{
		`create role ` + owner + ` login`, `create role ` + o.role + ` login`, `drop schema projections, accounts, public cascade`,
		`create schema public authorization ` + owner, `alter database "` + database + `" owner to ` + owner,
	} {
		if _, err := super.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, sql := range []string{`drop owned by ` + owner + `, ` + o.role, `alter database "` + database + `" owner to current_user`, `drop role ` + owner + `, ` + o.role} {
			if _, err := super.Exec(context.Background(), sql); err != nil {
				t.Error(err)
			}
		}
		super.Close(context.Background())
	})
	as := func(role string) string {
		parsed, err := url.Parse(o.config.DatabaseURL)
		if err != nil {
			t.Fatal(err)
		}
		parsed.User = url.User(role)
		return parsed.String()
	}
	o.config.DatabaseURL, o.url = as(owner), as(o.role)
	return o
}

// TestMigrateByTheOwner: the owner migrates, and a role that could not serves.
func TestMigrateByTheOwner(t *testing.T) {
	t.Parallel()
	o := newOwned(t)
	served := o.config
	served.DatabaseURL = o.url
	if got := runCarelog(t, served, "", "migrate"); got.status != exitError || !strings.Contains(got.stderr, "run `carelog migrate` with DATABASE_URL of the database's owner") {
		t.Errorf("the role migrates: %+v", got)
	}
	if got := runCarelog(t, o.config, "", "migrate", "--grant", "no such role"); got.status != exitError || !strings.Contains(got.stderr, "create role \"no such role\" login") {
		t.Errorf("a role that is not there: %+v", got)
	}
	runSQL(t, o.config.DatabaseURL, `drop schema public, projections, accounts cascade; create schema public`)
	expectCarelog(t, o.config, "", fmt.Sprintf("migrated the database from schema version 0 to %d; role %s can serve\n", o.version, o.role), "migrate", "--grant", o.role)
	already := fmt.Sprintf("the database has schema version %d already\n", o.version)
	expectCarelog(t, o.config, "", already, "migrate")

	server := start(t, served)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	expectCarelog(t, o.config, "", already, "migrate") // beside a server
	server.stop()

	runSQL(t, o.config.DatabaseURL, fmt.Sprintf(`delete from migrations where version_id = %d`, o.version))
	program, err := newProgram(served, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if err := program.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "run `carelog migrate`") {
		t.Errorf("a server that may not migrate ends with %v", err)
	}
	runSQL(t, o.config.DatabaseURL, fmt.Sprintf(`insert into migrations (version_id, is_applied) values (%d, true), (9999, true)`, o.version))
	expectCarelog(t, o.config, "", fmt.Sprintf("the database has schema version 9999 of a newer carelog, and this one knows %d: nothing was migrated\n", o.version), "migrate")
}

// TestMigrateWaits for a database that is not there yet, if it is told to.
func TestMigrateWaits(t *testing.T) {
	t.Parallel()
	database := newOwnPostgres(t)
	address := database.server.URL()
	if err := database.stop(); err != nil {
		t.Fatal(err)
	}
	var log, out logBuffer
	m := &migrator{wait: time.Minute, logger: slog.New(slog.NewTextHandler(&log, nil))}
	ended := make(chan error, 1)
	go func() { ended <- m.run(t.Context(), address, &out) }()
	eventually(t, "it waits", 20*time.Second, func() bool { return strings.Contains(log.String(), "waiting for the database") })
	m2 := &migrator{logger: quiet()}
	if err := m2.run(t.Context(), address, &out); err == nil {
		t.Error("it waits without being told to")
	}
	database.start(t)
	if err := <-ended; err != nil || !strings.HasPrefix(out.String(), "migrated the database from schema version 0 to ") {
		t.Errorf("%v, %s", err, &out)
	}
}

// TestGrantIsTheREADMEs, whose role is tried in TestProductionRoleOfTheREADME.
func TestGrantIsTheREADMEs(t *testing.T) {
	grant, err := os.ReadFile("../../eventstore/grant.sql")
	if err != nil {
		t.Fatal(err)
	}
	if role := readBlock(t, "README.md", "role"); role != "create role carelog_app login;\n"+string(grant) {
		t.Errorf("the README and eventstore/grant.sql differ:\n%s\n%s", role, grant)
	}
}
