package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/carelog/carelog/projections"
)

// throttled makes a world with throttles, a clock for them, and the proxy
// 192.0.2.1, which is where requests of tests come from.
func throttled(t *testing.T, limits Throttle) (*world, *handClock) {
	clock := &handClock{testTime}
	w := newWorld(t, func(c *Config) {
		c.Throttle, c.Now = limits, clock.now
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	})
	w.commands.emails["jo@example.com"], w.commands.emails["gone@example.com"] = 1, 3
	w.accounts.passwords[1], w.accounts.passwords[3] = "right", "right"
	w.queries.users[3] = projections.ErrInactiveUser
	return w, clock
}

func (w *world) login(username, password, from string) (status int, body, retryAfter string) {
	w.t.Helper()
	answer := w.do("POST", "/api/auth/login/", fmt.Sprintf(`{"username":%q,"password":%q}`, username, password), nobody, "X-Forwarded-For: "+from)
	return answer.Code, answer.Body.String(), answer.Header().Get("Retry-After")
}

func TestLoginOfOneAccountIsThrottled(t *testing.T) {
	const throttledFor = `{"detail":"Request was throttled. Expected available in %s seconds."}`
	for _, username := range []string{"jo@example.com", "gone@example.com", "nobody@example.com", strings.Repeat("x", 1000)} {
		w, clock := throttled(t, Throttle{LoginAccount: 3})
		for range 3 {
			if status, body, _ := w.login(username, "wrong", "198.51.100.1"); status != 401 {
				t.Fatalf("%s: %d %s", username, status, body)
			}
		}
		clock.pass(15 * time.Second)
		hashed := len(w.accounts.verified)
		for _, password := range []string{"wrong", "right"} {
			status, body, retryAfter := w.login(" "+username+" ", password, "198.51.100.1")
			if status != 429 || body != fmt.Sprintf(throttledFor, "45") || retryAfter != "45" {
				t.Errorf("%s: %d %s, retry after %q", username, status, body, retryAfter)
			}
		}
		if len(w.accounts.verified) != hashed {
			t.Errorf("%s: a password was hashed", username)
		}
		want := map[bool]int{true: 200, false: 401}[username == "jo@example.com"]
		if status, _, _ := w.login(username, "right", "198.51.100.2"); status != want {
			t.Errorf("%s, from another address: %d", username, status)
		}
		if status, _, _ := w.login("other@example.com", "wrong", "198.51.100.1"); status != 401 {
			t.Errorf("%s: another account: %d", username, status)
		}
		if answer := w.do("POST", "/api/auth/login/", `{"username":" "}`, nobody); answer.Code != 400 {
			t.Errorf("fields come first: %d", answer.Code)
		}
		clock.pass(45 * time.Second)
		if status, _, _ := w.login(username, "right", "198.51.100.1"); status != want {
			t.Errorf("%s, a minute later: %d", username, status)
		}
	}
}

func TestLoginFromOneAddressIsThrottled(t *testing.T) {
	w, _ := throttled(t, Throttle{LoginAddress: 20})
	for i := range 20 {
		w.login(fmt.Sprintf("%d@example.com", i), "wrong", fmt.Sprintf("2001:db8:1:2::%x", i))
		if status, body, _ := w.login("jo@example.com", "right", "2001:db8:1:2::ffff"); i < 19 && status != 200 {
			t.Errorf("%d %s", status, body)
		}
	}
	if status, _, _ := w.login("jo@example.com", "right", "2001:db8:1:2::aaaa"); status != 429 {
		t.Errorf("an address of the same network: %d", status)
	}
	if status, _, _ := w.login("jo@example.com", "right", "2001:db8:1:3::"); status != 200 {
		t.Errorf("another network: %d", status)
	}
}

// What could not be tried is no failed login.
func TestTroubleIsNoFailedLogin(t *testing.T) {
	w, _ := throttled(t, Throttle{LoginAccount: 1, LoginAddress: 1})
	for _, trouble := range []error{ErrBusy, context.DeadlineExceeded, errors.New("broken")} {
		w.accounts.err = trouble
		if status, _, _ := w.login("jo@example.com", "wrong", "198.51.100.1"); status < 500 {
			t.Errorf("%v: %d", trouble, status)
		}
	}
	w.accounts.err, w.queries.panic = nil, "at the disco"
	if status, _, _ := w.login("jo@example.com", "right", "198.51.100.1"); status != 500 {
		t.Errorf("a panic: %d", status)
	}
	w.queries.panic = nil
	if status, body, _ := w.login("jo@example.com", "right", "198.51.100.1"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestRegistrationIsThrottled(t *testing.T) {
	w, clock := throttled(t, Throttle{Register: 3})
	w.queries.taken = "taken@example.com"
	register := func(body string, status int, want string) {
		t.Helper()
		expect(t, w.do("POST", "/api/auth/register/", body, nobody), status, want)
	}
	const taken = `{"name":"Jo","email":"taken@example.com","password":"correct horse"}`
	for range 5 { // is told without a look at who is registered
		register(`{"name":"Jo","email":"x","password":"correct horse"}`, 400, `{"email":["Enter a valid email address."]}`)
	}
	register(goodAccount, 201, `{"message":"User registered successfully"}`)
	register(taken, 400, `{"email":["user with this email already exists."]}`)
	register(`{"email":"taken@example.com","password":"correct horse"}`, 400, `{"name":["This field is required."],"email":["user with this email already exists."]}`)
	clock.pass(20 * time.Second)
	w.commands.got = nil
	const answer = `{"detail":"Request was throttled. Expected available in 40 seconds."}`
	register(goodAccount, 429, answer)
	register(taken, 429, answer) // it cannot be found out any more
	register(`{"email":"taken@example.com","password":"correct horse"}`, 400, `{"name":["This field is required."]}`)
	if w.commands.got != nil {
		t.Errorf("command %+v", w.commands.got)
	}
	expect(t, w.do("POST", "/api/auth/register/", goodAccount, nobody, "X-Forwarded-For: 198.51.100.2"), 201, `{"message":"User registered successfully"}`)
	clock.pass(40 * time.Second)
	register(goodAccount, 201, `{"message":"User registered successfully"}`)
}
