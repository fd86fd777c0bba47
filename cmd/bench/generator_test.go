package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRequestsAreNeverRepeated: what the rows send is unlike all before it, where
// that matters, also in another run.
func TestRequestsAreNeverRepeated(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Authorization") != "Bearer token" || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusBadRequest)
		}
		mu.Lock()
		defer mu.Unlock()
		seen[r.Method+" "+r.URL.Path+" "+string(body)]++
	}))
	defer fake.Close()
	j := job{Addr: fake.Listener.Addr().String(), Connections: 4, Duration: 100 * time.Millisecond,
		Stock: stock{Token: "token", Patients: []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, Doctors: make([]int64, 100_000)}}
	for i := range j.Stock.Doctors {
		j.Stock.Doctors[i] = int64(i)
	}
	for _, r := range []row{rows[0], rows[4]} {
		clear(seen)
		for range 2 {
			result, err := generate(t.Context(), j, r, func(string) {})
			if err != nil || result.Failed > 0 || result.Sent == 0 || result.Requests > result.Sent {
				t.Fatalf("%+v, %v", result, err)
			}
			j.First += result.Sent
		}
		if int64(len(seen)) != j.First {
			t.Errorf("%s: %d requests were sent, %d different ones", r.title, j.First, len(seen))
		}
		j.First = 0
	}

	patch := rows[3]
	ages := map[string]string{}
	for serial := range int64(3000) {
		path := string(patch.path(nil, &j.Stock, serial))
		age := string(patch.body(nil, &j.Stock, serial))
		if ages[path] == age {
			t.Fatalf("%s becomes %s again", path, age)
		}
		ages[path] = age
	}

	j.First = int64(len(j.Stock.Patients) * len(j.Stock.Doctors))
	if result, err := generate(t.Context(), j, rows[4], func(string) {}); err != nil || !strings.Contains(result.Failure, "the stock is too small") {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestAnIntervalThatNothingIsAnsweredIn is longer.
func TestAnIntervalThatNothingIsAnsweredIn(t *testing.T) {
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { time.Sleep(300 * time.Millisecond) }))
	defer fake.Close()
	j := job{Addr: fake.Listener.Addr().String(), Connections: 1, Duration: time.Millisecond, Stock: stock{Token: "token", Patients: []int64{1}}}
	result, err := generate(t.Context(), j, rows[0], func(string) {})
	if err != nil || result.Requests != 1 || result.Elapsed < 300*time.Millisecond {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestPercentile(t *testing.T) {
	var values []time.Duration
	if got := percentile(values, 50); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 200 {
		values = append(values, time.Duration(i+1))
	}
	for p, want := range map[int]time.Duration{1: 2, 50: 100, 99: 198, 100: 200} {
		if got := percentile(values, p); got != want {
			t.Errorf("%d %%: %d", p, got)
		}
	}
	if got := percentile(values[:1], 50); got != 1 {
		t.Errorf("of one: %d", got)
	}
}

func TestConnectionReadsAnswers(t *testing.T) {
	for _, test := range []struct{ answer, want string }{
		{"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}", "201 {} false"},
		{"HTTP/1.1 200 OK\r\nCARELOG-PROJECTED: pending\r\nContent-Length:0\r\n\r\n", "200  true"},
		{"HTTP/1.1 204 No Content\r\n\r\n", "204  false"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "without Content-Length"},
		{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not a length"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "EOF"},
		{"HTTP/1.1 200 OK\r\nContent-", "EOF"},
		{"HTTP/1.1 abc\r\n\r\n", "not a status"},
		{"SSH-2.0-OpenSSH_9.2\r\n", "not an answer of HTTP/1.1"},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 40_000), "buffer full"},
		{"", "EOF"},
	} {
		client, server := net.Pipe()
		go func() {
			io.ReadFull(server, make([]byte, 1))
			io.WriteString(server, test.answer)
			server.Close()
		}()
		c := newConnection(client)
		r, err := c.do([]byte("x"))
		got := fmt.Sprint(r.status, " ", string(r.body), " ", r.pending)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%.60q: %s", test.answer, got)
		}
		client.Close()
	}
}
