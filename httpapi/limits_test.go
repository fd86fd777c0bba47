package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/carelog/carelog/events"
)

// serveOn runs the real server around a world and returns its address.
func serveOn(t *testing.T, w *world) string {
	t.Helper()
	return serveAtMost(t, 100, w.handler, w.log)
}

// serveAtMost is serveOn with so many connections.
func serveAtMost(t *testing.T, most int, handler http.Handler, log *syncBuffer) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(handler, most, nil, testLogger(log))
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// send writes a raw request and reads the answer.
func send(t *testing.T, addr, raw string) (status int, header http.Header, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatalf("write: %v", err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(text)
}

func TestURLs(t *testing.T) {
	addr := serveOn(t, newWorld(t))
	for length, want := range map[int]int{maxURL - 1: 404, maxURL: 404, maxURL + 1: 414, 100_000: 414, 400_000: 414} {
		for _, target := range []string{"/" + strings.Repeat("x", length-1), "/?" + strings.Repeat("x", length-2)} {
			status, h, body := send(t, addr, "GET "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if strings.HasPrefix(target, "/?") && want == 404 {
				want = 200
			}
			if status != want || h.Get("Content-Type") != "application/json" || want == 414 && body != `{"detail":"The URL is longer than 8 KiB."}` {
				t.Errorf("%d bytes: %d %s", length, status, body)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	addr := serveOn(t, newWorld(t))
	for length, want := range map[int]int{100_000: 200, 1 << 20: 431} {
		status, _, _ := send(t, addr, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: "+strings.Repeat("x", length)+"\r\n\r\n")
		if status != want {
			t.Errorf("%d bytes: %d", length, status)
		}
	}
}

// A body that is too large is refused first of all: before the route, Accept and
// the token; and the answer arrives although the client sends it all first.
func TestBodies(t *testing.T) {
	addr := serveOn(t, newWorld(t))
	const tooLarge = `{"detail":"The request body is larger than 1 MiB."}`
	for _, head := range []string{"POST /api/patients/", "GET /nowhere", "FOO /api/auth/login/"} {
		status, h, body := send(t, addr, fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			head, 6*maxBody, strings.Repeat(" ", 6*maxBody)))
		if status != 413 || body != tooLarge || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", head, status, body)
		}
	}
	status, _, body := send(t, addr, fmt.Sprintf("POST /api/auth/login/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", maxBody+1))
	if status != 413 || body != tooLarge {
		t.Errorf("asked before sending: %d %s", status, body)
	}
	long := `{"username":"a","password":"b"}` + strings.Repeat(" ", maxBody)
	status, _, body = send(t, addr, fmt.Sprintf("POST /api/auth/login/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(long), long))
	if status != 413 || body != tooLarge {
		t.Errorf("of untold length: %d %s", status, body)
	}
	status, _, body = send(t, addr, fmt.Sprintf("POST /api/auth/login/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", maxBody, long[:maxBody]))
	if status != 401 {
		t.Errorf("1 MiB to the byte: %d %s", status, body)
	}
}

func TestServerLimits(t *testing.T) {
	server := NewServer(http.NotFoundHandler(), 100, nil, testLogger(&syncBuffer{}))
	if server.ReadHeaderTimeout != 5*time.Second || server.ReadTimeout == 0 || server.WriteTimeout == 0 || server.IdleTimeout == 0 || server.MaxHeaderBytes == 0 || server.ConnState == nil {
		t.Errorf("%+v", server)
	}
}

// Whatever a request waits for, it has a deadline.
func TestRequestTimeout(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.RequestTimeout = time.Millisecond
		c.Progress = stuck{}
	})
	w.commands.ids[4] = 6
	expect(t, w.do("GET", "/api/doctors/", "", "Authorization: Bearer "+w.token(4)), 503, `{"detail":"Service temporarily unavailable, try again later."}`)
	answer := w.do("POST", "/api/patients/", goodPatient) // stored all the same
	expect(t, answer, 201, patientJSON)
	if answer.Header().Get("Carelog-Projected") != "pending" {
		t.Errorf("%v", answer.Header())
	}
}

// stuck is a Progress that arrives nowhere.
type stuck struct{}

func (stuck) Wait(ctx context.Context, _ events.Position) error {
	<-ctx.Done()
	return fmt.Errorf("wait: %w", ctx.Err())
}

func (stuck) Live() error     { return nil }
func (stuck) Restarts() int64 { return 0 }
