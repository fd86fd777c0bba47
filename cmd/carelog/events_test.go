package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
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
		"after=x":              `{"after":["A valid integer is required."]}`,
		"limit=0":              `{"limit":["Ensure this value is greater than or equal to 1."]}`,
		"types=patient.healed": `{"types":["\"patient.healed\" is not a type of events, as patient.registered is."]}`,
		"types=":               `{"types":["\"\" is not a type of events, as patient.registered is."]}`,
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

// stream follows events until it is closed.
type stream struct {
	body   io.ReadCloser
	lines  *bufio.Scanner
	status int
	type_  string
}

func follow(ctx context.Context, server *running, token, query, last string) (*stream, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", server.url+"/api/events/"+query, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("Accept", "text/event-stream")
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	answer, err := server.client.Do(r)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	return &stream{body: answer.Body, lines: lines, status: answer.StatusCode, type_: answer.Header.Get("Content-Type")}, nil
}

// next answers the fields of the next event, without those that hold none.
func (s *stream) next() (id, event, data string, err error) {
	for s.lines.Scan() {
		line := s.lines.Text()
		if line == "" && data != "" {
			return id, event, data, nil
		}
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data = value
		}
	}
	if err := s.lines.Err(); err != nil {
		return "", "", "", err
	}
	return "", "", "", io.EOF
}

// cutOff is a connection that breaks after so many bytes have come.
type cutOff struct {
	net.Conn
	left int
}

func (c *cutOff) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, syscall.ECONNRESET
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// TestAFollowerThatIsCutMissesNothing: a client is cut off a hundred times, anywhere, while
// others write, and resumes where it was, at one server or the other.
func TestAFollowerThatIsCutMissesNothing(t *testing.T) {
	t.Parallel()
	site := newSite(t, false)
	access, _ := site.server(0)().register(t, "John Doe", "john@example.com", oldPassword)
	other, _ := site.server(0)().register(t, "Jane Roe", "jane@example.com", oldPassword)
	var done atomic.Bool
	var writers errgroup.Group
	for n := range 4 {
		writers.Go(func() error {
			token := []string{access, other}[n%2]
			for i := 0; !done.Load(); i++ {
				server := site.server(i % 2)()
				if got, err := server.as(token, "POST", "/api/patients/", somePatient); err != nil || got.status != 201 {
					return fmt.Errorf("%d %s %v", got.status, got.body, err)
				}
			}
			return nil
		})
	}
	r := rand.New(rand.NewPCG(1, 1))
	var got []string
	last := ""
	for cut := range 100 {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return &cutOff{conn, 1 + r.IntN(6000)}, err
		}}
		s, err := follow(t.Context(), &running{url: site.server(cut % 2)().url, client: &http.Client{Transport: transport}}, access, "", last)
		if err != nil {
			continue // cut off before it has begun
		}
		for {
			id, event, data, err := s.next()
			if err != nil {
				break
			}
			if event != "" {
				t.Fatalf("after %s: %q %s", last, event, data)
			}
			if w := parseWired(t, data); w.Position != id {
				t.Errorf("event %s has id %s", w, id)
			}
			got, last = append(got, parseWired(t, data).String()), id
		}
		s.body.Close()
	}
	done.Store(true)
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	var want []string
	for next, head := int64(0), int64(1); next < head; {
		var page []string
		page, next, head = eventsPage(t, site.server(0)(), access, fmt.Sprintf("?limit=1000&after=%d", next))
		want = append(want, page...)
	}
	if len(got) < 100 || len(want) < len(got) || !slices.Equal(got, want[:len(got)]) {
		t.Errorf("%d events came, of %d; the first that differ are around %s", len(got), len(want), last)
	}
}

