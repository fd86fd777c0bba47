package httpapi

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// Every route, with and without its final slash: methods and what the answers
// depend on.
func TestRoutes(t *testing.T) {
	const two, three = "Accept", "Accept, Cookie"
	for path, want := range map[string]struct{ allow, vary string }{
		"/":                                {"GET, HEAD, OPTIONS", two},
		"/livez/":                          {"GET, HEAD, OPTIONS", two},
		"/readyz/":                         {"GET, HEAD, OPTIONS", two},
		"/api/auth/register/":              {"POST, OPTIONS", three},
		"/api/auth/login/":                 {"POST, OPTIONS", two},
		"/api/auth/refresh/":               {"POST, OPTIONS", two},
		"/api/patients/":                   {"GET, POST, HEAD, OPTIONS", two},
		"/api/patients/42/":                {"GET, PUT, PATCH, DELETE, HEAD, OPTIONS", two},
		"/api/patients/0042/":              {"GET, PUT, PATCH, DELETE, HEAD, OPTIONS", two},
		"/api/doctors/":                    {"GET, POST, HEAD, OPTIONS", two},
		"/api/doctors/5/":                  {"GET, PUT, PATCH, DELETE, HEAD, OPTIONS", two},
		"/api/patients/mappings/":          {"GET, POST, HEAD, OPTIONS", two},
		"/api/patients/mappings/42/":       {"GET, HEAD, OPTIONS", two},
		"/api/patients/mappings/delete/9/": {"DELETE, OPTIONS", two},

		"/api/docs/":                           {"GET, HEAD, OPTIONS", two},
		"/api/docs/docs.js/":                   {"GET, HEAD, OPTIONS", two},
		"/api/events/schemas/":                 {"GET, HEAD, OPTIONS", two},
		"/api/events/schemas/cloudevent.json/": {"GET, HEAD, OPTIONS", two},
		"/api/events/asyncapi.json/":           {"GET, HEAD, OPTIONS", two},
	} {
		for _, path := range []string{path, strings.TrimSuffix(path, "/")} {
			if path == "" {
				continue
			}
			w := newWorld(t)
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "FOO", "get", "PROPFIND"} {
				answer := w.do(method, path, "")
				allowed := strings.Contains(", "+want.allow+", ", ", "+method+", ")
				if allowed == (answer.Code == 405) || answer.Code == 404 || answer.Code >= 500 {
					t.Errorf("%s %s: %d", method, path, answer.Code)
				}
				if !allowed && method != "HEAD" {
					expect(t, answer, 405, `{"detail":"Method \"`+method+`\" not allowed."}`)
				}
				if h := answer.Header(); h.Get("Allow") != want.allow || h.Get("Vary") != want.vary || len(h["Vary"]) != 1 {
					t.Errorf("%s %s: Allow: %s; Vary: %s", method, path, h["Allow"], h["Vary"])
				}
			}
			expect(t, w.do("OPTIONS", path, ""), 200, w.do("OPTIONS", path+"?x=1", "").Body.String())
		}
	}
}

func TestOptions(t *testing.T) {
	w := newWorld(t)
	expect(t, w.do("OPTIONS", "/api/patients/42/", ""), 200, `{"name":"Patient","description":"","renders":["application/json"],`+
		`"parses":["application/json","application/x-www-form-urlencoded","multipart/form-data"]}`)
	expect(t, w.do("OPTIONS", "/api/patients/42/", "", nobody), 401, unauthenticated)
	if answer := w.do("OPTIONS", "/api/auth/login/", "", "Authorization: Bearer garbage"); answer.Code != 200 {
		t.Errorf("login: %d", answer.Code)
	}
}

func TestUnknownPaths(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"//", "/api", "/api/", "/api/patients//", "//api/patients/", "/api/patients/abc/", "/api/patients/-1/", "/api/patients/+1/", "/api/patients/1.0/",
		"/api/patients/١/", "/api/patients/1/2/", "/api/patients/42/mappings/", "/api/patients/mappings/abc/", "/api/patients/mappings/delete/",
		"/api/patients/mappings/delete/abc/", "/api/patients/mappings/delete/9/9/", "/api/doctors/mappings/", "/api/auth/", "/api/auth/logout/",
		"/API/PATIENTS/", "/api/patients/42/ ", "/api/patients/42\n/", "/api/../api/patients/", "/api/patients/./", "/favicon.ico", "*",
	} {
		for _, method := range []string{"GET", "POST", "OPTIONS", "FOO"} {
			for _, token := range []string{"X-Nothing: 1", nobody, "Authorization: Bearer garbage"} {
				if answer := w.do(method, path, "", token); answer.Code != 404 || answer.Body.String() != `{"detail":"Not found."}` {
					t.Errorf("%s %q: %d %s", method, path, answer.Code, answer.Body)
				}
			}
		}
	}
	if w.queries.calls != 0 {
		t.Errorf("%d queries", w.queries.calls)
	}
}

