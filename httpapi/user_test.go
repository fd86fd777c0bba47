package httpapi

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

func TestRegister(t *testing.T) {
	w := newWorld(t)
	const registered = `{"message":"User registered successfully"}`
	expect(t, w.do("POST", "/api/auth/register/", goodAccount, nobody, "X-Request-Id: r-1"), 201, registered)
	want := commands.RegisterUser{Name: "Jo Doe", Email: "jo@example.com", PasswordHash: "hash of correct horse battery"}
	if w.commands.got != want || w.commands.caller != (commands.Caller{CorrelationID: "r-1", RequestID: "r-1"}) {
		t.Errorf("command %+v of %+v", w.commands.got, w.commands.caller)
	}
	expect(t, w.do("POST", "/api/auth/register/", goodAccount), 201, registered) // with a good token
	expect(t, w.do("POST", "/api/auth/register/", goodAccount, "Authorization: Basic YTpi"), 201, registered)
	expect(t, w.do("POST", "/api/auth/register/", goodAccount, "Authorization: Bearer garbage"), 401, refused("Token is invalid"))
}

func TestRegisterRefused(t *testing.T) {
	const required, short = `["This field is required."]`, `["This password is too short. It must contain at least 8 characters."]`
	w := newWorld(t)
	w.queries.taken = "taken@example.com"
	for body, want := range map[string]string{
		`{}`: `{"name":` + required + `,"email":` + required + `,"password":` + required + `}`,
		`{"name":"","email":"x","password":"hunter2"}`:                                            `{"name":["This field may not be blank."],"email":["Enter a valid email address."],"password":` + short + `}`,
		`{"name":"Jo","email":"taken@example.com","password":"hunter2"}`:                          `{"email":["user with this email already exists."],"password":` + short + `}`,
		`{"email":"taken@example.com","password":"correct horse"}`:                                `{"name":` + required + `,"email":["user with this email already exists."]}`,
		`{"name":"Jo","email":"taken@example.com","password":"correct horse"}`:                    `{"email":["user with this email already exists."]}`,
		`{"name":"Jo","email":"a@b.io","password":"8675309867"}`:                                  `{"password":["This password is entirely numeric."]}`,
		`{"name":"Jo","email":"a@b.io","password":"` + strings.Repeat("x", 1025) + `"}`:           `{"password":["Ensure this field has no more than 1024 bytes."]}`,
		`{"name":"` + strings.Repeat("é", 256) + `","email":"a@b.io","password":"correct horse"}`: `{"name":["Ensure this field has no more than 255 characters."]}`,
		`"hello"`: `{"non_field_errors":["Invalid data. Expected a dictionary, but got str."]}`,
	} {
		expect(t, w.do("POST", "/api/auth/register/", body, nobody), 400, want)
	}
	if w.commands.got != nil {
		t.Errorf("command %+v", w.commands.got)
	}
	w.commands.err = commands.ErrEmailTaken // of two who race
	expect(t, w.do("POST", "/api/auth/register/", goodAccount, nobody), 400, `{"email":["user with this email already exists."]}`)
}

func TestPasswordsAreExact(t *testing.T) {
	w := newWorld(t)
	w.do("POST", "/api/auth/register/", `{"name":"Jo","email":"a@b.io","password":" correct horse "}`, nobody)
	if got := w.commands.got.(commands.RegisterUser).PasswordHash; got != "hash of  correct horse " {
		t.Errorf("%q", got)
	}
}

