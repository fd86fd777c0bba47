package httpapi

import (
	"crypto/tls"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSecurityHeadersAreEverywhere(t *testing.T) {
	w := newWorld(t, withOrigins)
	for _, request := range []string{
		"GET /", "GET /livez", "GET /readyz", "GET /nowhere", "GET /api/patients/", "POST /api/patients/", "DELETE /api/patients/42/",
		"FOO /api/patients/", "OPTIONS /api/patients/", "GET /api/patients/?format=xml", "GET /" + strings.Repeat("x", maxURL),
	} {
		method, path, _ := strings.Cut(request, " ")
		h := w.do(method, path, "", "Origin: "+listed).Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options":    "nosniff",
			"Referrer-Policy":           "no-referrer",
			"X-Frame-Options":           "DENY",
			"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'",
			"Cache-Control":             "no-store",
			"Strict-Transport-Security": "",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%.40s: %s: %q", request, name, got)
			}
		}
		if h.Get("X-Request-Id") == "" {
			t.Errorf("%.40s: no X-Request-Id", request)
		}
	}
}

func TestStrictTransportSecurity(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("GET", "/", nil)
	r.TLS = &tls.ConnectionState{}
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	if got := answer.Header().Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("over TLS: %q", got)
	}
	w = newWorld(t, func(c *Config) { c.HSTS = true })
	if got := w.do("GET", "/", "").Header().Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("behind TLS: %q", got)
	}
}
