package main

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// TestRoles: what an operator or an admin grants and revokes is effective for the
// next request, to whatever server, and told by the history.
func TestRoles(t *testing.T) {
	broker := startNATS(t, t.TempDir(), -1)
	config := testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "NATS_URL": broker.ClientURL()})
	one, two := start(t, config), start(t, config)
	john, _ := one.register(t, "John Doe", "john@example.com", oldPassword)
	jane, _ := one.register(t, "Jane Roe", "jane@example.com", oldPassword)
	one.mustAs(t, john, "POST", "/api/patients/", somePatient, 201)

	// An auditor sees the records of others in histories and events, and nowhere else.
	two.mustAs(t, jane, "GET", "/api/patients/1/history/", "", 404)
	two.mustAs(t, jane, "GET", "/api/users/", "", 403)
	expectCarelog(t, config, "", "user 2 has role auditor\n", "users", "grant", "jane@example.com", "auditor")
	expectCarelog(t, config, "", "user 2 had role auditor already\n", "users", "grant", "2", "auditor")
	history := string(two.mustAs(t, jane, "GET", "/api/patients/1/history/", "", 200).body)
	if !strings.Contains(history, `"actor":{"id":1,"name":"John Doe"}`) {
		t.Errorf("an auditor is not told who acted: %s", history)
	}
	if found, _, _ := eventsPage(t, two, jane, ""); len(found) != 4 {
		t.Errorf("an auditor sees events %q", found)
	}
	two.mustAs(t, jane, "GET", "/api/patients/1/", "", 404)
	two.mustAs(t, jane, "GET", "/api/patients/1/?as_of=3", "", 404)
	two.mustAs(t, jane, "PATCH", "/api/users/1/", `{"active":false}`, 403)
	account := string(two.mustAs(t, jane, "GET", "/api/users/2/history/", "", 200).body)
	if !strings.Contains(account, `"actor":{"tool":"carelog users","operator":"`+operatorName()+`"}`) || !strings.Contains(account, `"changes":{"roles":{"old":[],"new":["auditor"]}}`) {
		t.Errorf("the history of an account: %s", account)
	}
	one.mustAs(t, john, "GET", "/api/users/2/history/", "", 403)
	own := string(one.mustAs(t, john, "GET", "/api/users/1/history/", "", 200).body)
	if !strings.Contains(own, `"type":"user.registered"`) {
		t.Errorf("one's own history: %s", own)
	}
	expectCarelog(t, config, "", "user 2 has not role auditor\n", "users", "revoke", "2", "auditor")
	expectCarelog(t, config, "", "user 2 did not have role auditor\n", "users", "revoke", "2", "auditor")
	two.mustAs(t, jane, "GET", "/api/patients/1/history/", "", 404)

	// An admin manages accounts.
	expectCarelog(t, config, "", "user 1 has role admin\n", "users", "grant", "1", "admin")
	changed := string(two.mustAs(t, john, "PATCH", "/api/users/2/", `{"active":false,"roles":["auditor"]}`, 200).body)
	if !strings.Contains(changed, `"active":false,"roles":["auditor"]`) {
		t.Errorf("answered %s", changed)
	}
	one.mustAs(t, jane, "GET", "/api/patients/", "", 401)
	two.mustAs(t, john, "PATCH", "/api/users/2/", `{"active":true}`, 200)
	one.mustAs(t, jane, "GET", "/api/users/", "", 200)
	if list := string(one.mustAs(t, john, "GET", "/api/users/?limit=1&offset=1", "", 200).body); !strings.Contains(list, `"count":2`) || !strings.Contains(list, `"roles":["auditor"]`) {
		t.Errorf("the users: %s", list)
	}
	one.mustAs(t, john, "PATCH", "/api/users/1/", `{"active":false}`, 400)
	one.mustAs(t, john, "PATCH", "/api/users/9/", `{"active":false}`, 404)
	account = string(two.mustAs(t, jane, "GET", "/api/users/2/history/?after=6", "", 200).body)
	if !strings.Contains(account, `"type":"user.disabled"`) || !strings.Contains(account, `"actor":{"id":1,"name":"John Doe"}`) {
		t.Errorf("an admin is not named: %s", account)
	}

	for args, want := range map[string]string{
		"grant 2":           "name one user",
		"grant 2 superuser": `there is no role "superuser": roles are admin, auditor`,
		"revoke x admin":    "neither a user's id nor an e-mail address",
	} {
		if got := runCarelog(t, config, "", append([]string{"users"}, strings.Fields(args)...)...); got.status != exitUsage || !strings.Contains(got.stderr, want) {
			t.Errorf("carelog users %s: %+v", args, got)
		}
	}
	if got := runCarelog(t, config, "", "users", "grant", "99", "admin"); got.status != exitNotFound {
		t.Errorf("a user who is not there: %+v", got)
	}
	if got := runCarelog(t, config, "", "users", "list"); !strings.Contains(got.stdout, "active  auditor") || !strings.Contains(got.stdout, "active  admin") {
		t.Errorf("the list of users:\n%s", got.stdout)
	}
}

// TestWhoIsNoAdminAnyMoreChangesNothing: an admin who changes accounts all the time at
// two servers loses the role, and gets it again. No change is in the log in between.
func TestWhoIsNoAdminAnyMoreChangesNothing(t *testing.T) {
	broker := startNATS(t, t.TempDir(), -1)
	config := testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "NATS_URL": broker.ClientURL()})
	servers := []*running{start(t, config), start(t, config)}
	admin, _ := servers[0].register(t, "John Doe", "john@example.com", oldPassword)
	for i := range 4 {
		servers[0].register(t, "User", fmt.Sprintf("user%d@example.com", i), oldPassword)
	}
	expectCarelog(t, config, "", "user 1 has role admin\n", "users", "grant", "1", "admin")
	var revoked, ended atomic.Bool
	var changes, refused atomic.Int64
	var writers errgroup.Group
	for n := range 4 {
		writers.Go(func() error {
			for i := 0; !ended.Load(); i++ {
				before := revoked.Load()
				got, err := servers[n%2].as(admin, "PATCH", fmt.Sprintf("/api/users/%d/", n+2), fmt.Sprintf(`{"active":%v}`, i%2 == 0))
				switch {
				case err != nil:
					return err
				case got.status == 200 && before && revoked.Load():
					return fmt.Errorf("a change without the role")
				case got.status == 200:
					changes.Add(1)
				case got.status == 403:
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
		eventually(t, "admins go on", 20*time.Second, func() bool { return count.Load() > before+20 })
	}
	for range 3 {
		grow(&changes)
		expectCarelog(t, config, "", "user 1 has not role admin\n", "users", "revoke", "1", "admin")
		revoked.Store(true)
		grow(&refused)
		revoked.Store(false)
		expectCarelog(t, config, "", "user 1 has role admin\n", "users", "grant", "1", "admin")
	}
	ended.Store(true)
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	wrong := query[int](t, config.DatabaseURL, `
		select count(*) from events c where c.metadata->'actor'->>'user_id' = '1' and c.type in ('user.disabled', 'user.enabled') and (
		    select r.type from events r where r.type in ('user.role_granted', 'user.role_revoked') and r.position < c.position
		    order by r.position desc limit 1) = 'user.role_revoked'`)
	if wrong != 0 {
		t.Errorf("%d changes were made without the role", wrong)
	}
}