func TestTooMuchHashing(t *testing.T) {
	w := newWorld(t)
	w.accounts.err = ErrBusy
	for path, body := range map[string]string{"/api/auth/register/": goodAccount, "/api/auth/login/": `{"username":"a","password":"b"}`} {
		answer := w.do("POST", path, body)
		expect(t, answer, 503, `{"detail":"The server is busy, try again later."}`)
		if answer.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
}

func TestLogin(t *testing.T) {
	w := newWorld(t)
	w.commands.emails["jo@example.com"] = 1
	w.accounts.passwords[1] = " exact "
	answer := w.do("POST", "/api/auth/login/", `{"username":" jo@example.com ","password":" exact "}`, "Authorization: Bearer garbage")
	refresh, access := tokensOf(t, answer.Body.String(), "refresh", "access")
	if answer.Code != 200 {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	if got, err := testTokens().check(access, accessType); err != nil || got.user != 1 || got.expires != time.Unix(testTime.Unix()+300, 0) {
		t.Errorf("access: %+v, %v", got, err)
	}
	if got, err := testTokens().check(refresh, refreshType); err != nil || got.user != 1 || got.expires != time.Unix(testTime.Unix()+86400, 0) {
		t.Errorf("refresh: %+v, %v", got, err)
	}
	if lines := w.log.lines(`"user_id":1`); len(lines) != 1 {
		t.Errorf("logged %q", w.log)
	}
}

func TestLoginRefused(t *testing.T) {
	const no = `{"detail":"No active account found with the given credentials"}`
	w := newWorld(t)
	w.commands.emails["jo@example.com"], w.commands.emails["gone@example.com"] = 1, 3
	w.accounts.passwords[1], w.accounts.passwords[3] = "right", "right"
	w.queries.users[3] = projections.ErrInactiveUser
	for body, verified := range map[string]int64{
		`{"username":"jo@example.com","password":"wrong"}`:     1,
		`{"username":"jo@example.com","password":"right "}`:    1,
		`{"username":"JO@example.com","password":"right"}`:     0,
		`{"username":"nobody@example.com","password":"right"}`: 0,
		`{"username":5,"password":1.5}`:                        0,
		`{"username":"gone@example.com","password":"right"}`:   3,
	} {
		w.accounts.verified = nil
		answer := w.do("POST", "/api/auth/login/", body, nobody)
		expect(t, answer, 401, no)
		if answer.Header().Get("WWW-Authenticate") == "" || !slices.Equal(w.accounts.verified, []int64{verified}) {
			t.Errorf("%s: verified %v; %v", body, w.accounts.verified, answer.Header())
		}
	}
	expect(t, w.do("POST", "/api/auth/login/", `{"email":"jo@example.com","password":"right"}`, nobody), 400, `{"username":["This field is required."]}`)
	expect(t, w.do("POST", "/api/auth/login/", `{"username":["a"],"password":" "}`, nobody), 400,
		`{"username":["Not a valid string."],"password":["This field may not be blank."]}`)
}

// A login that a change of the password overtakes gets no token of the new epoch:
// it may have been the old password.
func TestLoginWhileThePasswordIsChanged(t *testing.T) {
	w := newWorld(t)
	w.commands.emails["jo@example.com"], w.accounts.passwords[1] = 1, "right"
	w.queries.epochs[1] = 9
	w.accounts.verifying = func() { w.queries.epochs[1] = 12 }
	for _, want := range []events.Position{9, 12} {
		answer := w.do("POST", "/api/auth/login/", `{"username":"jo@example.com","password":"right"}`, nobody)
		refresh, access := tokensOf(t, answer.Body.String(), "refresh", "access")
		for tokenType, raw := range map[string]string{accessType: access, refreshType: refresh} {
			if got, err := testTokens().check(raw, tokenType); err != nil || got.epoch != want {
				t.Errorf("%s token: %+v, %v, want epoch %d", tokenType, got, err, want)
			}
		}
		if answer := w.do("GET", "/api/patients/42/", "", "Authorization: Bearer "+access); (answer.Code == 200) != (want == 12) {
			t.Errorf("a token of epoch %d: %d %s", want, answer.Code, answer.Body)
		}
	}
}

// A user who registered a moment ago logs in while the read tables are behind.
func TestLoginAMomentAfterRegistering(t *testing.T) {
	w := newWorld(t)
	w.commands.emails["jo@example.com"], w.commands.ids[4] = 4, 6
	w.accounts.passwords[4] = "right"
	w.progress.arrives = func() { w.queries.users[4] = nil }
	if answer := w.do("POST", "/api/auth/login/", `{"username":"jo@example.com","password":"right"}`, nobody); answer.Code != 200 {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if !slices.Equal(w.progress.waited, []events.Position{6}) {
		t.Errorf("waited for %v", w.progress.waited)
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	old := w.signed(refreshType, 1)
	answer := w.do("POST", "/api/auth/refresh/", `{"refresh":"`+old+`"}`, "Authorization: Bearer garbage")
	if answer.Code != 200 {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	access, refresh := tokensOf(t, answer.Body.String(), "access", "refresh")
	was, err := testTokens().check(old, refreshType)
	if err != nil {
		t.Fatal(err)
	}
	is, err := testTokens().check(refresh, refreshType)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testTokens().check(access, accessType); err != nil {
		t.Error(err)
	}
	want := RotateToken{JTI: was.id, UserID: 1, Expires: was.expires, SuccessorJTI: is.id, SuccessorExpires: is.expires}
	if len(w.accounts.rotated) != 1 || !equalRotations(w.accounts.rotated[0], want) || was.id == is.id {
		t.Errorf("rotated %+v, want %+v", w.accounts.rotated, want)
	}
}

// A refresh goes on in the epoch of its token, and ends with it.
func TestRefreshKeepsTheEpoch(t *testing.T) {
	w := newWorld(t)
	w.queries.epochs[1] = 9
	body := `{"refresh":"` + w.signedIn(refreshType, projections.Session{User: 1, Epoch: 9}) + `"}`
	answer := w.do("POST", "/api/auth/refresh/", body, nobody)
	access, refresh := tokensOf(t, answer.Body.String(), "access", "refresh")
	for tokenType, raw := range map[string]string{accessType: access, refreshType: refresh} {
		if got, err := testTokens().check(raw, tokenType); err != nil || got.epoch != 9 {
			t.Errorf("%s token: %+v, %v", tokenType, got, err)
		}
	}
	w.accounts.rotated = nil
	w.queries.epochs[1] = 12
	expect(t, w.do("POST", "/api/auth/refresh/", body, nobody), 401, `{"detail":"The user's password has been changed.","code":"password_changed"}`)
	if len(w.accounts.rotated) > 0 {
		t.Errorf("rotated %+v", w.accounts.rotated)
	}
}

func equalRotations(a, b RotateToken) bool {
	return a.JTI == b.JTI && a.UserID == b.UserID && a.SuccessorJTI == b.SuccessorJTI &&
		a.Expires.Equal(b.Expires) && a.SuccessorExpires.Equal(b.SuccessorExpires)
}

func TestRefreshRefused(t *testing.T) {
	w := newWorld(t)
	w.queries.users[3] = projections.ErrInactiveUser
	const noAccount = `{"detail":"No active account found for the given token."}`
	for _, test := range []struct {
		body   string
		status int
		want   string
	}{
		{`{}`, 400, `{"refresh":["This field is required."]}`},
		{`{"refresh":null}`, 400, `{"refresh":["This field may not be null."]}`},
		{`{"refresh":""}`, 400, `{"refresh":["This field may not be blank."]}`},
		{`{"refresh":[]}`, 400, `{"refresh":["Not a valid string."]}`},
		{`{"refresh":"abc"}`, 401, `{"detail":"Token is invalid","code":"token_not_valid"}`},
		{`{"refresh":"` + w.token(1) + `"}`, 401, `{"detail":"Token has wrong type","code":"token_not_valid"}`},
		{`{"refresh":"` + w.signed(refreshType, 0) + `"}`, 401, `{"detail":"Token contained no recognizable user identification","code":"token_not_valid"}`},
		{`{"refresh":"` + w.signed(refreshType, 99) + `"}`, 401, noAccount},
		{`{"refresh":"` + w.signed(refreshType, 3) + `"}`, 401, noAccount},
	} {
		answer := w.do("POST", "/api/auth/refresh/", test.body, nobody)
		expect(t, answer, test.status, test.want)
		if (answer.Header().Get("WWW-Authenticate") != "") != (test.status == 401) {
			t.Errorf("%s: %v", test.body, answer.Header())
		}
	}
	if len(w.accounts.rotated) > 0 {
		t.Errorf("rotated %+v", w.accounts.rotated)
	}
	for _, err := range []error{ErrTokenReused, ErrTokenRevoked} {
		w.accounts.err = err
		expect(t, w.do("POST", "/api/auth/refresh/", `{"refresh":"`+w.signed(refreshType, 1)+`"}`, nobody), 401, `{"detail":"Token is blacklisted","code":"token_not_valid"}`)
	}
}

// tokensOf reads two tokens from a body that has nothing else, in this order.
func tokensOf(t *testing.T, body, first, second string) (string, string) {
	t.Helper()
	var pair map[string]string
	if err := json.Unmarshal([]byte(body), &pair); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if want := `{"` + first + `":"` + pair[first] + `","` + second + `":"` + pair[second] + `"}`; body != want {
		t.Errorf("got %s, want %s", body, want)
	}
	return pair[first], pair[second]
}
