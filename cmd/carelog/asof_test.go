package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// seen is what the API answered while the log ended at a position.
type seen struct {
	position string
	at       time.Time // after which the next write was sent
	answers  map[string]reply
}

// TestThenIsWhatWasAnsweredThen lets two users write at random, reads everything after each
// write, and at the end asks for the same as of then, by position and by time: the
// answers are the same to the byte.
func TestThenIsWhatWasAnsweredThen(t *testing.T) {
	t.Parallel()
	server := start(t, databaseConfig(t))
	tokens := make([]string, 2)
	for i := range tokens {
		tokens[i], _ = server.register(t, "User", fmt.Sprintf("user%d@example.com", i), oldPassword)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var paths []string
	for _, list := range []string{"/api/patients/", "/api/doctors/", "/api/patients/mappings/"} {
		paths = append(paths, list, list+"?limit=2&offset=1")
	}
	for id := range 6 {
		paths = append(paths, fmt.Sprintf("/api/patients/%d/", id+1), fmt.Sprintf("/api/doctors/%d/", id+1), fmt.Sprintf("/api/patients/mappings/%d/", id+1))
	}
	read := func(suffix string) map[string]reply {
		answers := map[string]reply{}
		for i, token := range tokens {
			for _, path := range paths {
				asked := path
				if suffix != "" {
					separator := "?"
					if strings.Contains(path, "?") {
						separator = "&"
					}
					asked += separator + suffix
				}
				got, err := server.as(token, "GET", asked, "")
				if err != nil {
					t.Fatal(err)
				}
				answers[fmt.Sprintf("user %d: %s", i, path)] = got
			}
		}
		return answers
	}

	var then []seen
	statuses := map[int]int{}
	for range 150 {
		method, path, body := randomWrite(r)
		got, err := server.as(tokens[r.IntN(2)], method, path, body)
		if err != nil {
			t.Fatal(err)
		}
		statuses[got.status]++
		if got.status >= 300 || then != nil && then[len(then)-1].position == got.header.Get("Carelog-Position") {
			continue
		}
		now := seen{position: got.header.Get("Carelog-Position"), answers: read("")}
		now.at = query[time.Time](t, server.program.config.DatabaseURL, "select clock_timestamp()")
		then = append(then, now)
	}
	if len(then) < 50 || statuses[204] < 5 {
		t.Fatalf("too little happened: %v", statuses)
	}
	compare := func(now seen, suffix string) {
		t.Helper()
		for name, got := range read(suffix) {
			want := now.answers[name]
			body := strings.ReplaceAll(string(got.body), suffix+"&", "") // in links
			if got.status != want.status || body != string(want.body) || got.header.Get("ETag") != want.header.Get("ETag") {
				t.Errorf("%s, %s: %d %s\nwas answered %d %s", name, suffix, got.status, got.body, want.status, want.body)
			}
		}
	}
	for _, now := range then {
		compare(now, "as_of="+now.position)
		compare(now, "as_of="+url.QueryEscape(now.at.In(time.FixedZone("", 3600)).Format(time.RFC3339Nano)))
		if t.Failed() {
			return
		}
	}
}

// randomWrite is a change of one of six patients, six doctors and their mappings.
func randomWrite(r *rand.Rand) (method, path, body string) {
	id, name := 1+r.IntN(6), fmt.Sprintf("n%d", r.IntN(1000))
	switch r.IntN(10) {
	case 0, 1:
		return "POST", "/api/patients/", fmt.Sprintf(`{"first_name":%q,"last_name":"L","age":30,"gender":"Other"}`, name)
	case 2, 3:
		return "POST", "/api/doctors/", doctorBody(name, fmt.Sprintf("%s@example.com", name))
	case 4, 5:
		return "POST", "/api/patients/mappings/", fmt.Sprintf(`{"patient":%d,"doctor":%d}`, id, 1+r.IntN(6))
	case 6:
		return "PATCH", fmt.Sprintf("/api/patients/%d/", id), fmt.Sprintf(`{"last_name":%q,"age":%d}`, name, r.IntN(100))
	case 7:
		return "PATCH", fmt.Sprintf("/api/doctors/%d/", id), fmt.Sprintf(`{"phone":%q,"email":%q}`, name, name+"@example.org")
	case 8:
		return "DELETE", fmt.Sprintf("/api/patients/mappings/delete/%d/", id), ""
	}
	if r.IntN(3) > 0 {
		return "PUT", fmt.Sprintf("/api/patients/%d/", id), fmt.Sprintf(`{"first_name":%q,"last_name":"L","age":31,"gender":"Male"}`, name)
	}
	return "DELETE", fmt.Sprintf("/api/%s/%d/", []string{"patients", "doctors"}[r.IntN(2)], id), ""
}

// TestWhenThenIsRefused: what is no moment, and what has not come yet.
func TestWhenThenIsRefused(t *testing.T) {
	server := start(t, databaseConfig(t))
	access, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	created := server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	head := created.header.Get("Carelog-Position")
	beyond, _ := strconv.Atoi(head)
	for asked, want := range map[string]string{
		"yesterday":               `{"as_of":["Give a time like 2026-01-31T13:30:00Z, or a position of the log."]}`,
		"2026-01-31":              `{"as_of":["Give a time like 2026-01-31T13:30:00Z, or a position of the log."]}`,
		"":                        `{"as_of":["Give a time like 2026-01-31T13:30:00Z, or a position of the log."]}`,
		"-1":                      `{"as_of":["Give a time like 2026-01-31T13:30:00Z, or a position of the log."]}`,
		"2999-01-01T0:00Z":        `{"as_of":["Give a time like 2026-01-31T13:30:00Z, or a position of the log."]}`,
		"2999-01-01T00:00:00Z":    `{"as_of":["This time has not come yet."]}`,
		strconv.Itoa(beyond + 1):  `{"as_of":["The log has not come to this position yet."]}`,
		"99999999999999999999999": `{"as_of":["The log has not come to this position yet."]}`,
	} {
		for _, path := range []string{"/api/patients/", "/api/patients/1/", "/api/doctors/", "/api/doctors/1/", "/api/patients/mappings/", "/api/patients/mappings/1/"} {
			got := server.mustAs(t, access, "GET", path+"?as_of="+asked, "", 400)
			if string(got.body) != want {
				t.Errorf("%s as of %q: %s", path, asked, got.body)
			}
		}
	}
	server.mustAs(t, access, "GET", "/api/patients/1/?as_of=0", "", 404)
	server.mustAs(t, access, "GET", "/api/patients/1/?as%5Fof=0", "", 404)
	server.mustAs(t, access, "GET", "/api/patients/1/?as_of=2001-01-01T00:00:00+01:00", "", 404)
	server.mustAs(t, access, "GET", "/api/patients/1/?as_of="+head, "", 200)
	server.mustWith(t, access, "GET", "/api/patients/1/?as_of="+head, "", 304, "If-None-Match: "+created.header.Get("ETag"))

	runSQL(t, server.program.config.DatabaseURL, "update projections.users set active = false")
	for _, path := range []string{"/api/patients/?as_of=yesterday", "/api/patients/1/history/", "/api/patients/1/history/?limit=no"} {
		server.mustAs(t, access, "GET", path, "", 401)
	}
}

// TestHistory follows a patient, a doctor and their mapping of two users.
func TestHistory(t *testing.T) {
	server := start(t, databaseConfig(t))
	john, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	jane, _ := server.register(t, "Jane Roe", "jane@example.com", oldPassword)
	for _, w := range []struct{ token, method, path, body string }{
		{john, "POST", "/api/patients/", somePatient},                             // 3
		{john, "POST", "/api/doctors/", doctorBody("Sarah", "sarah@example.com")}, // 4
		{john, "POST", "/api/patients/mappings/", `{"patient":1,"doctor":1}`},     // 5
		{john, "PATCH", "/api/patients/1/", `{"age":31,"last_name":"Miller"}`},    // 6
		{jane, "PATCH", "/api/doctors/1/", `{"phone":"2"}`},                       // 7
		{john, "DELETE", "/api/doctors/1/", ""},                                   // 8, 9
		{john, "DELETE", "/api/patients/1/", ""},                                  // 10
	} {
		if got, err := server.as(w.token, w.method, w.path, w.body); err != nil || got.status >= 300 {
			t.Fatal(err, got.status, string(got.body))
		}
	}
	lines := func(token, path string) (lines []string, next *int64) {
		t.Helper()
		var page struct {
			Results []struct {
				Position   int64
				ID, Type   string
				Subject    string
				RecordedAt time.Time `json:"recorded_at"`
				Actor      struct {
					ID   int64
					Name *string
				}
				CorrelationID string  `json:"correlation_id"`
				CausationID   *string `json:"causation_id"`
				RequestID     string  `json:"request_id"`
				Changes       json.RawMessage
			}
			Next *int64
		}
		if err := json.Unmarshal(server.mustAs(t, token, "GET", path, "", 200).body, &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Results {
			name := "nobody"
			if e.Actor.Name != nil {
				name = *e.Actor.Name
			}
			if e.ID == "" || e.CorrelationID == "" || e.RequestID == "" || time.Since(e.RecordedAt) > time.Minute {
				t.Errorf("%s: incomplete: %+v", path, e)
			}
			if (e.CausationID != nil) != (e.Position == 9) {
				t.Errorf("%s: position %d is caused by %v", path, e.Position, e.CausationID)
			}
			lines = append(lines, fmt.Sprintf("%d %s %s by %d %s %s", e.Position, e.Type, e.Subject, e.Actor.ID, name, e.Changes))
		}
		return lines, page.Next
	}
	const (
		mapped   = `5 mapping.created mapping/1 by 1 John Doe {"patient":{"old":null,"new":1},"doctor":{"old":null,"new":1}}`
		unmapped = `9 mapping.removed mapping/1 by 1 John Doe {"patient":{"old":1,"new":null},"doctor":{"old":1,"new":null}}`
	)
	patient := []string{
		`3 patient.registered patient/1 by 1 John Doe {"first_name":{"old":null,"new":"Alice"},"last_name":{"old":null,"new":"Smith"},"age":{"old":null,"new":30},"gender":{"old":null,"new":"Female"}}`,
		mapped,
		`6 patient.amended patient/1 by 1 John Doe {"last_name":{"old":"Smith","new":"Miller"},"age":{"old":30,"new":31}}`,
		unmapped,
		`10 patient.removed patient/1 by 1 John Doe {"first_name":{"old":"Alice","new":null},"last_name":{"old":"Miller","new":null},"age":{"old":31,"new":null},"gender":{"old":"Female","new":null}}`,
	}
	expectLines := func(token, path string, want ...string) {
		t.Helper()
		if got, _ := lines(token, path); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", path, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	expectLines(john, "/api/patients/1/history/", patient...)
	expectLines(john, "/api/patients/mappings/history/1/", mapped, unmapped)
	for i := range patient { // page by page
		path := "/api/patients/1/history?limit=1"
		if i > 0 {
			path += "&after=" + strings.Fields(patient[i-1])[0]
		}
		got, next := lines(john, path)
		if len(got) != 1 || got[0] != patient[i] || (next == nil) != (i == len(patient)-1) {
			t.Errorf("%s: %q, next %v", path, got, next)
		}
	}
	if got, next := lines(john, "/api/patients/1/history/?after=10"); len(got) != 0 || next != nil {
		t.Errorf("after the last: %q", got)
	}

	johns, _ := lines(john, "/api/doctors/1/history/")
	janes, _ := lines(jane, "/api/doctors/1/history/")
	if len(johns) != 5 || len(janes) != 3 || johns[1] != mapped || johns[2] != `7 doctor.amended doctor/1 by 2 nobody {"phone":{"old":"+1234567890","new":"2"}}` ||
		janes[1] != `7 doctor.amended doctor/1 by 2 Jane Roe {"phone":{"old":"+1234567890","new":"2"}}` || !strings.HasPrefix(janes[2], "8 doctor.removed doctor/1 by 1 nobody {") {
		t.Errorf("the doctor's history, for John:\n%s\nfor Jane:\n%s", strings.Join(johns, "\n"), strings.Join(janes, "\n"))
	}

	for _, path := range []string{"/api/patients/1/history/", "/api/patients/mappings/history/1/", "/api/doctors/2/history/", "/api/patients/9/history/?after=5",
		"/api/patients/mappings/history/", "/api/patients/x/history/"} {
		server.mustAs(t, jane, "GET", path, "", 404)
	}
	for query, want := range map[string]string{
		"after=x":  `{"after":["A valid integer is required."]}`,
		"after=-1": `{"after":["Ensure this value is greater than or equal to 0."]}`,
		"limit=0":  `{"limit":["Ensure this value is greater than or equal to 1."]}`,
		"limit=":   `{"limit":["A valid integer is required."]}`,
	} {
		if got := server.mustAs(t, john, "GET", "/api/patients/1/history/?"+query, "", 400); string(got.body) != want {
			t.Errorf("%s: %s", query, got.body)
		}
	}
	server.mustAs(t, john, "GET", "/api/patients/1/history/?limit=99999999999999999999", "", 200)
	server.mustAs(t, john, "POST", "/api/patients/1/history/", "{}", 405)
	server.mustAs(t, "", "GET", "/api/patients/1/history/", "", 401)
}
