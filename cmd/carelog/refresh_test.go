package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestReuseOfARefreshTokenEndsItsFamily uses a refresh token twice, as a thief
// and its owner would. Neither can go on with it; a login of the same user on
// another device can.
func TestReuseOfARefreshTokenEndsItsFamily(t *testing.T) {
	server := start(t, databaseConfig(t))
	_, first := server.register(t, "John Doe", "john@example.com", "securepassword123")
	_, elsewhere := server.login(t, "john@example.com", "securepassword123")

	second := server.mustRefresh(t, first)
	third := server.mustRefresh(t, second)
	const blacklisted = `{"detail":"Token is blacklisted","code":"token_not_valid"}`
	for _, use := range []struct{ name, token string }{
		{"a token that was used", first}, {"its successor, used as well", second}, {"the one that was good until then", third},
		{"that one again", third},
	} {
		got := server.refresh(t, use.token)
		if got.status != 401 || string(got.body) != blacklisted || got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", use.name, got.status, got.body)
		}
	}
	server.mustRefresh(t, server.mustRefresh(t, elsewhere))
	_, again := server.login(t, "john@example.com", "securepassword123")
	server.mustRefresh(t, again)
}

func (r *running) refresh(t *testing.T, token string) reply {
	t.Helper()
	return r.send(t, "POST", "/api/auth/refresh/", http.Header{"Content-Type": {"application/json"}},
		strings.NewReader(fmt.Sprintf(`{"refresh":%q}`, token)))
}

// mustRefresh answers the successor of a refresh token, and uses the access
// token that came with it.
func (r *running) mustRefresh(t *testing.T, token string) (successor string) {
	t.Helper()
	got := r.refresh(t, token)
	var pair struct{ Access, Refresh string }
	if err := json.Unmarshal(got.body, &pair); err != nil || got.status != 200 {
		t.Fatalf("refresh: %d %s", got.status, got.body)
	}
	r.mustAs(t, pair.Access, "GET", "/api/patients/", "", 200)
	return pair.Refresh
}
