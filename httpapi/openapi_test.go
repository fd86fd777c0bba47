package httpapi

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/httpapi/openapi/openapitest"
)

func described(t *testing.T) []openapitest.Operation {
	t.Helper()
	document, err := openapitest.Carelog()
	if err != nil {
		t.Fatal(err)
	}
	return document.Operations()
}

var pathVariable = regexp.MustCompile(`\{[^}]*\}`)

// asRequest writes an operation so that the table of routes and the document agree:
// slashes at the end make no difference, nor do the names of variables.
func asRequest(method, path string) string {
	return method + " " + pathVariable.ReplaceAllString(strings.TrimSuffix(path, "/"), "{}")
}

// allRoutes are those of an API that has everything that can be configured.
func allRoutes() []route { return (&api{scrape: http.NotFoundHandler()}).routes() }

// undescribed are the requests that are served and not described; unserved are those
// that are described and not served.
func undescribed(routes []route, operations []openapitest.Operation) (undescribed, unserved []string) {
	served, told := map[string]bool{}, map[string]bool{}
	for _, o := range operations {
		told[asRequest(o.Method, o.Path)] = true
	}
	for _, rt := range routes {
		for method := range rt.methods {
			request := asRequest(method, rt.pattern)
			served[request] = true
			if !told[request] {
				undescribed = append(undescribed, request)
			}
		}
	}
	for request := range told {
		if !served[request] {
			unserved = append(unserved, request)
		}
	}
	return undescribed, unserved
}

// What is served is described in httpapi/openapi/openapi.yaml, and the other way round.
func TestEveryRouteIsDescribed(t *testing.T) {
	routes, operations := allRoutes(), described(t)
	missing, tooMany := undescribed(routes, operations)
	if len(missing) > 0 || len(tooMany) > 0 {
		t.Errorf("served and not described: %v; described and not served: %v", missing, tooMany)
	}

	more := append(slices.Clone(routes), route{"/api/nurses/{id}/", "Nurse", tokenRequired, methods{"GET": nil}})
	if missing, tooMany := undescribed(more, operations); !slices.Equal(missing, []string{"GET /api/nurses/{}"}) || len(tooMany) > 0 {
		t.Errorf("a new route: %v, %v", missing, tooMany)
	}
	if missing, tooMany := undescribed(routes, operations[1:]); !slices.Equal(missing, []string{asRequest(operations[0].Method, operations[0].Path)}) || len(tooMany) > 0 {
		t.Errorf("one operation less: %v, %v", missing, tooMany)
	}
	if missing, tooMany := undescribed(routes[1:], operations); len(missing) > 0 || !slices.Equal(tooMany, []string{asRequest("GET", routes[0].pattern)}) {
		t.Errorf("one route less: %v, %v", missing, tooMany)
	}
}

func TestWhatNeedsATokenIsDescribed(t *testing.T) {
	needs := map[string]bool{}
	for _, rt := range allRoutes() {
		for method := range rt.methods {
			needs[asRequest(method, rt.pattern)] = rt.access >= tokenRequired
		}
	}
	for _, o := range described(t) {
		if o.NeedsToken != needs[asRequest(o.Method, o.Path)] {
			t.Errorf("%s: described is %v", o.ID, o.NeedsToken)
		}
	}
}

// A refusal that can happen to an operation is described with it, and no other is.
func TestEveryRefusalIsDescribed(t *testing.T) {
	for _, refusal := range []struct {
		status              int
		query, body, header string
		but                 []string // operations that have this status for a reason of their own
	}{
		{status: http.StatusNotModified, header: "If-None-Match: *"},
		{status: http.StatusUnauthorized, header: "Authorization: Bearer a b", but: []string{"logIn", "refreshTokens"}},
		{status: http.StatusForbidden}, // to user 1, who has no role, about user 2
		{status: http.StatusNotFound, query: "?format=xml", but: []string{"getEventSchema", "getFileOfAPIPage"}},
		{status: http.StatusNotAcceptable, header: "Accept: text/html"},
		{status: http.StatusRequestEntityTooLarge, body: strings.Repeat(" ", maxBody+1)},
		{status: http.StatusRequestURITooLong, query: "?" + strings.Repeat("x", maxURL)},
		{status: http.StatusUnsupportedMediaType, body: "<a/>", header: "Content-Type: application/xml"},
	} {
		for _, o := range described(t) {
			if slices.Contains(refusal.but, o.ID) {
				continue
			}
			w := newWorld(t)
			id := "42"
			switch {
			case strings.HasPrefix(o.Path, "/api/doctors/"):
				id = "5"
			case strings.HasPrefix(o.Path, "/api/users/"):
				id = "2"
				if refusal.status != http.StatusForbidden {
					w.queries.roles = map[int64][]events.Role{1: {events.Admin, events.Auditor}}
				}
			}
			path := strings.NewReplacer("schemas/{file}", "schemas/cloudevent.json", "docs/{file}", "docs/docs.js").Replace(o.Path)
			headers := slices.DeleteFunc([]string{refusal.header}, func(h string) bool { return h == "" })
			got := w.do(o.Method, pathVariable.ReplaceAllString(path, id)+refusal.query, refusal.body, headers...).Code
			if (got == refusal.status) != o.Describes(refusal.status) {
				t.Errorf("%s: answered %d; %d is described: %v", o.ID, got, refusal.status, o.Describes(refusal.status))
			}
		}
	}
}

// The document is served as the others are, to everybody.
func TestOpenAPIIsServed(t *testing.T) {
	w := newWorld(t)
	for path, c := range map[string]struct{ contentType, file string }{
		"/api/openapi.json": {"application/json", "openapi/openapi.json"},
		"/api/openapi.yaml": {"application/yaml", "openapi/openapi.yaml"},
	} {
		file, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{path, path + "/"} {
			answer := w.do("GET", path, "", nobody, "Accept: text/html")
			expect(t, answer, 200, string(file))
			tag := answer.Header().Get("ETag")
			if h := answer.Header(); h.Get("Content-Type") != c.contentType || h.Get("Cache-Control") != "public, no-cache" || tag == "" {
				t.Errorf("%s: %v", path, h)
			}
			expect(t, w.do("GET", path, "", nobody, "If-None-Match: "+tag), 304, "")
			expect(t, w.do("HEAD", path, "", nobody), 200, "")
		}
	}
}
