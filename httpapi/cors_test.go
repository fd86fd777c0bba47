package httpapi

import (
	"strings"
	"testing"
)

const listed = "https://app.example.com"

func withOrigins(c *Config) { c.AllowedOrigins = []string{listed, "http://localhost:3000"} }

func TestCrossOriginRequests(t *testing.T) {
	for origin, allowed := range map[string]bool{
		listed:                               true,
		"http://localhost:3000":              true,
		"https://evil.example":               false,
		"https://app.example.com.evil.io":    false,
		"http://app.example.com":             false,
		"https://APP.example.com":            false,
		"https://app.example.com:444":        false,
		"null":                               false,
		"*":                                  false,
		"https://app.example.com, https://x": false,
	} {
		w := newWorld(t, withOrigins)
		for _, path := range []string{"/api/patients/42/", "/api/patients/999/", "/nowhere/"} {
			answer := w.do("GET", path, "", "Origin: "+origin)
			h := answer.Header()
			if got := h.Get("Access-Control-Allow-Origin"); got != "" && got != origin || (got != "") != allowed {
				t.Errorf("%s: Access-Control-Allow-Origin: %q", origin, got)
			}
			if h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s: credentials", origin)
			}
			if !strings.HasSuffix(strings.Join(h["Vary"], ", "), "Origin") || len(h["Vary"]) != 1 {
				t.Errorf("Vary: %q", h["Vary"])
			}
			if exposed := h.Get("Access-Control-Expose-Headers"); allowed && !(strings.Contains(exposed, "Carelog-Position, Carelog-Projected") && strings.Contains(exposed, "Etag")) {
				t.Errorf("exposed: %q", h.Get("Access-Control-Expose-Headers"))
			}
		}
		// An error has the headers too, or a browser would hide it.
		if got := w.do("GET", "/api/patients/", "", nobody, "Origin: "+origin).Header().Get("Access-Control-Allow-Origin"); (got != "") != allowed {
			t.Errorf("%s: 401 with %q", origin, got)
		}
	}
}

func TestPreflights(t *testing.T) {
	w := newWorld(t, withOrigins)
	preflight := func(path, origin, method, headers string) (int, string) {
		answer := w.do("OPTIONS", path, "", nobody, "Origin: "+origin, "Access-Control-Request-Method: "+method, "Access-Control-Request-Headers: "+headers)
		if answer.Body.Len() > 0 {
			t.Errorf("a preflight was answered with %s", answer.Body)
		}
		return answer.Code, answer.Header().Get("Access-Control-Allow-Origin")
	}
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		for _, path := range []string{"/api/patients/42/", "/nowhere/"} { // before routes and authentication
			if status, origin := preflight(path, listed, method, "authorization,content-type,idempotency-key,if-match,if-none-match,last-event-id,carelog-min-position"); status != 200 || origin != listed {
				t.Errorf("%s %s: %d, %q", method, path, status, origin)
			}
		}
	}
	for name, test := range map[string][3]string{
		"another origin":  {"https://evil.example", "GET", ""},
		"another method":  {listed, "TRACE", ""},
		"another header":  {listed, "GET", "cookie"},
		"the null origin": {"null", "GET", ""},
	} {
		if _, origin := preflight("/api/patients/", test[0], test[1], test[2]); origin != "" {
			t.Errorf("%s: allowed for %q", name, origin)
		}
	}
	if answer := w.do("OPTIONS", "/api/patients/", "", nobody, "Origin: "+listed); answer.Code != 401 {
		t.Errorf("OPTIONS that is no preflight: %d", answer.Code)
	}
}

func TestCrossOriginIsOffByDefault(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"GET", "OPTIONS"} {
		answer := w.do(method, "/api/patients/", "", nobody, "Origin: "+listed, "Access-Control-Request-Method: GET")
		if answer.Code != 401 || answer.Header().Get("Vary") != "Accept" {
			t.Errorf("%s: %d, Vary: %q", method, answer.Code, answer.Header()["Vary"])
		}
		for name := range answer.Header() {
			if strings.HasPrefix(name, "Access-Control") {
				t.Errorf("%s: %s", method, name)
			}
		}
	}
}
