package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	sdk "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"
)

// wired is what a test looks at of a CloudEvent.
type wired struct {
	ID, Type, Subject, Position, Actor string
	Data                               json.RawMessage
}

// mustBeCloudEvent by the official SDK.
func mustBeCloudEvent(t testing.TB, text []byte) {
	t.Helper()
	var e sdk.Event
	if err := errors.Join(json.Unmarshal(text, &e), e.Validate()); err != nil {
		t.Errorf("no CloudEvent: %s: %v", text, err)
	}
}

func (w wired) String() string { return fmt.Sprintf("%s %s %s", w.Position, w.Type, w.Subject) }

func parseWired(t testing.TB, text string) wired {
	t.Helper()
	var w wired
	if err := json.Unmarshal([]byte(text), &w); err != nil || w.ID == "" || w.Data == nil {
		t.Errorf("no CloudEvent: %s (%v)", text, err)
	}
	mustBeCloudEvent(t, []byte(text))
	return w
}

// eventsPage asks for a page of events.
func eventsPage(t testing.TB, server *running, token, query string) (found []string, next, head int64) {
	t.Helper()
	var page struct {
		Results    []json.RawMessage
		Next, Head int64
	}
	if err := json.Unmarshal(server.mustAs(t, token, "GET", "/api/events/"+query, "", 200).body, &page); err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Results {
		found = append(found, parseWired(t, string(r)).String())
	}
	return found, page.Next, page.Head
}

// TestEventsOverHTTP: who sees which events, in pages and in lines.
func TestEventsOverHTTP(t *testing.T) {
	server := start(t, databaseConfig(t))
	john, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	jane, _ := server.register(t, "Jane Roe", "jane@example.com", oldPassword)
	for _, w := range []struct{ token, method, path, body string }{
		{john, "POST", "/api/patients/", somePatient},                             // 3
		{john, "POST", "/api/doctors/", doctorBody("Sarah", "sarah@example.com")}, // 4
		{john, "POST", "/api/patients/mappings/", `{"patient":1,"doctor":1}`},     // 5
		{jane, "POST", "/api/patients/", somePatient},                             // 6
		{jane, "POST", "/api/patients/mappings/", `{"patient":2,"doctor":1}`},     // 7
		{john, "DELETE", "/api/doctors/1/", ""},                                   // 8, 9, 10
	} {
		if got, err := server.as(w.token, w.method, w.path, w.body); err != nil || got.status >= 300 {
			t.Fatal(err, got.status, string(got.body))
		}
	}
	const (
		p1, d1, m1        = "3 carelog.patient.registered.v1 patient/1", "4 carelog.doctor.registered.v1 doctor/1", "5 carelog.mapping.created.v1 mapping/1"
		p2, m2            = "6 carelog.patient.registered.v1 patient/2", "7 carelog.mapping.created.v1 mapping/2"
		d1off, off1, off2 = "8 carelog.doctor.removed.v1 doctor/1", "9 carelog.mapping.removed.v1 mapping/1", "10 carelog.mapping.removed.v1 mapping/2"
	)
	for _, c := range []struct {
		token, query string
		want         []string
		next         int64
	}{
		{john, "", []string{p1, d1, m1, d1off, off1}, 10},
		{jane, "", []string{d1, p2, m2, d1off, off2}, 10},
		{john, "?limit=2", []string{p1, d1}, 4},
		{john, "?limit=2&after=4", []string{m1, d1off}, 8},
		{john, "?limit=2&after=8", []string{off1}, 10},
		{john, "?after=10", nil, 10},
		{john, "?types=mapping.created,doctor.removed", []string{m1, d1off}, 10},
		{john, "?tags=doctor:1", []string{d1, m1, d1off, off1}, 10},
		{john, "?tags=doctor:1,patient:1&types=mapping.removed", []string{off1}, 10},
		{john, "?tags=patient:2", nil, 10},
		{john, "?tags=user:1", nil, 10},
	} {
		if got, next, head := eventsPage(t, server, c.token, c.query); !slices.Equal(got, c.want) || next != c.next || head != 10 {
			t.Errorf("%q: %q, next %d, head %d", c.query, got, next, head)
		}
	}
	lines := server.mustWith(t, john, "GET", "/api/events/?after=3", "", 200, "Accept: application/x-ndjson")
	if n := strings.Count(string(lines.body), "\n"); n != 4 || lines.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%d lines: %s", n, lines.body)
	}
	for line := range strings.Lines(string(lines.body)) {
		parseWired(t, line)
	}
	if got := server.mustWith(t, john, "GET", "/api/events/?limit=1", "", 200, "Accept: application/x-ndjson"); strings.Count(string(got.body), "\n") != 1 {
		t.Errorf("one line: %s", got.body)
	}
	for query, want := range map[string]string{
		"after=x":                     `{"after":["A valid integer is required."]}`,
		"limit=0":                     `{"limit":["Ensure this value is greater than or equal to 1."]}`,
		"type=patient.removed":        `{"detail":"There is no parameter \"type\"; there are after, after_id, types, tags, limit, ticket, format."}`,
		"tags=patient:1&tags=owner:1": `{"tags":["Give this once, with commas between several."]}`,
		"types=patient.healed":        `{"types":["\"patient.healed\" is not a type of events, as patient.registered is."]}`,
		"types=":                      `{"types":["\"\" is not a type of events, as patient.registered is."]}`,
		"tags=" + strings.Repeat("patient:1,", 8) + "patient:1": `{"tags":["Ensure there are no more than 8 tags."]}`,
		"tags=patient": `{"tags":["Give tags like patient:42."]}`,
	} {
		if got := server.mustAs(t, john, "GET", "/api/events/?"+query, "", 400); string(got.body) != want {
			t.Errorf("%s: %s", query, got.body)
		}
	}
	server.mustWith(t, john, "GET", "/api/events/", "", 400, "Last-Event-ID: x")
	server.mustWith(t, john, "GET", "/api/events/?limit=5", "", 400, "Accept: text/event-stream")
	server.mustWith(t, john, "GET", "/api/events/", "", 406, "Accept: text/html")
	server.mustWith(t, john, "GET", "/api/patients/", "", 406, "Accept: text/event-stream")
	server.mustAs(t, john, "POST", "/api/events/", "{}", 405)
	server.mustAs(t, "", "GET", "/api/events/", "", 401)
	for _, accept := range []string{"text/event-stream", "application/x-ndjson"} { // nothing is waited for
		server.mustWith(t, john, "HEAD", "/api/events/", "", 200, "Accept: "+accept)
	}
}

