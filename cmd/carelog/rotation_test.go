package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carelog/carelog/eventstore/pgtest"
)

const newSecret = "another secret of the tests that is as long"

// TestKeysAreRotatedWithoutALogout goes through the steps of deploy/keys.md, server
// by server: whichever is asked, everybody's tokens and tickets are good all the time.
// Without the first step they are not.
func TestKeysAreRotatedWithoutALogout(t *testing.T) {
	t.Parallel()
	common := map[string]string{"DATABASE_URL": pgtest.New(t), "NATS_URL": startNATS(t, t.TempDir(), -1).ClientURL()}
	startWith := func(secret, fallbacks string) *running {
		vars := map[string]string{"CARELOG_JWT_SECRET": secret, "CARELOG_JWT_FALLBACK_SECRETS": fallbacks}
		for name, value := range common {
			vars[name] = value
		}
		return start(t, testConfig(t, vars))
	}
	servers := []*running{startWith(testSecret, ""), startWith(testSecret, "")}
	access, refresh := servers[0].register(t, "John Doe", "john@example.com", oldPassword)

	// everywhere tells whether old and new tokens are good at both servers; the tokens
	// of a login at each are looked at by the other.
	everywhere := func(wantID bool) {
		t.Helper()
		for i, server := range servers {
			if server.mustAs(t, access, "GET", "/api/patients/", "", 200); i == 0 {
				refresh = servers[1].mustRefresh(t, server.mustRefresh(t, refresh))
			}
			fresh, _ := server.login(t, "john@example.com", oldPassword)
			servers[1-i].mustAs(t, fresh, "GET", "/api/patients/", "", 200)
			followed, err := follow(t.Context(), servers[1-i], "", "?ticket="+server.ticket(t, access), "")
			if err != nil || followed.status != 200 {
				t.Fatalf("a ticket of server %d at the other: %+v, %v", i, followed, err)
			}
			followed.body.Close()
		}
		access, _ = servers[0].login(t, "john@example.com", oldPassword)
		if header := tokenHeader(t, access); strings.Contains(header, "kid") != wantID {
			t.Fatalf("the header of a token is %s", header)
		}
	}
	replace := func(i int, secret, fallbacks string) {
		servers[i].stop()
		servers[i] = startWith(secret, fallbacks)
	}
	everywhere(false)
	for _, step := range []struct{ secret, fallbacks string }{
		{testSecret, newSecret}, // 1: known everywhere
		{newSecret, testSecret}, // 2: signs everywhere
	} {
		for i := range servers {
			replace(i, step.secret, step.fallbacks)
			everywhere(true)
		}
	}
	for i := range servers { // 3: the old one is gone
		replace(i, newSecret, "")
		if i == 0 {
			everywhere(false)
		}
	}
	everywhere(false)

	old, _ := servers[0].login(t, "john@example.com", oldPassword)
	replace(1, testSecret, newSecret)
	skipped, _ := servers[1].login(t, "john@example.com", oldPassword)
	servers[1].mustAs(t, old, "GET", "/api/patients/", "", 200)
	servers[0].mustAs(t, skipped, "GET", "/api/patients/", "", 401)
}

func tokenHeader(t *testing.T, token string) string {
	t.Helper()
	segment, _, _ := strings.Cut(token, ".")
	header, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	return string(header)
}

// TestTheKeyFileIsRotated: a private installation has its keys in a file, a line each.
func TestTheKeyFileIsRotated(t *testing.T) {
	t.Parallel()
	config := testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret})
	config.JWTSecret = nil
	server := start(t, config)
	access, refresh := server.register(t, "John Doe", "john@example.com", oldPassword)
	server.stop()
	file := filepath.Join(config.DataDir, "jwt.key")
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	runScript(t, filepath.Dir(config.DataDir), "deploy/keys.md", "new line", "DATA_DIR="+config.DataDir)
	both, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	newer, ok := strings.CutSuffix(string(both), string(old))
	if info, err := os.Stat(file); !ok || strings.Count(newer, "\n") != 1 || err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("not a line before the old one, of mode 0600: %d and %d bytes, %v, %v", len(old), len(both), info, err)
	}
	server = start(t, config)
	server.mustAs(t, access, "GET", "/api/patients/", "", 200)
	server.mustRefresh(t, refresh)
	fresh, _ := server.login(t, "john@example.com", oldPassword)
	server.stop()
	if err := os.WriteFile(file, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	server = start(t, config)
	server.mustAs(t, fresh, "GET", "/api/patients/", "", 200)
	server.mustAs(t, access, "GET", "/api/patients/", "", 401)
}
