package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

func TestBearer(t *testing.T) {
	for _, test := range []struct {
		headers []string
		token   string
		bad     bool
	}{
		{nil, "", false},
		{[]string{""}, "", false},
		{[]string{"   "}, "", false},
		{[]string{"Bearer abc"}, "abc", false},
		{[]string{"Bearer    abc"}, "abc", false},
		{[]string{"  Bearer\tabc  "}, "abc", false},
		{[]string{"bearer abc"}, "", false},
		{[]string{"BEARER abc"}, "", false},
		{[]string{"Bearerabc"}, "", false},
		{[]string{"Basic YTpi"}, "", false},
		{[]string{"Token abc"}, "", false},
		{[]string{"JWT abc"}, "", false},
		{[]string{"Basic a b c"}, "", false},
		{[]string{"Bearer"}, "", true},
		{[]string{"Bearer "}, "", true},
		{[]string{"Bearer a b"}, "", true},
		{[]string{"Bearer a", "Bearer b"}, "", true},
		{[]string{"Basic a", "Bearer b"}, "", false},
		{[]string{"Bearer a\u00a0b"}, "a\u00a0b", false}, // white space is that of ASCII
	} {
		token, err := bearer(http.Header{"Authorization": test.headers})
		if token != test.token || (err != nil) != test.bad {
			t.Errorf("%q: got %q, %v", test.headers, token, err)
		}
	}
}

const unauthenticated = `{"detail":"Authentication credentials were not provided."}`

func refused(message string) string {
	return `{"detail":"Given token not valid for any token type","code":"token_not_valid","messages":[{"token_class":"AccessToken","token_type":"access","message":"` + message + `"}]}`
}

