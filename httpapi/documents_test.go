package httpapi

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carelog/carelog/events"
)

// Everybody gets the files as they are, with and without a token, whatever they accept.
func TestSchemas(t *testing.T) {
	w := newWorld(t)
	files, err := filepath.Glob("../events/schema/schemas/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, "../events/schema/asyncapi.json") {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		target, contentType, cache := "/api/events/schemas/"+filepath.Base(file), "application/schema+json", "public, max-age=3600"
		if filepath.Base(file) == "asyncapi.json" {
			target, contentType, cache = "/api/events/asyncapi.json", "application/json", "public, no-cache"
		}
		for _, header := range []string{nobody, "Authorization: Bearer garbage", "Accept: text/html"} {
			for _, target := range []string{target, target + "/"} {
				answer := w.do("GET", target, "", header)
				expect(t, answer, 200, string(want))
				if h := answer.Header(); h.Get("Content-Type") != contentType || h.Get("Cache-Control") != cache {
					t.Errorf("%s: %v", target, h)
				}
			}
		}
	}
	if w.queries.calls != 0 {
		t.Errorf("%d queries", w.queries.calls)
	}
}

func TestIndexOfSchemas(t *testing.T) {
	w := newWorld(t)
	answer := w.do("GET", "/api/events/schemas/", "", nobody)
	var index struct {
		AsyncAPI string
		Schemas  []struct{ ID, URL string }
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &index); err != nil || answer.Code != 200 || answer.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %s", answer.Code, answer.Header(), answer.Body)
	}
	urls := map[string]string{}
	for _, s := range index.Schemas {
		urls[s.ID] = s.URL
		body := w.do("GET", s.URL, "", nobody).Body.String()
		if !strings.Contains(body, `"$id": "`+s.ID+`"`) {
			t.Errorf("%s is not at %s", s.ID, s.URL)
		}
	}
	if index.AsyncAPI != "/api/events/asyncapi.json" || urls["urn:carelog:schema:patient.registered:v1"] != "/api/events/schemas/patient.registered.v1.json" ||
		len(urls) <= len(events.NewRegistry().Types()) {
		t.Errorf("%s", answer.Body)
	}
}

func TestSchemasThatAreNone(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"patient.registered.v2.json", "patient.registered", "asyncapi.json", "published.json", "../asyncapi.json", "a/b.json", "/", "."} {
		for _, method := range []string{"GET", "HEAD"} {
			answer := w.do(method, "/api/events/schemas/"+name, "", nobody)
			if answer.Code != 404 || answer.Header().Get("Cache-Control") != "no-store" || answer.Header().Get("Content-Type") != "application/json" ||
				method == "GET" && answer.Body.String() != `{"detail":"Not found."}` {
				t.Errorf("%s: %d %v %s", name, answer.Code, answer.Header(), answer.Body)
			}
		}
	}
}

func TestSchemasAreNotSentTwice(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	for _, target := range []string{"/api/events/schemas/", "/api/events/schemas/cloudevent.json", "/api/events/asyncapi.json"} {
		first := w.do("GET", target, "", nobody)
		tag := first.Header().Get("ETag")
		if !strings.HasPrefix(tag, `"`) || seen[tag] {
			t.Fatalf("%s: ETag %s", target, tag)
		}
		seen[tag] = true
		again := w.do("GET", target, "", nobody, "If-None-Match: "+tag)
		expect(t, again, 304, "")
		if again.Header().Get("ETag") != tag || again.Header().Get("Cache-Control") != first.Header().Get("Cache-Control") {
			t.Errorf("%s: %v", target, again.Header())
		}
		expect(t, w.do("GET", target, "", nobody, `If-None-Match: "other"`), 200, first.Body.String())
	}
}

// Over a connection HEAD has the headers of GET, and no body.
func TestHeadOfASchema(t *testing.T) {
	server := httptest.NewServer(newWorld(t).handler)
	defer server.Close()
	answer, err := server.Client().Head(server.URL + "/api/events/schemas/cloudevent.json")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	file, err := os.Stat("../events/schema/schemas/cloudevent.json")
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 200 || answer.ContentLength != file.Size() || answer.Header.Get("Content-Type") != "application/schema+json" {
		t.Errorf("%d %v", answer.StatusCode, answer.Header)
	}
}