// TestWhyAStreamOfEventsEnds: each end has a reason that the client is told.
func TestWhyAStreamOfEventsEnds(t *testing.T) {
	config := databaseConfig(t)
	config.AccessTokenLifetime = 3 * time.Second
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	begin := func(token string) *stream {
		t.Helper()
		s, err := follow(t.Context(), server, token, "", "")
		if err != nil || s.status != 200 || s.type_ != "text/event-stream" {
			t.Fatal(err, s)
		}
		t.Cleanup(func() { s.body.Close() })
		return s
	}
	ends := func(s *stream, want string) {
		t.Helper()
		for {
			_, event, data, err := s.next()
			if err != nil {
				t.Errorf("ended without a reason: %v", err)
				return
			}
			if event == "end" {
				if !strings.HasPrefix(data, `{"reason":"`+want+`","detail":"`) {
					t.Errorf("ended with %s, want %s", data, want)
				}
				if _, _, _, err := s.next(); err != io.EOF {
					t.Errorf("after the end: %v", err)
				}
				return
			}
		}
	}
	began := time.Now()
	ends(begin(access), "token_expired")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the end came after %v", took)
	}
	server.mustAs(t, access, "GET", "/api/events/", "", 401)

	server.mustAs(t, loggedIn(t, server), "POST", "/api/patients/", somePatient, 201)
	disabled := begin(loggedIn(t, server))
	if _, _, data, err := disabled.next(); err != nil || parseWired(t, data).Subject != "patient/1" {
		t.Fatal(data, err)
	}
	expectCarelog(t, config, "", "user 1 is disabled\n", "users", "disable", "1")
	ends(disabled, "not_allowed")
	expectCarelog(t, config, "", "user 1 is enabled\n", "users", "enable", "1")

	// A reader who takes nothing holds nobody up.
	slow, err := net.Dial("tcp", strings.TrimPrefix(server.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "GET /api/events/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n", loggedIn(t, server))

	stopped := begin(loggedIn(t, server))
	if _, _, _, err := stopped.next(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	server.cancel()
	ends(stopped, "stopping")
	server.stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("followers held the server up for %v", took)
	}
}

func loggedIn(t *testing.T, server *running) string {
	t.Helper()
	access, _ := server.login(t, "john@example.com", oldPassword)
	return access
}

// ticket opens a stream of events without a header.
func (r *running) ticket(t *testing.T, access string) string {
	t.Helper()
	var answer struct {
		Ticket    string
		ExpiresIn int `json:"expires_in"`
	}
	if err := json.Unmarshal(r.mustAs(t, access, "POST", "/api/events/ticket/", "", 201).body, &answer); err != nil || answer.ExpiresIn != 30 {
		t.Fatal(err, answer)
	}
	return answer.Ticket
}

// TestATicketOpensOneStream: whichever server is asked, once, for a while, and for
// nothing else.
func TestATicketOpensOneStream(t *testing.T) {
	site := newSite(t, false)
	access, _ := site.server(0)().register(t, "John Doe", "john@example.com", oldPassword)
	ticket := func() string {
		t.Helper()
		return site.server(0)().ticket(t, access)
	}
	open := func(server int, token, query string) *stream {
		t.Helper()
		s, err := follow(t.Context(), site.server(server)(), token, query, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.body.Close() })
		return s
	}
	first := ticket()
	if answer, err := http.Head(site.server(0)().url + "/api/events/?ticket=" + first); err != nil || answer.StatusCode != 401 { // and does not use it up
		t.Errorf("HEAD: %v, %v", answer, err)
	}
	followed := open(1, "", "?ticket="+first)
	if followed.status != 200 {
		t.Fatalf("a ticket: %d", followed.status)
	}
	site.server(0)().mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	if _, _, data, err := followed.next(); err != nil || parseWired(t, data).Subject != "patient/1" {
		t.Errorf("followed by ticket: %s %v", data, err)
	}
	for server := range 2 {
		if again := open(server, "", "?ticket="+first); again.status != 401 {
			t.Errorf("a used ticket at server %d: %d", server, again.status)
		}
	}
	second := ticket()
	site.server(0)().mustAs(t, "", "GET", "/api/events/?ticket="+second, "", 401)   // no stream
	site.server(0)().mustAs(t, "", "GET", "/api/patients/?ticket="+second, "", 401) // another path
	site.server(0)().mustAs(t, second, "GET", "/api/patients/", "", 401)            // as a token
	site.server(0)().mustAs(t, "", "POST", "/api/auth/refresh/", fmt.Sprintf(`{"refresh":%q}`, second), 401)
	if got := open(0, "", "?ticket="+access); got.status != 401 {
		t.Errorf("a token as a ticket: %d", got.status)
	}
	for _, wrong := range []string{"after=x", "after=99", "types=y", "limit=1"} { // refuses the request, and leaves the ticket
		if got := open(0, "", "?ticket="+second+"&"+wrong); got.status != 400 && got.status != 409 {
			t.Errorf("%s: %d", wrong, got.status)
		}
	}
	statuses := race(t, func() (reply, error) { return reply{status: open(0, "", "?ticket="+second).status}, nil },
		func() (reply, error) { return reply{status: open(1, "", "?ticket="+second).status}, nil })
	if slices.Sort(statuses); !slices.Equal(statuses, []int{200, 401}) {
		t.Errorf("two at once with one ticket: %v", statuses)
	}
	site.server(0)().mustAs(t, "", "POST", "/api/events/ticket/", "", 401)
}
