package tracing

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Scope names Carelog's spans among those of others.
const Scope = "github.com/carelog/carelog"

// none does nothing.
var none = trace.SpanFromContext(context.Background())

// Start begins a span below that of the context. Where none is recorded, it answers
// a span that does nothing. The span must be ended.
func Start(ctx context.Context, name string) (context.Context, trace.Span) {
	above := trace.SpanFromContext(ctx)
	if !above.IsRecording() {
		return ctx, none
	}
	return above.TracerProvider().Tracer(Scope).Start(ctx, name)
}

// traceParentKey is the one thing of W3C Trace Context that is kept.
const traceParentKey = "traceparent"

// Continue returns a context in which spans begin below the one that a traceparent
// names; the same context when it names none.
func Continue(ctx context.Context, traceParent string) context.Context {
	if traceParent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceParentKey: traceParent})
}

// TraceParent is what the context's span is called in what it causes; empty without one.
func TraceParent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceParentKey]
}
