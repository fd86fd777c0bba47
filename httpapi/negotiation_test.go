package httpapi

import (
	"net/http/httptest"
	"testing"
)

func TestNegotiation(t *testing.T) {
	const absent = "absent"
	for accept, want := range map[string]bool{
		absent:                            true,
		"*/*":                             true,
		"application/*":                   true,
		"application/json":                true,
		"APPLICATION/JSON":                true,
		" application/json ; q=0.5":       true,
		"application/json;q=0":            true, // as in the reference
		"application/json; indent=4":      true,
		"application/json; charset=utf-8": true,
		"*/json":                          true, // as in the reference
		"text/html, application/json":     true,
		"text/html,application/xml;q=0.9,*/*;q=0.8": true,
		"*":                        false,
		"":                         false,
		",":                        false,
		"text/html":                false,
		"application/xml":          false,
		"application/vnd.api+json": false,
		"application/jsonx":        false,
		"json":                     false,
		"text/*":                   false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if accept != absent {
			r.Header.Set("Accept", accept)
		}
		if err := negotiate(r, nil); (err == nil) != want {
			t.Errorf("Accept: %q: %v", accept, err)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header["Accept"] = []string{"text/html", "application/json"}
	if err := negotiate(r, nil); err != nil {
		t.Errorf("two headers: %v", err)
	}
}

func TestFormatInTheQuery(t *testing.T) {
	for query, want := range map[string]error{
		"":                       nil,
		"format=json":            nil,
		"format=":                nil,
		"page=2":                 nil,
		"format=xml&format=json": nil,
		"format=xml":             notFound,
		"format=api":             notFound,
		"format=JSON":            notFound,
		"format=json&format=xml": notFound,
	} {
		r := httptest.NewRequest("GET", "/?"+query, nil)
		if err := negotiate(r, nil); err != want {
			t.Errorf("%q: %v", query, err)
		}
	}
}

func TestNegotiationComesFirst(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/api/patients/", "/api/auth/login/", "/api/auth/register/", "/api/doctors/77/"} {
		for _, method := range []string{"GET", "POST", "FOO", "OPTIONS"} {
			expect(t, w.do(method, path, "{", nobody, "Accept: text/html"), 406, `{"detail":"Could not satisfy the request Accept header."}`)
			expect(t, w.do(method, path+"?format=xml", "{", nobody), 404, `{"detail":"Not found."}`)
		}
	}
	// Not for people and probes, nor where there is nothing.
	for path, want := range map[string]int{"/": 303, "/livez": 200, "/readyz": 200, "/nowhere/": 404} {
		if answer := w.do("GET", path, "", "Accept: text/html"); answer.Code != want {
			t.Errorf("%s: %d", path, answer.Code)
		}
	}
}
