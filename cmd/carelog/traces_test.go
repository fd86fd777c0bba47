package main

import (
	"encoding/hex"
	"net"
	"net/http"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/carelog/carelog/eventstore/pgtest"
)

const (
	clientTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientSpan  = "00f067aa0ba902b7"
)

// traced is a configuration whose traces go to an endpoint. OpenTelemetry's SDK reads
// the process's environment by itself, so these tests do not run in parallel.
func traced(t *testing.T, endpoint string, vars map[string]string) Config {
	t.Helper()
	all := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "CARELOG_JWT_SECRET": testSecret}
	for name, value := range vars {
		all[name] = value
	}
	for name, value := range all {
		if strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, value)
		}
	}
	return testConfig(t, all)
}

// inClientsTrace sends JSON in the client's trace.
func (r *running) inClientsTrace(t *testing.T, token, method, path, body string, status int) reply {
	t.Helper()
	got, err := r.try(method, path, http.Header{
		"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token}, "Traceparent": {"00-" + clientTrace + "-" + clientSpan + "-01"},
	}, strings.NewReader(body))
	if err != nil || got.status != status {
		t.Fatalf("%s %s: %v %d %s", method, path, err, got.status, got.body)
	}
	return got
}

const onePatient = `{"first_name":"Alice","last_name":"Smith","age":30,"gender":"Female"}`

// One trace goes from the client over the request to the read tables.
func TestOneTraceFromARequestToTheReadTables(t *testing.T) {
	to := newCollector(t)
	database := pgtest.New(t)
	r := start(t, traced(t, to.url, map[string]string{"DATABASE_URL": database}))
	token, _ := r.register(t, "John", "john@example.com", oldPassword)
	r.inClientsTrace(t, token, "POST", "/api/patients/", onePatient, 201)
	r.inClientsTrace(t, token, "GET", "/api/patients/1/", "", 200)
	r.stop()

	spans := to.all(clientTrace)
	t.Logf("\n%s", drawn(spans))
	post := named(t, spans, "POST /api/patients/")
	get := named(t, spans, "GET /api/patients/{id}/")
	parents := map[string]string{}
	for _, s := range []struct {
		name  string
		below collected
		kind  tracepb.Span_SpanKind
		has   map[string]string
	}{
		{"check a session", post, tracepb.Span_SPAN_KIND_INTERNAL, nil}, // with the first change of a token
		{"decide", post, tracepb.Span_SPAN_KIND_INTERNAL, map[string]string{"carelog.tries": "1"}},
		{"publish patient.registered", post, tracepb.Span_SPAN_KIND_PRODUCER, map[string]string{"carelog.position": "2", "messaging.system": "nats"}},
		{"apply patient.registered", post, tracepb.Span_SPAN_KIND_CONSUMER, map[string]string{"carelog.position": "2", "carelog.events": "1"}},
		{"wait for read tables", post, tracepb.Span_SPAN_KIND_INTERNAL, nil},
		{"read a patient", get, tracepb.Span_SPAN_KIND_INTERNAL, map[string]string{"db.system.name": "postgresql"}},
	} {
		span := named(t, spans, s.name)
		parents[s.name] = hex.EncodeToString(span.SpanId)
		if hex.EncodeToString(span.ParentSpanId) != hex.EncodeToString(s.below.SpanId) || span.Kind != s.kind {
			t.Errorf("%s is not below %s: %v", s.name, s.below.Name, span)
		}
		for key, want := range s.has {
			if got := span.has(key); got != want {
				t.Errorf("%s: %s is %q, want %q", s.name, key, got, want)
			}
		}
	}
	// A machine that is busy may keep the bus silent for so long that the log is read.
	if source := named(t, spans, "apply patient.registered").has("source"); source != "bus" && source != "log" {
		t.Errorf("applied from %q", source)
	}
	added := named(t, spans, "append")
	if hex.EncodeToString(added.ParentSpanId) != parents["decide"] || added.has("carelog.position") != "2" || added.has("carelog.group_size") != "1" ||
		len(added.Events) != 1 || added.Events[0].Name != "commit" {
		t.Errorf("append: %v", added)
	}
	if len(spans) != 9 {
		t.Errorf("%d spans:\n%s", len(spans), drawn(spans))
	}
	for _, server := range []collected{post, get} {
		if hex.EncodeToString(server.ParentSpanId) != clientSpan || server.Kind != tracepb.Span_SPAN_KIND_SERVER {
			t.Errorf("%v is not the client's", server)
		}
	}
	if got, want := traceParentInLog(t, database, 2), "00-"+clientTrace+"-"+hex.EncodeToString(post.SpanId)+"-01"; got != want {
		t.Errorf("the event is told of %s, want %s", got, want)
	}
	if !strings.Contains(r.log.String(), "trace_id="+clientTrace) {
		t.Error("the log does not tell the trace")
	}
}

