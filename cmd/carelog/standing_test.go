package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// TestADisabledUserChangesNothingMore: a user who writes all the time, to two
// servers, is disabled, enabled, and disabled again. No change is in the log while
// the user is, whatever the servers knew, and every answer is true.
func TestADisabledUserChangesNothingMore(t *testing.T) {
	broker := startNATS(t, t.TempDir(), -1)
	config := testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "NATS_URL": broker.ClientURL()})
	servers := []*running{start(t, config), start(t, config)}
	access, _ := servers[0].register(t, "John Doe", "john@example.com", oldPassword)
	var disabled, ended atomic.Bool // the command has returned; the test is over
	var created, refused atomic.Int64
	var writers errgroup.Group
	for n := range 8 {
		server := servers[n%len(servers)]
		writers.Go(func() error {
			for !ended.Load() {
				before := disabled.Load()
				got, err := server.as(access, "POST", "/api/patients/", somePatient)
				switch {
				case err != nil:
					return err
				case got.status == 201 && before && disabled.Load():
					return fmt.Errorf("a change after the user was disabled: %s", got.header)
				case got.status == 201:
					created.Add(1)
				case got.status == 401 && string(got.body) == inactive:
					refused.Add(1)
				default:
					return fmt.Errorf("%d %s", got.status, got.body)
				}
			}
			return nil
		})
	}
	grow := func(count *atomic.Int64) {
		t.Helper()
		before := count.Load()
		eventually(t, "writers go on", 20*time.Second, func() bool { return count.Load() > before+20 })
	}
	for range 3 {
		grow(&created)
		expectCarelog(t, config, "", "user 1 is disabled\n", "users", "disable", "1")
		disabled.Store(true)
		grow(&refused)
		disabled.Store(false)
		expectCarelog(t, config, "", "user 1 is enabled\n", "users", "enable", "1")
	}
	ended.Store(true)
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), config.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var stored, wrong int64
	err = conn.QueryRow(t.Context(), `
		select count(*), count(*) filter (where (
		    select u.type from events u where u.type in ('user.disabled', 'user.enabled') and u.position < p.position
		    order by u.position desc limit 1) = 'user.disabled')
		from events p where p.type = 'patient.registered'`).Scan(&stored, &wrong)
	if err != nil {
		t.Fatal(err)
	}
	if stored != created.Load() || wrong != 0 {
		t.Errorf("%d patients are in the log, %d were answered; %d were stored while the user was disabled", stored, created.Load(), wrong)
	}
}
