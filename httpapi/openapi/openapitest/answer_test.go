package openapitest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const (
	goodPatient = `{"id":1,"first_name":"Alice","last_name":"Smith","age":30,"gender":"Female","created_at":"2025-09-01T23:35:09.123456Z","added_by":1}`
	goodEvent   = `{"specversion":"1.0","id":"01a21594-51e3-71f9-9eed-4281a79ebb1c","source":"/carelog/logs/1","type":"carelog.doctor.removed.v1",` +
		`"time":"2025-09-01T23:35:09.123456Z","datacontenttype":"application/json","dataschema":"urn:x","position":"6","data":{"doctor_id":1}}`
)

// TestWrongAnswersAreFound is what makes the other tests' silence worth something.
func TestWrongAnswersAreFound(t *testing.T) {
	document, err := Carelog()
	if err != nil {
		t.Fatal(err)
	}
	changed := Answer{Method: "PATCH", Path: "/api/patients/1/", Status: 200, Body: []byte(goodPatient), Header: http.Header{
		"Content-Type": {"application/json"}, "Content-Length": {"9"}, "Date": {"now"}, "Vary": {"Accept"},
		"Etag": {`"5"`}, "Carelog-Position": {"5"}, "X-Request-Id": {"r-1"},
	}}
	stream := Answer{Method: "GET", Path: "/api/events", Status: 200, Header: http.Header{"Content-Type": {"text/event-stream"}},
		Body: []byte("retry: 1000\n\nid: 6\ndata: " + goodEvent + "\n\n: still there\n\nevent: end\ndata: {\"reason\":\"stopping\",\"detail\":\"x\"}\n\n")}
	lines := Answer{Method: "GET", Path: "/api/events/", Status: 200, Header: http.Header{"Content-Type": {"application/x-ndjson"}}, Body: []byte(goodEvent + "\n")}
	unknown := Answer{Method: "GET", Path: "/nowhere/", Status: 404, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"detail":"Not found."}`)}
	metadata := Answer{Method: "OPTIONS", Path: "/api/patients/mappings/", Status: 200, Header: http.Header{"Content-Type": {"application/json"}, "Allow": {"GET"}},
		Body: []byte(`{"name":"Mappings","description":"","renders":[],"parses":[]}`)}
	for name, c := range map[string]struct {
		of   Answer
		with func(*Answer)
		want string // in the error; empty for none
	}{
		"a change":            {changed, func(*Answer) {}, ""},
		"pending":             {changed, setHeader("Carelog-Projected", "pending"), ""},
		"a stream":            {stream, func(*Answer) {}, ""},
		"a stream that broke": {stream, func(a *Answer) { a.Body, a.IsCut = append(a.Body, "data: {"...), true }, ""},
		"lines":               {lines, func(*Answer) {}, ""},
		"no path":             {unknown, func(*Answer) {}, ""},
		"no patient":          {unknown, to("GET", "/api/patients/7"), ""},
		"OPTIONS":             {metadata, func(*Answer) {}, ""},
		"HEAD":                {changed, func(a *Answer) { a.Method, a.Body = "HEAD", nil; a.Header.Del("Carelog-Position") }, ""},

		"another status":         {changed, func(a *Answer) { a.Status = 202 }, "amendPatient (PATCH /api/patients/{id}/) answered 202"},
		"another header":         {changed, setHeader("X-Powered-By", "Go"), "header X-Powered-By is not described"},
		"a header missing":       {changed, setHeader("ETag", ""), "header Etag is missing"},
		"a header twice":         {changed, func(a *Answer) { a.Header.Add("ETag", `"5"`) }, "2 times"},
		"a header that is wrong": {changed, setHeader("Carelog-Position", "soon"), "header Carelog-Position"},
		"a header out of range":  {changed, setHeader("Carelog-Position", "0"), "minimum"},
		"a header of another":    {unknown, setHeader("ETag", `"5"`), "header Etag is not described"},
		"another media type":     {changed, setHeader("Content-Type", "text/html"), "content type text/html is not described"},
		"no body":                {changed, func(a *Answer) { a.Body = nil; a.Header.Del("Content-Type") }, "it has no body"},
		"HEAD with a body":       {changed, func(a *Answer) { a.Method = "HEAD"; a.Header.Del("Carelog-Position") }, "HEAD has a body"},
		"no JSON":                {changed, setBody(`{"id":1`), "is not JSON"},
		"two JSON texts":         {changed, setBody(goodPatient + "1"), "is not JSON"},
		"a field missing":        {changed, replace(`"age":30,`, ""), "missing property 'age'"},
		"a field too many":       {changed, replace(`"age":30,`, `"age":30,"ssn":"1",`), "'ssn' not allowed"},
		"another type":           {changed, replace(`"age":30`, `"age":"30"`), "got string, want integer"},
		"a time without zone":    {changed, replace(`09.123456Z`, `09.123456`), "date-time"},
		"a time too short":       {changed, replace(`09.123456Z`, `09Z`), "pattern"},
		"a stream's event":       {stream, replace(`"position":"6"`, `"position":6`), "/position"},
		"a stream's end":         {stream, replace(`stopping`, `tired`), "/reason"},
		"a line":                 {lines, replace(`"specversion":"1.0",`, ``), "specversion"},
		"a path that is none":    {unknown, func(a *Answer) { a.Status = 200 }, "no path"},
		"a text for an id":       {unknown, to("GET", "/api/patients/mappings/x/"), ""},
		"served, not described":  {changed, to("PATCH", "/api/patients/x/"), "no path"},
		"a method that is none":  {changed, to("POST", "/api/patients/1/"), "no method (POST every path) answered 200"},
		"OPTIONS without Allow":  {metadata, setHeader("Allow", ""), "header Allow is missing"},
		"a field error":          {unknown, func(a *Answer) { a.Path, a.Status, a.Body = "/api/patients/", 400, []byte(`{"age":"wrong"}`) }, "want array"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := c.of
			answer.Header, answer.Body = c.of.Header.Clone(), slices.Clone(c.of.Body)
			c.with(&answer)
			err := document.Check(answer)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func setHeader(name, value string) func(*Answer) {
	return func(a *Answer) {
		if value == "" {
			a.Header.Del(name)
			return
		}
		a.Header.Set(name, value)
	}
}

func to(method, path string) func(*Answer) {
	return func(a *Answer) { a.Method, a.Path = method, path }
}

func setBody(text string) func(*Answer) { return func(a *Answer) { a.Body = []byte(text) } }

func replace(old, new string) func(*Answer) {
	return func(a *Answer) { a.Body = []byte(strings.Replace(string(a.Body), old, new, 1)) }
}

// A path without variables goes before one with, in whatever order they are described.
func TestLiteralPathsComeFirst(t *testing.T) {
	document, err := Carelog()
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{
		"GET /api/patients/mappings/": "listMappings", "GET /api/patients/mappings/7": "listMappingsOfPatient", "GET /api/patients/7/": "getPatient",
		"DELETE /api/patients/mappings/delete/7/": "unmapDoctor", "GET /": "getWelcome", "HEAD /livez/": "getLiveness", "GET /api/events/asyncapi.json": "getAsyncAPI",
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := document.find(method, path).ID; got != want {
			t.Errorf("%s is %s, want %s", request, got, want)
		}
	}
}

// watched is a test that is expected to fail.
type watched struct {
	testing.TB
	cleanup func()
	errors  []any
}

func (w *watched) Helper()           {}
func (w *watched) Cleanup(f func())  { w.cleanup = f }
func (w *watched) Error(args ...any) { w.errors = append(w.errors, args...) }

// A test whose server gives a wrong answer fails at its end, once for all that are the
// same, on either side of the connection.
func TestWrongAnswersFailTheTest(t *testing.T) {
	alive := `{"live":true}`
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, alive)
	})
	behind, before := &watched{TB: t}, &watched{TB: t}
	server := httptest.NewServer(Handler(behind, handler))
	defer server.Close()
	client := &http.Client{Transport: Transport(before, server.Client().Transport)}
	defer client.CloseIdleConnections()
	ask := func() {
		answer, err := client.Get(server.URL + "/livez")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	alive = `{"live":false}`
	ask()
	ask()
	for _, w := range []*watched{behind, before} {
		w.cleanup()
		if len(w.errors) != 1 || !strings.Contains(w.errors[0].(string), "getLiveness (GET /livez) answered 200") {
			t.Errorf("%v", w.errors)
		}
	}
	ask() // after the end: nobody is told
	if len(before.errors) != 1 || len(behind.errors) != 1 {
		t.Errorf("%v %v", before.errors, behind.errors)
	}
}

// What breaks off is held against the document as far as it came, and a handler can
// still reach the connection.
func TestStreamsPass(t *testing.T) {
	w := &watched{TB: t}
	server := httptest.NewServer(Handler(w, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = io.WriteString(w, goodEvent+"\n{\"spec")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})))
	defer server.Close()
	client := &http.Client{Transport: Transport(w, server.Client().Transport)}
	defer client.CloseIdleConnections()
	answer, err := client.Get(server.URL + "/api/events/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(answer.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	answer.Body.Close()
	w.cleanup()
	if len(w.errors) != 0 {
		t.Error(w.errors...)
	}
}
