package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// BenchmarkTraces registers patients over 32 connections, in turn for a quarter of a
// second at a server that traces every request and at one that traces none: how many a
// second, and how much of a CPU each takes, that of clients and of a collector which
// throws all away included.
//
//	make bench-components BENCH='-bench Traces -benchtime 40x ./cmd/carelog'
func BenchmarkTraces(b *testing.B) {
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer sink.Close()
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.URL)
	var servers [2]*running
	var tokens [2]string
	for i, vars := range []map[string]string{{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.URL}} {
		vars["DATABASE_URL"], vars["CARELOG_JWT_SECRET"], vars["CARELOG_LOG_LEVEL"] = pgtest.New(b), testSecret, "warn"
		servers[i] = start(b, testConfig(b, vars))
		tokens[i], _ = servers[i].register(b, "John", "john@example.com", oldPassword)
	}
	var done [2]int64
	var took, busy [2]time.Duration
	for b.Loop() {
		for i, server := range servers {
			began, cpu := time.Now(), cpuTime()
			done[i] += server.registerPatients(b, tokens[i], began.Add(250*time.Millisecond))
			took[i] += time.Since(began)
			busy[i] += cpuTime() - cpu
		}
	}
	for i, name := range []string{"off", "on"} {
		b.ReportMetric(float64(done[i])/took[i].Seconds(), name+"-posts/s")
		b.ReportMetric(float64(busy[i].Microseconds())/float64(done[i]), name+"-cpu-µs/post")
	}
}

// registerPatients sends over 32 connections until a time, and counts.
func (r *running) registerPatients(b *testing.B, token string, until time.Time) int64 {
	var done atomic.Int64
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			for time.Now().Before(until) {
				if got, err := r.as(token, "POST", "/api/patients/", onePatient); err != nil || got.status != 201 {
					b.Errorf("%v %d %s", err, got.status, got.body)
					return
				}
				done.Add(1)
			}
		})
	}
	clients.Wait()
	return done.Load()
}

// cpuTime is what this process has had of CPUs.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
