package httpapi

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// requestLog adds to each line what the context tells of the request in whose course
// it is logged: its id, and that of its trace, when that is recorded.
type requestLog struct{ slog.Handler }

func (h requestLog) Handle(ctx context.Context, line slog.Record) error {
	if known, ok := ctx.Value(requestKey{}).(*request); ok {
		line.AddAttrs(slog.String("request_id", known.id), traceID(ctx))
	}
	return h.Handler.Handle(ctx, line)
}

func (h requestLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestLog{h.Handler.WithAttrs(attrs)}
}

func (h requestLog) WithGroup(name string) slog.Handler {
	return requestLog{h.Handler.WithGroup(name)}
}

// traceID is the id of the context's trace as an attribute of a line; empty, which
// handlers leave out, when there is none that is recorded.
func traceID(ctx context.Context) slog.Attr {
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		return slog.String("trace_id", span.TraceID().String())
	}
	return slog.Attr{}
}
