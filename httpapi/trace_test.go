package httpapi

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

const (
	clientTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientParent = "00-" + clientTrace + "-00f067aa0ba902b7-01"
)

// traced is an API whose spans are recorded.
func traced(t *testing.T, options ...sdktrace.TracerProviderOption) (*world, *tracetest.SpanRecorder) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(recorder))...)
	return newWorld(t, func(c *Config) { c.Tracer = provider.Tracer("test") }), recorder
}

func attributes(span sdktrace.ReadOnlySpan) map[string]any {
	all := map[string]any{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}

// A request has a span with its route and status, and with nothing that could be about
// a person; of the probes there are none.
func TestSpansOfRequests(t *testing.T) {
	for _, test := range []struct {
		method, path, body string
		name               string
		want               map[string]any
		failed             bool
	}{
		{"GET", "/api/patients/42/?name=secret", "", "GET /api/patients/{id}/", map[string]any{"http.request.method": "GET", "http.route": "/api/patients/{id}/", "http.response.status_code": int64(200)}, false},
		{"POST", "/api/patients", strings.ReplaceAll(goodPatient, "A", "secret"), "POST /api/patients/", map[string]any{"http.response.status_code": int64(201)}, false},
		{"DELETE", "/api/doctors/42/", "", "DELETE /api/doctors/{id}/", map[string]any{"http.response.status_code": int64(500), "error.type": "500"}, true},
		{"GET", "/secret/path", "", "GET", map[string]any{"http.route": nil, "http.response.status_code": int64(404)}, false},
		{"SECRET", "/api/patients/", "", "HTTP /api/patients/", map[string]any{"http.request.method": "_OTHER", "http.response.status_code": int64(405)}, false},
		{"GET", "/livez", "", "", nil, false},
		{"HEAD", "/readyz/", "", "", nil, false},
	} {
		w, recorder := traced(t)
		if test.failed {
			w.commands.err = errors.New("secret")
		}
		w.do(test.method, test.path, test.body, "X-Request-Id: r-1", "User-Agent: secret", "Referer: https://secret/", "Cookie: secret=1", "Traceparent: "+clientParent)
		var server sdktrace.ReadOnlySpan
		for _, span := range recorder.Ended() {
			if span.SpanKind() == trace.SpanKindServer {
				server = span
			}
			if text := strings.ToLower(fmt.Sprint(span.Name(), span.Status(), attributes(span), span.Events())); strings.Contains(text, "secret") {
				t.Errorf("%s %s: a span tells %s", test.method, test.path, text)
			}
		}
		if test.want == nil {
			if len(recorder.Started()) > 0 {
				t.Errorf("%s %s has a span", test.method, test.path)
			}
			continue
		}
		if server == nil {
			t.Fatalf("%s %s has no span", test.method, test.path)
		}
		test.want["carelog.request_id"] = "r-1"
		has := attributes(server)
		for name, want := range test.want {
			if has[name] != want {
				t.Errorf("%s %s: %s is %v, want %v", test.method, test.path, name, has[name], want)
			}
		}
		if server.Name() != test.name || (server.Status().Code == codes.Error) != test.failed {
			t.Errorf("%s %s: %q, %v", test.method, test.path, server.Name(), server.Status())
		}
		if server.Parent().SpanID().String() != "00f067aa0ba902b7" || server.SpanContext().TraceID().String() != clientTrace {
			t.Errorf("%s %s is not in the client's trace", test.method, test.path)
		}
	}
}

// Events are told of the request's own span; of one that is not sampled only in the
// client's trace, so that nothing that follows is sampled either.
func TestTraceParentsOfEvents(t *testing.T) {
	for _, test := range []struct {
		name, sent string
		sampler    sdktrace.Sampler
		trace      string // of the event, "" for any
		flags      string // "" for no traceparent
	}{
		{"a trace of the client's", clientParent, sdktrace.ParentBased(sdktrace.AlwaysSample()), clientTrace, "01"},
		{"one of our own", "", sdktrace.ParentBased(sdktrace.AlwaysSample()), "", "01"},
		{"one that the client does not sample", strings.TrimSuffix(clientParent, "1") + "0", sdktrace.ParentBased(sdktrace.AlwaysSample()), clientTrace, "00"},
		{"one that we do not sample", clientParent, sdktrace.NeverSample(), clientTrace, "00"},
		{"nobody samples", "", sdktrace.NeverSample(), "", ""},
	} {
		w, recorder := traced(t, sdktrace.WithSampler(test.sampler))
		w.do("POST", "/api/patients/", goodPatient, "Traceparent: "+test.sent)
		got := w.commands.caller.TraceParent
		if test.flags == "" {
			if got != "" {
				t.Errorf("%s: %s", test.name, got)
			}
			continue
		}
		parts := strings.Split(got, "-")
		if len(parts) != 4 || parts[3] != test.flags || test.trace != "" && parts[1] != test.trace || strings.Contains(test.sent, parts[2]) {
			t.Errorf("%s: %s", test.name, got)
		}
		for _, span := range recorder.Ended() {
			if own := span.SpanContext(); span.SpanKind() == trace.SpanKindServer && (own.SpanID().String() != parts[2] || own.TraceID().String() != parts[1]) {
				t.Errorf("%s: %s, of the span %v", test.name, got, own)
			}
		}
		if sampled := len(recorder.Ended()) > 0; sampled != (test.flags == "01") {
			t.Errorf("%s: %d spans", test.name, len(recorder.Ended()))
		}
	}
}

// BenchmarkRequest is what the API itself costs, without a database.
func BenchmarkRequest(b *testing.B) {
	w := newWorld(&testing.T{})
	benchmarkRequest(b, w)
}

func BenchmarkTracedRequest(b *testing.B) {
	w, _ := traced(&testing.T{})
	benchmarkRequest(b, w)
}

func benchmarkRequest(b *testing.B, w *world) {
	b.ReportAllocs()
	for b.Loop() {
		w.do("POST", "/api/patients/", goodPatient)
	}
}