// TestAcceptOfEvents: the form that is worth most to the client.
func TestAcceptOfEvents(t *testing.T) {
	t.Parallel()
	server := start(t, databaseConfig(t))
	john, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	for accept, want := range map[string]string{
		"application/x-ndjson, application/json;q=0.5":            "application/x-ndjson",
		"application/x-ndjson;q=0.5, application/json":            "application/json",
		"application/x-ndjson, */*":                               "application/x-ndjson",
		"text/event-stream;q=0, application/json":                 "application/json",
		"text/event-stream;q=0.4, application/x-ndjson;q=0.6":     "application/x-ndjson",
		"application/json, application/x-ndjson":                  "application/x-ndjson",
		"text/event-stream;q=0, application/x-ndjson;q=0.001":     "application/x-ndjson",
		"TEXT/EVENT-STREAM ; Q=0.1 , Application/X-NDJSON ; q=.9": "application/x-ndjson",
	} {
		if got := server.mustWith(t, john, "HEAD", "/api/events/", "", 200, "Accept: "+accept).header.Get("Content-Type"); got != want {
			t.Errorf("%s: %s", accept, got)
		}
	}
	server.mustWith(t, john, "GET", "/api/events/", "", 406, "Accept: text/event-stream;q=0")
}

// TestGoingOnAfterAnEvent: in each form the log is asked whether it has the event there.
func TestGoingOnAfterAnEvent(t *testing.T) {
	t.Parallel()
	server := start(t, databaseConfig(t))
	john, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	jane, _ := server.register(t, "Jane Roe", "jane@example.com", oldPassword)
	for _, token := range []string{john, jane, john} {
		server.mustAs(t, token, "POST", "/api/patients/", somePatient, 201)
	}
	type page struct {
		Results    []wired
		Next, Head int
		NextID     string `json:"next_id"`
	}
	ask := func(query string) (p page) {
		t.Helper()
		if err := json.Unmarshal(server.mustAs(t, john, "GET", "/api/events/"+query, "", 200).body, &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := ask("?limit=1") // 3, as 1 and 2 are users
	if first.Next != 3 || first.NextID != first.Results[0].ID {
		t.Errorf("a page that is full: %+v", first)
	}
	all := ask("")
	if all.Next != 5 || all.NextID != all.Results[1].ID {
		t.Errorf("to the end: %+v", all)
	}
	others := ask("?tags=patient:1") // next is at an event that was not asked for
	if others.Next != 5 || others.NextID != all.NextID || len(others.Results) != 1 {
		t.Errorf("to the end: %+v", others)
	}
	again := ask("?after=5&after_id=" + all.NextID)
	if again.Next != 5 || again.NextID != all.NextID || len(again.Results) != 0 {
		t.Errorf("nothing new: %+v", again)
	}
	if rest := ask("?after=3&after_id=" + first.NextID); len(rest.Results) != 1 {
		t.Errorf("after the first: %+v", rest)
	}
	for _, accept := range []string{"application/json", "application/x-ndjson", "text/event-stream"} {
		for query, status := range map[string]int{
			"after=3&after_id=" + all.NextID: 409, "after=4&after_id=" + all.NextID: 409, "after=6": 409, "after=6&after_id=" + all.NextID: 409,
			"after_id=" + all.NextID: 400, "after=3&after_id=3": 400,
		} {
			got := server.mustWith(t, john, "GET", "/api/events/?"+query, "", status, "Accept: "+accept)
			if status == 409 && !strings.Contains(string(got.body), `"code":"went_back","source":"/carelog/logs/`) {
				t.Errorf("%s: %s", query, got.body)
			}
		}
	}
	resumed, err := follow(t.Context(), server, john, "?after=3&after_id="+uuid.NewString(), "4") // as a browser resumes
	if err != nil || resumed.status != 200 {
		t.Fatal(err, resumed.status)
	}
	defer resumed.body.Close()
	if id, _, _, err := resumed.next(); id != "5" {
		t.Error(id, err)
	}
}
