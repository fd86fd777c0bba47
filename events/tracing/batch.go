package tracing

import (
	"bytes"
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/carelog/carelog/events"
)

// liveFor is how old an event may be for being a part of its request still. Clocks of
// the database and of this process may differ by less than that.
const liveFor = 5 * time.Minute

// Batch are the spans of a batch of events that are worked on together.
type Batch []trace.Span

// StartBatch begins a span for each traced request that the batch has events of,
// below the request's own: "publish patient.registered", after the first of them. It
// does nothing with a nil tracer. The batch must be ended.
func StartBatch(tracer trace.Tracer, verb string, kind trace.SpanKind, evs []events.Recorded, attributes ...attribute.KeyValue) Batch {
	if tracer == nil {
		return nil
	}
	var batch Batch
	oldest := time.Now().Add(-liveFor)
	for first := 0; first < len(evs); {
		e, parent, next := evs[first], traceParentOf(evs[first]), first+1
		for next < len(evs) && traceParentOf(evs[next]) == parent {
			next++
		}
		ctx := Continue(context.Background(), parent)
		if trace.SpanContextFromContext(ctx).IsSampled() && e.RecordedAt.After(oldest) {
			_, span := tracer.Start(ctx, verb+" "+string(e.Type),
				trace.WithSpanKind(kind), trace.WithAttributes(attributes...), trace.WithAttributes(
					attribute.String("messaging.operation.name", verb),
					attribute.String("messaging.message.id", e.ID.String()),
					attribute.Int("messaging.batch.message_count", len(evs)),
					attribute.Int64("carelog.position", int64(e.Position)),
					attribute.Int("carelog.events", next-first)))
			batch = append(batch, span)
		}
		first = next
	}
	return batch
}

// End ends all spans, with what became of the batch.
func (b Batch) End(err error) {
	for _, span := range b {
		Fail(span, err)
		span.End()
	}
}

// Fail marks a span as that of work that failed. Why, the log tells: the text of an
// error may quote data.
func Fail(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, "")
	}
}

// traceParentOf reads the traceparent of an event, without decoding its metadata: a
// quoted name in JSON, with a colon, is never a part of a string.
func traceParentOf(e events.Recorded) string {
	if e.TraceParent != "" {
		return e.TraceParent
	}
	const key = `"` + traceParentKey + `":"`
	at := bytes.Index(e.Metadata, []byte(key))
	if at < 0 {
		return ""
	}
	value, _, _ := bytes.Cut(e.Metadata[at+len(key):], []byte{'"'})
	return string(value)
}
