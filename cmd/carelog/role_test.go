package main

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// TestProductionRoleOfTheREADME: with the role that the README grants Carelog
// works, and nobody who has it can change the log.
func TestProductionRoleOfTheREADME(t *testing.T) {
	database := pgtest.New(t)
	owner, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	role := "carelog_app_" + strings.TrimPrefix(owner.Config().Database, "carelog_test_") // roles belong to the whole server
	role = strings.ReplaceAll(role, "-", "_")
	if _, err := owner.Exec(t.Context(), strings.ReplaceAll(readBlock(t, "README.md", "role"), "carelog_app", role)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := owner.Exec(context.Background(), "drop owned by "+role+"; drop role "+role); err != nil {
			t.Error(err)
		}
		owner.Close(context.Background())
	})
	restricted, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	restricted.User = url.User(role)

	server := start(t, testConfig(t, map[string]string{"DATABASE_URL": restricted.String(), "CARELOG_JWT_SECRET": testSecret}))
	access, refresh := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	server.mustAs(t, access, "DELETE", "/api/patients/1/", "", 204)
	server.mustAs(t, access, "POST", "/api/auth/refresh/", `{"refresh":"`+refresh+`"}`, 200)
	server.stop()
	t.Setenv("DATABASE_URL", restricted.String())
	var output strings.Builder
	if status := execute(t.Context(), []string{"projections", "rebuild"}, &output, &output); status != 1 || !strings.Contains(output.String(), "set DATABASE_URL to that of the database's owner") {
		t.Errorf("a rebuild by who may not make tables: status %d\n%s", status, &output)
	}

	conn, err := pgx.Connect(t.Context(), restricted.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{
		"update events set data = '{}'", "delete from events", "truncate events",
		"update event_tags set type = ''", "delete from event_tags", "update log set id = gen_random_uuid()", "delete from log",
	} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
