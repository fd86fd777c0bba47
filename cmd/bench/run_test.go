package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestBench measures everything, for a moment. That the servers answer alike
// is asserted by the program itself.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	program := buildCarelog(t)
	beProgram(t)
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	var stdout bytes.Buffer
	err = execute(t.Context(), []string{"-carelog", program, "-out", filepath.Join(dir, "out", "bench"), "-rounds", "1",
		"-connections", "2", "-warmup", "10ms", "-duration", "500ms"}, nil, &stdout, stderr)
	told, readErr := os.ReadFile(stderr.Name())
	if err != nil || readErr != nil {
		t.Fatalf("%v, %v\n%s", err, readErr, told)
	}
	for _, r := range rows {
		if !strings.Contains(stdout.String(), "\n| "+r.title+" | 2 |") {
			t.Errorf("no row of %s", r.title)
		}
	}
	var report report
	text, err := os.ReadFile(filepath.Join(dir, "out", "bench.json"))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Runs) != 2*len(rows) {
		t.Errorf("%d runs", len(report.Runs))
	}
	for _, m := range report.Runs {
		write := m.Row != "get" && m.Row != "list"
		if m.Throughput <= 0 || m.P50 <= 0 || m.P99 < m.P50 || (m.FromBus > 0) != (write && m.Server == carelogName) {
			t.Errorf("%+v", m)
		}
		if _, err := os.Stat("/proc/self/stat"); err == nil && (m.Memory <= 1 || m.LoadCPU <= 0) {
			t.Errorf("%+v", m)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", &stdout, told)
	}
}

// TestWhatIsWrongFailsTheRun puts servers that misbehave in Carelog's place.
func TestWhatIsWrongFailsTheRun(t *testing.T) {
	beProgram(t)
	for name, test := range map[string]struct {
		want   string
		answer http.HandlerFunc
	}{
		"not 2xx": {"failed, one of them: answered with status 503: busy", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "busy", http.StatusServiceUnavailable)
		}},
		"pending": {"Carelog-Projected: pending", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Carelog-Projected", "pending")
			w.WriteHeader(http.StatusCreated)
		}},
		"connection closed": {"failed, one of them: the server closed the connection", func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}},
		"connection reset": {"failed, one of them: ", func(w http.ResponseWriter, r *http.Request) {
			socket, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			socket.(*net.TCPConn).SetLinger(0)
			socket.Close()
		}},
		"not over the bus": {"1 events reached the read tables from the log", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusCreated)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var requests, fromLog atomic.Int64
			fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/readyz" {
					fmt.Fprintf(w, `{"applied": {"from_log": %d}}`, fromLog.Load())
					return
				}
				fromLog.Store(1)
				if requests.Add(1) == 10 || name == "not over the bus" {
					test.answer(w, r)
				}
			}))
			defer fake.Close()
			server := newServer(carelogName, fake.Listener.Addr().String(), nil)
			defer server.client.CloseIdleConnections()
			server.cmd = &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}
			// So long that ten requests are answered also on a machine that has much else to do.
			s := &session{stderr: t.Output(), options: options{Duration: 500 * time.Millisecond}}
			_, err := s.run(t.Context(), server, rows[0], 4)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAnswersThatAreNotAlike(t *testing.T) {
	for _, test := range []struct {
		a, b  string
		alike bool
	}{
		{`{"id": 1, "name": "a"}`, `{"name":"b","id":2}`, true},
		{`[{"id": 1}, {"id": 2}]`, `[{"id": 3}, {"id": 4}]`, true},
		{`[{"id": 1}]`, `[{"id": 3}, {"id": 4}]`, false},
		{`{"id": 1}`, `{"id": "1"}`, false},
		{`{"id": 1}`, `{"id": null}`, false},
		{`{"id": 1}`, `{"id": 1, "name": "a"}`, false},
	} {
		a, errA := formOf([]byte(test.a))
		b, errB := formOf([]byte(test.b))
		if errA != nil || errB != nil || (a == b) != test.alike {
			t.Errorf("%s and %s: %s %v, %s %v", test.a, test.b, a, errA, b, errB)
		}
	}
}
