package main

import (
	"bufio"
	"context"
	"encoding/json"
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

	"golang.org/x/sync/errgroup"
)

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
