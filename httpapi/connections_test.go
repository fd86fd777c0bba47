package httpapi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// caller is a client on one connection.
type caller struct {
	t    *testing.T
	conn net.Conn
	from *bufio.Reader
}

func call(t *testing.T, addr string) *caller {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &caller{t, conn, bufio.NewReader(conn)}
}

// say sends a part of a request, or a whole one.
func (c *caller) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *caller) hears(status int) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	answer, err := http.ReadResponse(c.from, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	if answer.StatusCode != status {
		c.t.Errorf("answered %d, want %d", answer.StatusCode, status)
	}
}

// isClosed tells whether the server has closed the connection, for which it has a
// while.
func (c *caller) isClosed(within time.Duration) bool {
	_ = c.conn.SetReadDeadline(time.Now().Add(within))
	_, err := c.from.ReadByte()
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

const getLive = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"

// One connection more than there may be has another closed: of those without a
// request that which has had none for longest.
func TestLongestQuietConnection(t *testing.T) {
	c := newConnections(3, testLogger(&syncBuffer{}))
	var conns [7]net.Conn
	for i := range conns {
		conns[i], _ = net.Pipe()
	}
	for i, step := range []struct {
		conn   int
		state  http.ConnState
		victim int // -1: none
	}{
		{0, http.StateNew, -1},
		{1, http.StateNew, -1},
		{2, http.StateNew, -1},
		{0, http.StateActive, -1},
		{0, http.StateIdle, -1}, // now 1 is quiet for longest, then 2
		{3, http.StateNew, 1},
		{2, http.StateActive, -1},
		{1, http.StateClosed, -1},
		{4, http.StateNew, 0},
		{0, http.StateClosed, -1},
		{3, http.StateActive, -1},
		{4, http.StateActive, -1},
		{5, http.StateNew, 5}, // all others have a request
		{5, http.StateClosed, -1},
		{2, http.StateClosed, -1},
		{6, http.StateNew, -1},
	} {
		victim := c.note(conns[step.conn], step.state)
		if step.victim < 0 && victim != nil || step.victim >= 0 && victim != conns[step.victim] {
			t.Fatalf("step %d: closed %v", i, victim)
		}
	}
	if last := c.quiet.after; len(c.known) != 3 || last.conn != conns[6] || last.after != &c.quiet || c.quiet.before != last {
		t.Errorf("%d are open, and the quiet ones are %+v", len(c.known), c.quiet)
	}
}

// A connection of HTTP/2 is quiet when all its requests wait for their bodies.
func TestQuietConnectionOfHTTP2(t *testing.T) {
	c := newConnections(10, testLogger(&syncBuffer{}))
	conn, _ := net.Pipe()
	of := client{c, conn}
	begin, end := func(c *connection) { c.requests++ }, func(c *connection) { c.requests-- }
	wait, came := func(c *connection) { c.waiting++ }, func(c *connection) { c.waiting-- }
	for i, step := range []struct {
		by    func(*connection) // what a request does
		state http.ConnState    // or the connection
		quiet bool
	}{
		{nil, http.StateNew, true},
		{nil, http.StateActive, false},
		{begin, 0, false},
		{wait, 0, true},
		{begin, 0, false}, // another request
		{wait, 0, true},
		{came, 0, false},
		{end, 0, true}, // and the other still waits
		{came, 0, false},
		{end, 0, false}, // its answer is being sent
		{nil, http.StateIdle, true},
		{nil, http.StateActive, false},
		{begin, 0, false},
		{wait, 0, true},
		{nil, http.StateIdle, true}, // the client has given up
		{came, 0, true},
		{end, 0, true},
		{nil, http.StateActive, false},
		{begin, 0, false},
		{wait, 0, true},
		{nil, http.StateClosed, false},
		{came, 0, false}, // the request outlives its connection
		{end, 0, false},
	} {
		isOpen := true
		if step.by == nil {
			c.note(conn, step.state)
		} else {
			isOpen = of.change(step.by)
		}
		if quiet := c.quiet.after != &c.quiet; quiet != step.quiet {
			t.Errorf("step %d: quiet: %v", i, quiet)
		}
		if isOpen != (len(c.known) > 0) && step.by != nil {
			t.Errorf("step %d: open: %v", i, isOpen)
		}
	}
	if c.quiet.after != &c.quiet || c.quiet.before != &c.quiet || len(c.known) != 0 {
		t.Errorf("something is left: %+v", c)
	}
}

// toldBody tells when the body of a request is awaited.
type toldBody struct {
	io.ReadCloser
	awaited chan<- struct{}
}

func (b toldBody) Read(p []byte) (int, error) {
	select {
	case b.awaited <- struct{}{}:
	default:
	}
	return b.ReadCloser.Read(p)
}

func TestTooManyConnections(t *testing.T) {
	w := newWorld(t)
	g := newGate()
	awaited := make(chan struct{}, 1)
	addr := serveAtMost(t, 4, http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gate" {
			g.pass()
		}
		r.Body = toldBody{r.Body, awaited}
		w.handler.ServeHTTP(answer, r)
	}), w.log)
	const getGate = "GET /gate HTTP/1.1\r\nHost: x\r\n\r\n"
	var served []*caller
	serve := func() {
		c := call(t, addr)
		c.say(getGate)
		<-g.passed
		served = append(served, c)
	}
	serve()
	silent, slow := call(t, addr), call(t, addr)
	slow.say(getGate[:20])
	slowBody := call(t, addr)
	slowBody.say("POST /api/auth/login/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{")
	<-awaited
	for i, c := range []*caller{silent, slow, slowBody} {
		serve()
		if !c.isClosed(20 * time.Second) {
			t.Fatalf("%d more, and it was not made room for them", i+1)
		}
	}
	if c := call(t, addr); !c.isClosed(20 * time.Second) {
		t.Error("there are more connections than may be")
	}
	close(g.open)
	for _, c := range served {
		c.hears(404)
		c.say(getLive)
		c.hears(200)
	}
	if lines := w.log.lines("to make room"); len(lines) != 1 || !strings.Contains(lines[0], `"closed":1,"most":4}`) {
		t.Errorf("told %q", lines)
	}
}

// Clients that send their bodies slowly keep nobody out.
func TestSlowClients(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Bounds.Accounts = Bound{1, 1, testWait} })
	addr := serveOn(t, w)
	for range 50 {
		call(t, addr).say("POST /api/auth/login/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{")
	}
	body := `{"username":"a","password":"b"}`
	for range 5 {
		c := call(t, addr)
		c.say(fmt.Sprintf("POST /api/auth/login/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		c.hears(401)
	}
}
