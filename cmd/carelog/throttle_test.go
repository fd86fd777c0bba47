package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/httpapi"
)

// addresses that clients of these tests come from.
const (
	someAddress  = "198.51.100.1"
	otherAddress = "198.51.100.2"
)

// behindProxy makes this machine a proxy, so that clients can come from several
// addresses.
func behindProxy(config Config) Config {
	config.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	return config
}

// tryLogin logs in through a proxy that forwards for these addresses.
func (r *running) tryLogin(email, password, forwarded string) (reply, error) {
	header := http.Header{"Content-Type": {"application/json"}, "X-Forwarded-For": {forwarded}}
	return r.try("POST", "/api/auth/login/", header, strings.NewReader(fmt.Sprintf(`{"username":%q,"password":%q}`, email, password)))
}

func (r *running) mustTryLogin(t *testing.T, email, password, forwarded string, status int) reply {
	t.Helper()
	got, err := r.tryLogin(email, password, forwarded)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != status {
		t.Fatalf("%s for %s: %d %s", email, forwarded, got.status, got.body)
	}
	return got
}

// TestGuessingIsThrottled guesses passwords until it may not any more, of an
// account that there is and of one that there is not. The owner of the account
// logs in elsewhere all the same.
func TestGuessingIsThrottled(t *testing.T) {
	server := start(t, behindProxy(databaseConfig(t)))
	const john, password = "john@example.com", "securepassword123"
	server.register(t, "John Doe", john, password)
	headers := map[string][]string{}
	for _, email := range []string{john, "nobody@example.com"} {
		for range 10 {
			server.mustTryLogin(t, email, "wrong", someAddress, 401)
		}
		for _, guess := range []string{"wrong", password} {
			got := server.mustTryLogin(t, email, guess, someAddress, 429)
			after, err := strconv.Atoi(got.header.Get("Retry-After"))
			want := fmt.Sprintf(`{"detail":"Request was throttled. Expected available in %d second`, after)
			if err != nil || after < 1 || after > 60 || !strings.HasPrefix(string(got.body), want) {
				t.Errorf("%v: %s", got.header, got.body)
			}
			for name := range got.header {
				headers[name] = append(headers[name], email)
			}
		}
	}
	for name, emails := range headers {
		if len(emails) != 4 {
			t.Errorf("%s is in the answers for %v alone", name, emails)
		}
	}
	server.mustTryLogin(t, john, password, otherAddress, 200)
	server.mustTryLogin(t, john, password, someAddress+", "+otherAddress, 200)
	server.mustTryLogin(t, john, password, otherAddress+", "+someAddress, 429) // the client claims the first
	for _, personal := range []string{john, "nobody@example.com", someAddress, otherAddress} {
		if strings.Contains(server.log.String(), personal) {
			t.Errorf("the log holds %s", personal)
		}
	}
}

// TestForwardedForOfStrangers shows that without trusted proxies nobody escapes
// by a header.
func TestForwardedForOfStrangers(t *testing.T) {
	server := start(t, databaseConfig(t))
	for i := range 10 {
		server.mustTryLogin(t, "nobody@example.com", "wrong", fmt.Sprintf("198.51.100.%d", i), 401)
	}
	server.mustTryLogin(t, "nobody@example.com", "wrong", "198.51.100.11", 429)
}

func TestThrottlesCanBeTurnedOff(t *testing.T) {
	config := behindProxy(databaseConfig(t))
	config.Throttle = httpapi.Throttle{Register: 1}
	server := start(t, config)
	for range 12 {
		server.mustTryLogin(t, "nobody@example.com", "wrong", someAddress, 401)
	}
	register := func(email string) reply {
		return server.send(t, "POST", "/api/auth/register/", http.Header{"Content-Type": {"application/json"}},
			strings.NewReader(fmt.Sprintf(`{"name":"John Doe","email":%q,"password":"securepassword123"}`, email)))
	}
	for email, status := range map[string]int{"nobody": 400, "john@example.com": 201} {
		if got := register(email); got.status != status {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	for _, email := range []string{"jane@example.com", "john@example.com"} { // not registered, and registered
		if got := register(email); got.status != 429 || got.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
}

// TestManyLoginsAtOnce shows that nothing else waits for passwords that are being
// hashed, however many; that of many guesses at once no more are answered than
// may be; and that right passwords are not taken for guesses.
func TestManyLoginsAtOnce(t *testing.T) {
	config := behindProxy(databaseConfig(t))
	config.HashConcurrency = 2
	server := start(t, config)
	const john, password = "john@example.com", "securepassword123"
	access, _ := server.register(t, "John Doe", john, password)
	for _, burst := range []struct {
		name, email, password string // %d in the e-mail address is a number
		logins                int
		allowed               []int // answers, of which the first must be there
		most                  int   // of the first
	}{
		{"many accounts", "nobody-%d@example.com", "wrong", 200, []int{401, 503}, 200},
		{"one account", "jane@example.com", "wrong", 200, []int{401, 429, 503}, 10},
		{"the right password", john, password, 30, []int{200, 503}, 30},
	} {
		t.Run(burst.name, func(t *testing.T) {
			replies := make(chan reply, burst.logins)
			var all errgroup.Group
			for i := range burst.logins {
				email := strings.ReplaceAll(burst.email, "%d", strconv.Itoa(i))
				all.Go(func() error {
					got, err := server.tryLogin(email, burst.password, someAddress)
					replies <- got
					return err
				})
			}
			var slowest time.Duration
			for len(replies) < burst.logins {
				began := time.Now()
				server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
				server.mustAs(t, access, "GET", "/api/patients/1/", "", 200)
				server.mustAs(t, "", "GET", "/livez", "", 200)
				slowest = max(slowest, time.Since(began))
			}
			if err := all.Wait(); err != nil {
				t.Fatal(err)
			}
			close(replies)
			answered := map[int]int{}
			for got := range replies {
				answered[got.status]++
				if !slices.Contains(burst.allowed, got.status) {
					t.Errorf("%d %s", got.status, got.body)
				}
				if got.status >= 429 && got.header.Get("Retry-After") == "" {
					t.Errorf("%d without Retry-After", got.status)
				}
			}
			if first := answered[burst.allowed[0]]; first < 1 || first > burst.most {
				t.Errorf("answers: %v", answered)
			}
			if slowest > 5*time.Second {
				t.Errorf("three other requests took %v", slowest)
			}
			t.Logf("answers: %v; the slowest of three other requests took %v", answered, slowest)
		})
	}
}