// An encoded path is the path that it encodes, as in the reference.
func TestEncodedPaths(t *testing.T) {
	w := newWorld(t)
	for target, want := range map[string]int{
		"/api/patients/%34%32/": 200, "/%61pi/doctors/5/": 200, "/api%2Fdoctors%2f5/": 200,
		"/api/patients/%D9%A1/": 404, "/api/patients/1%0A/": 404, "/api/patients/42%00/": 404, "/api/patients/%2534%2532/": 404,
	} {
		r := httptest.NewRequest("GET", target, nil)
		r.Header.Set("Authorization", "Bearer "+w.token(1))
		answer := httptest.NewRecorder()
		w.handler.ServeHTTP(answer, r)
		if answer.Code != want {
			t.Errorf("%s: %d, want %d", target, answer.Code, want)
		}
	}
}

// What a request without credentials, or with a broken body, is told first.
func TestOrderOfChecks(t *testing.T) {
	w := newWorld(t)
	xml := "Content-Type: application/xml"
	for name, test := range map[string]struct {
		request string
		headers []string
		status  int
	}{
		"401 before 405":               {"DELETE /api/patients/ {", []string{nobody}, 401},
		"401 before an unknown method": {"FOO /api/patients/ {", []string{nobody}, 401},
		"401 before 404":               {"GET /api/patients/999/ {", []string{nobody}, 401},
		"401 before 415":               {"POST /api/patients/ {", []string{nobody, xml}, 401},
		"401 before bad JSON":          {"POST /api/patients/ {", []string{nobody}, 401},
		"401 before OPTIONS":           {"OPTIONS /api/patients/ {", []string{nobody}, 401},
		"405 before 404":               {"POST /api/patients/999/ {", nil, 405},
		"405 before 415":               {"PUT /api/patients/ {", []string{xml}, 405},
		"404 before 415, PUT":          {"PUT /api/patients/999/ <a/>", []string{xml}, 404},
		"404 before 415, PATCH":        {"PATCH /api/doctors/999/ <a/>", []string{xml}, 404},
		"404 before bad JSON":          {"PUT /api/patients/999/ {", nil, 404},
		"404 before fields":            {"PUT /api/doctors/999/ {}", nil, 404},
		"401 before preconditions":     {"PUT /api/patients/42/ {", []string{nobody, "If-Match: x", "Idempotency-Key: "}, 401},
		"405 before preconditions":     {"DELETE /api/patients/ {", []string{"If-Match: x", "Idempotency-Key: "}, 405},
		"404 before 412":               {"PUT /api/patients/999/ {", []string{`If-Match: "1"`}, 404},
		"412 before 415":               {"PUT /api/patients/42/ <a/>", []string{xml, `If-Match: "1"`}, 412},
		"412 before bad JSON":          {"PATCH /api/doctors/5/ {", []string{`If-Match: "1"`}, 412},
		"412 before fields":            {"PUT /api/patients/42/ {}", []string{`If-Match: "1"`}, 412},
		"404 beyond 63 bits":           {"PATCH /api/patients/99999999999999999999/ {", nil, 404},
		"415 before JSON":              {"PUT /api/patients/42/ {", []string{xml}, 415},
		"JSON":                         {"PUT /api/patients/42/ {", nil, 400},
		"fields":                       {"PUT /api/patients/42/ {}", nil, 400},
		"DELETE looks at no body":      {"DELETE /api/patients/42/ {", []string{xml}, 204},
	} {
		t.Run(name, func(t *testing.T) {
			parts := strings.SplitN(test.request, " ", 3)
			if answer := w.do(parts[0], parts[1], parts[2], test.headers...); answer.Code != test.status {
				t.Errorf("%s: %d %s", test.request, answer.Code, answer.Body)
			}
		})
	}
}

func TestHead(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/", "/readyz", "/api/patients/", "/api/patients/42/", "/api/patients/43/", "/api/doctors/5", "/nowhere"} {
		get, head := w.do("GET", path, ""), w.do("HEAD", path, "")
		if head.Code != get.Code || head.Body.Len() != 0 {
			t.Errorf("%s: %d with %d bytes", path, head.Code, head.Body.Len())
		}
		for _, name := range []string{"Content-Length", "Content-Type", "Allow", "Vary"} {
			if h, g := head.Header().Get(name), get.Header().Get(name); h != g {
				t.Errorf("%s: %s: %q, for GET %q", path, name, h, g)
			}
		}
	}
}