func traceParentInLog(t *testing.T, database string, position int) (found string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), `select coalesce(metadata->>'traceparent', '') from events where position = $1`, position).Scan(&found); err != nil {
		t.Fatal(err)
	}
	return found
}

// It is one trace, too, when another process applies what a request has led to.
func TestOneTraceOverTwoProcesses(t *testing.T) {
	to := newCollector(t)
	broker := startNATS(t, t.TempDir(), -1)
	vars := map[string]string{"DATABASE_URL": pgtest.New(t), "NATS_URL": broker.ClientURL()}
	first := start(t, traced(t, to.url, vars)) // has the lease
	second := start(t, traced(t, to.url, vars))
	token, _ := second.register(t, "John", "john@example.com", oldPassword)
	second.inClientsTrace(t, token, "POST", "/api/patients/", onePatient, 201)
	second.stop()
	first.stop()

	spans := to.all(clientTrace)
	post := named(t, spans, "POST /api/patients/")
	for name, same := range map[string]bool{"append": true, "wait for read tables": true, "publish patient.registered": false, "apply patient.registered": false} {
		if span := named(t, spans, name); (span.instance == post.instance) != same {
			t.Errorf("%s: in the same process %v, want %v", name, !same, same)
		}
	}
	if apply := named(t, spans, "apply patient.registered"); hex.EncodeToString(apply.ParentSpanId) != hex.EncodeToString(post.SpanId) {
		t.Errorf("not below the request: %v", apply)
	}
}

// What the sampler does not choose is nowhere traced, whatever the client wishes.
func TestTheSamplerHasTheLastWord(t *testing.T) {
	to := newCollector(t)
	database := pgtest.New(t)
	r := start(t, traced(t, to.url, map[string]string{"DATABASE_URL": database, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}))
	token, _ := r.register(t, "John", "john@example.com", oldPassword)
	r.inClientsTrace(t, token, "POST", "/api/patients/", onePatient, 201)
	r.stop()
	if len(to.spans) > 0 {
		t.Errorf("%d spans", len(to.spans))
	}
	got := traceParentInLog(t, database, 2)
	if !strings.HasPrefix(got, "00-"+clientTrace) || !strings.HasSuffix(got, "-00") || strings.Contains(got, clientSpan) {
		t.Errorf("the event is told of %s", got)
	}
}

// A collector that is down, or never answers, holds up neither requests nor a stop.
func TestACollectorThatIsAway(t *testing.T) {
	hangs, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hangs.Close()
	for name, endpoint := range map[string]string{"down": "http://" + freeAddress(t), "hangs": "http://" + hangs.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			config := traced(t, endpoint, map[string]string{"DATABASE_URL": pgtest.New(t), "OTEL_BSP_SCHEDULE_DELAY": "10",
				"OTEL_EXPORTER_OTLP_TIMEOUT": "60000", "OTEL_BSP_EXPORT_TIMEOUT": "60000"})
			config.ShutdownTimeout = 6 * time.Second // of which the last second is for spans
			r := start(t, config)
			token, _ := r.register(t, "John", "john@example.com", oldPassword)
			for range 5 {
				r.inClientsTrace(t, token, "POST", "/api/patients/", onePatient, 201)
			}
			told := func() int { return strings.Count(r.log.String(), "traces cannot be sent") }
			if name == "down" {
				eventually(t, "the log is told", 10*time.Second, func() bool { return told() > 0 })
			}
			began := time.Now()
			r.stop()
			if took := time.Since(began); took > 20*time.Second { // the exporter itself waits for a minute
				t.Errorf("stopping took %v", took)
			}
			if n := told(); n != 1 {
				t.Errorf("the log was told %d times:\n%s", n, r.log)
			}
		})
	}
}

// Off, nothing of OpenTelemetry runs, and events have what the client sent.
func TestWithoutTraces(t *testing.T) {
	runs := func() bool {
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		return strings.Contains(stacks.String(), "go.opentelemetry.io/otel/sdk")
	}
	database := pgtest.New(t)
	vars := map[string]string{"DATABASE_URL": database, "CARELOG_JWT_SECRET": testSecret}
	r := start(t, testConfig(t, vars))
	token, _ := r.register(t, "John", "john@example.com", oldPassword)
	r.inClientsTrace(t, token, "POST", "/api/patients/", onePatient, 201)
	if runs() {
		t.Error("something of OpenTelemetry runs")
	}
	r.stop()
	if got, want := traceParentInLog(t, database, 2), "00-"+clientTrace+"-"+clientSpan+"-01"; got != want {
		t.Errorf("the event is told of %s, want %s", got, want)
	}
	if strings.Contains(r.log.String(), "trace_id") {
		t.Error("the log tells a trace")
	}
	r = start(t, traced(t, newCollector(t).url, vars))
	if !runs() {
		t.Error("nothing of OpenTelemetry runs with traces either")
	}
	r.stop()
}
