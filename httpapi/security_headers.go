package httpapi

import "net/http"

// headers of every answer (OWASP ASVS 5.0, 3.4). The policy is that of an API:
// nothing in an answer is to be run, framed or fetched from.
var securityHeaders = []struct {
	name  string
	value []string // shared by all answers, never appended to
}{
	{"X-Content-Type-Options", []string{"nosniff"}},
	{"Referrer-Policy", []string{"no-referrer"}},
	{"X-Frame-Options", []string{"DENY"}},
	{"Content-Security-Policy", []string{"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"}},
	{"Cache-Control", []string{"no-store"}},
}

// strictTransport keeps browsers on HTTPS for a year.
var strictTransport = []string{"max-age=31536000"}

// secure adds the headers that every answer carries. With hsts, or when the
// connection is TLS, browsers are told to stay with HTTPS.
func secure(hsts bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for _, header := range securityHeaders {
			h[header.name] = header.value
		}
		if hsts || r.TLS != nil {
			h["Strict-Transport-Security"] = strictTransport
		}
		next.ServeHTTP(w, r)
	})
}
