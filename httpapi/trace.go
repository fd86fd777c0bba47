package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/tracing"
)

// beginSpan begins the span of a request, below the client's own where that sent a
// traceparent; nil while tracing is off, and for the probes, which are asked all the
// time and tell nothing. Which route it is, and what is answered, is known later.
func (a *api) beginSpan(ctx context.Context, r *http.Request, known *request) (context.Context, trace.Span) {
	if a.tracer == nil || isProbe(r.URL.Path) {
		return ctx, nil
	}
	return a.tracer.Start(tracing.Continue(ctx, known.trace), loggedMethod(r.Method), trace.WithSpanKind(trace.SpanKindServer))
}

func isProbe(path string) bool {
	path = strings.TrimSuffix(path, "/")
	return path == "/livez" || path == "/readyz" || path == "/metrics"
}

// endSpan ends the span of a request. Of OpenTelemetry's semantic conventions for HTTP
// it has what cannot hold anything about a person: no path, no query, no address, no header.
func endSpan(span trace.Span, r *http.Request, known *request, observed *observedWriter) {
	if span == nil {
		return
	}
	defer span.End()
	if !span.IsRecording() {
		return
	}
	method := loggedMethod(r.Method)
	attributes := make([]attribute.KeyValue, 0, 6)
	if method == otherMethod {
		method = "HTTP"
		attributes = append(attributes, attribute.String("http.request.method", "_OTHER"))
	} else {
		attributes = append(attributes, attribute.String("http.request.method", method))
	}
	name := method
	if known.route != noRoute {
		name += " " + known.route
		attributes = append(attributes, attribute.String("http.route", known.route))
	}
	span.SetName(name)
	if observed.status != 0 {
		attributes = append(attributes, attribute.Int("http.response.status_code", observed.status))
	}
	if observed.status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
		attributes = append(attributes, attribute.String("error.type", strconv.Itoa(observed.status)))
	}
	span.SetAttributes(append(attributes, attribute.String("carelog.request_id", known.id))...)
}

// traceParentFor is the traceparent of events that the request causes: that of its own
// span while tracing is on, else what the client sent. A span that is not sampled is told
// only in a trace of the client's, where it keeps what follows from being sampled, whatever
// the client wished.
func (known *request) traceParentFor(ctx context.Context) string {
	own := trace.SpanContextFromContext(ctx)
	if own.IsValid() && (own.IsSampled() || known.trace != "") {
		return tracing.TraceParent(ctx)
	}
	return known.trace
}

// wait waits until the read tables contain the position.
func (a *api) wait(ctx context.Context, pos events.Position) error {
	ctx, span := tracing.Start(ctx, "wait for read tables")
	defer span.End()
	err := a.progress.Wait(ctx, pos)
	tracing.Fail(span, err)
	return err
}

// traceParent is the client's place in a trace (W3C Trace Context, version 00), which
// goes into the events that the request causes; empty without a valid one.
func traceParent(h http.Header) string {
	lines := h["Traceparent"]
	if len(lines) != 1 || len(lines[0]) != len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01") {
		return ""
	}
	parts := strings.Split(lines[0], "-")
	if len(parts) != 4 || parts[0] != "00" || len(parts[1]) != 32 || len(parts[2]) != 16 {
		return ""
	}
	for _, part := range parts[1:3] {
		if strings.Trim(part, "0") == "" {
			return "" // an id of zeros is none
		}
	}
	if strings.Trim(lines[0], "0123456789abcdef-") != "" {
		return ""
	}
	return lines[0]
}
