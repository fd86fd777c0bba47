package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestLimits sends the running program more than it should take.
func TestLimits(t *testing.T) {
	config := databaseConfig(t)
	config.CORSOrigins = []string{"https://app.example.com"}
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + access}}
	chunked := func(n int) io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat(" ", n))) } // of unknown length
	for _, c := range []struct {
		name, path string
		body       io.Reader
		status     int
	}{
		{"a body of 1 MiB", "/api/patients/", strings.NewReader(strings.Repeat(" ", 1<<20-2) + "{}"), 400},
		{"a body over 1 MiB", "/api/patients/", strings.NewReader(strings.Repeat(" ", 1<<20-1) + "{}"), 413},
		{"a body over 1 MiB in chunks", "/api/patients/", chunked(1<<20 + 1), 413},
		{"JSON of depth 64", "/api/patients/", strings.NewReader(strings.Repeat("[", 64) + strings.Repeat("]", 64)), 400},
		{"JSON of depth 100000", "/api/patients/", strings.NewReader(strings.Repeat("[", 100_000)), 400},
		{"an URL of 8 KiB", "/api/patients/?" + strings.Repeat("x", 8<<10), nil, 414},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := server.send(t, "POST", c.path, header, c.body)
			if got.status != c.status || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %.200s", got.status, got.body)
			}
		})
	}
	deep := server.send(t, "POST", "/api/patients/", header, strings.NewReader(strings.Repeat("[", 65)+strings.Repeat("]", 65)))
	if deep.status != 400 || !strings.Contains(string(deep.body), "JSON parse error - ") {
		t.Errorf("JSON of depth 65: %d %s", deep.status, deep.body)
	}

	t.Run("security headers", func(t *testing.T) {
		for _, path := range []string{"/api/patients/", "/nowhere", "/"} {
			got := server.send(t, "GET", path, header, nil)
			if got.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(got.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
				t.Errorf("%s: %v", path, got.header)
			}
		}
		if got := server.send(t, "GET", "/api/patients/", header, nil); got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v", got.header)
		}
	})

	t.Run("CORS", func(t *testing.T) {
		preflight := func(origin string) reply {
			return server.send(t, "OPTIONS", "/api/patients/", http.Header{
				"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization,content-type"},
			}, nil)
		}
		if got := preflight("https://app.example.com"); got.status >= 300 || got.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
			t.Errorf("a listed origin: %d %v", got.status, got.header)
		}
		if got := preflight("https://evil.example.com"); got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("another origin: %v", got.header)
		}
	})

	t.Run("headers that never end", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprint(conn, "GET /livez HTTP/1.1\r\nHost: x\r\nX-A"); err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		if err := conn.SetReadDeadline(started.Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(conn)
		if took := time.Since(started); err != nil || took > 10*time.Second {
			t.Errorf("the connection was open for %v: %v", took, err)
		}
	})

	t.Run("a header of 1 MiB", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go fmt.Fprintf(conn, "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: %s\r\n\r\n", strings.Repeat("x", 1<<20)) // fails once the server has had enough
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode != 431 {
			t.Errorf("%d", answer.StatusCode)
		}
	})
}