func TestAuthenticationOnTheWay(t *testing.T) {
	w := newWorld(t)
	w.queries.users[3] = projections.ErrInactiveUser
	w.queries.users[4], w.queries.epochs[4] = nil, 9
	now := testTime.Unix()
	handMade := func(claims string) string {
		return "Authorization: Bearer " + sealedClaims(t, claims)
	}
	for name, test := range map[string]struct {
		header string
		status int
		body   string
	}{
		"nothing":        {nobody, 401, unauthenticated},
		"empty":          {"Authorization: ", 401, unauthenticated},
		"another scheme": {"Authorization: Basic YTpi", 401, unauthenticated},
		"lower case":     {"Authorization: bearer " + w.token(1), 401, unauthenticated},
		"one word":       {"Authorization: Bearer", 401, `{"detail":"Authorization header must contain two space-delimited values","code":"bad_authorization_header"}`},
		"three words":    {"Authorization: Bearer a b", 401, `{"detail":"Authorization header must contain two space-delimited values","code":"bad_authorization_header"}`},
		"several spaces": {"Authorization: Bearer   " + w.token(1), 200, patientJSON},
		"garbage":        {"Authorization: Bearer abc.def.ghi", 401, refused("Token is invalid")},
		"a refresh token": {"Authorization: Bearer " + w.signed(refreshType, 1), 401,
			refused("Token has wrong type")},
		"expired": {handMade(fmt.Sprintf(`{"token_type":"access","exp":%d,"jti":"f","user_id":"1"}`, now-1)), 401, refused("Token is expired")},
		"no user_id": {handMade(fmt.Sprintf(`{"token_type":"access","exp":%d,"jti":"f"}`, now+1)), 401,
			`{"detail":"Token contained no recognizable user identification","code":"token_not_valid"}`},
		"user_id of letters": {handMade(fmt.Sprintf(`{"token_type":"access","exp":%d,"jti":"f","user_id":"abc"}`, now+1)), 401,
			`{"detail":"Token contained no recognizable user identification","code":"token_not_valid"}`},
		"user_id of a number": {handMade(fmt.Sprintf(`{"token_type":"access","exp":%d,"jti":"f","user_id":1}`, now+1)), 200, patientJSON},
		"unknown user":        {"Authorization: Bearer " + w.token(99), 401, `{"detail":"User not found","code":"user_not_found"}`},
		"inactive user":       {"Authorization: Bearer " + w.token(3), 401, `{"detail":"User is inactive","code":"user_inactive"}`},
		"password changed since": {"Authorization: Bearer " + w.token(4), 401,
			`{"detail":"The user's password has been changed.","code":"password_changed"}`},
		"of another epoch": {"Authorization: Bearer " + w.signedIn(accessType, projections.Session{User: 1, Epoch: 9}), 401,
			`{"detail":"The user's password has been changed.","code":"password_changed"}`},
	} {
		t.Run(name, func(t *testing.T) {
			answer := w.do("GET", "/api/patients/42/", "", test.header)
			expect(t, answer, test.status, test.body)
			challenge := answer.Header().Get("WWW-Authenticate")
			if (challenge == `Bearer realm="api"`) != (test.status == 401) {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
		})
	}
}

func sealedClaims(t *testing.T, claims string) string {
	t.Helper()
	return sign256(segment(t, map[string]any{"alg": "HS256"})+"."+encode(claims), testKey)
}

// Every way to a protected route checks the user's state, also those that end
// before a handler.
func TestStateOfTheUserIsCheckedEverywhere(t *testing.T) {
	for _, request := range []string{
		"GET /api/patients/", "GET /api/patients/42/", "GET /api/doctors/", "GET /api/doctors/5/",
		"GET /api/patients/mappings/", "GET /api/patients/mappings/42/", "HEAD /api/patients/",
		"POST /api/patients/", "PUT /api/patients/42/", "PATCH /api/patients/42/", "DELETE /api/patients/42/",
		"POST /api/doctors/", "DELETE /api/doctors/5/", "POST /api/patients/mappings/", "DELETE /api/patients/mappings/delete/9/",
		"OPTIONS /api/patients/", "FOO /api/patients/", "POST /api/patients/42/", "POST /api/auth/register/",
	} {
		method, path, _ := strings.Cut(request, " ")
		t.Run(request, func(t *testing.T) {
			for user, want := range map[int64]string{99: "user_not_found", 3: "user_inactive", 4: "password_changed"} {
				w := newWorld(t)
				w.queries.users[3] = projections.ErrInactiveUser
				w.queries.users[4], w.queries.epochs[4] = nil, 9
				answer := w.do(method, path, "{broken", "Authorization: Bearer "+w.token(user))
				if answer.Code != 401 || method != "HEAD" && !strings.Contains(answer.Body.String(), want) {
					t.Errorf("user %d: %d %s", user, answer.Code, answer.Body)
				}
				if w.commands.got != nil {
					t.Errorf("user %d: command %+v", user, w.commands.got)
				}
			}
		})
	}
}

// A user who is in the log, and not in the read tables yet, is waited for.
func TestUserWhoRegisteredAMomentAgo(t *testing.T) {
	for _, request := range []string{"GET /api/doctors/", "OPTIONS /api/doctors/", "DELETE /api/doctors/5/"} {
		w := newWorld(t)
		w.commands.ids[4] = 6
		w.progress.arrives = func() { w.queries.users[4] = nil }
		method, path, _ := strings.Cut(request, " ")
		answer := w.do(method, path, "", "Authorization: Bearer "+w.token(4))
		if answer.Code >= 300 || w.progress.waited[0] != 6 {
			t.Errorf("%s: %d %s, waited for %v", request, answer.Code, answer.Body, w.progress.waited)
		}
	}
	w := newWorld(t)
	w.commands.ids[4] = 6
	w.progress.err = projections.ErrPending
	if answer := w.do("GET", "/api/doctors/", "", "Authorization: Bearer "+w.token(4)); answer.Code != 503 {
		t.Errorf("never there: %d %s", answer.Code, answer.Body)
	}
}

// Without its database the API lets nobody in, and says so.
func TestDatabaseDown(t *testing.T) {
	w := newWorld(t)
	w.queries.err = fmt.Errorf("read: %w", events.ErrUnavailable)
	w.commands.err, w.commands.pos = w.queries.err, 0
	w.accounts.err = w.queries.err
	for _, request := range []string{
		"GET /api/patients/", "POST /api/patients/", "DELETE /api/patients/42/", "OPTIONS /api/patients/", "FOO /api/patients/",
		"POST /api/auth/register/ " + goodAccount, `POST /api/auth/login/ {"username":"a@b.io","password":"x"}`,
		`POST /api/auth/refresh/ {"refresh":"` + w.signed(refreshType, 1) + `"}`,
	} {
		parts := append(strings.SplitN(request, " ", 3), "{}")
		answer := w.do(parts[0], parts[1], parts[2])
		expect(t, answer, 503, `{"detail":"Service temporarily unavailable, try again later."}`)
		if answer.Header().Get("Retry-After") != "1" {
			t.Errorf("%s: Retry-After: %q", request, answer.Header().Get("Retry-After"))
		}
	}
	for _, request := range []string{"GET /api/patients/", "POST /api/patients/"} {
		method, path, _ := strings.Cut(request, " ")
		expect(t, w.do(method, path, "", nobody), 401, unauthenticated)
	}
}

func TestTokenInTheQueryIsNotLookedAt(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"token", "access", "access_token", "jwt", "Authorization"} {
		expect(t, w.do("GET", "/api/patients/?"+name+"="+w.token(1), "", nobody), 401, unauthenticated)
	}
}
