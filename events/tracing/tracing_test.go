package tracing_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/tracing"
)

const (
	traceOf  = "4bf92f3577b34da6a3ce929d0e0e4736"
	client   = "00-" + traceOf + "-00f067aa0ba902b7-01"
	unwanted = "00-" + traceOf + "-00f067aa0ba902b7-00"
)

// newTracer answers a tracer and what it has recorded.
func newTracer(options ...sdktrace.TracerProviderOption) (trace.Tracer, *tracetest.SpanRecorder) {
	recorder := tracetest.NewSpanRecorder()
	options = append(options, sdktrace.WithSpanProcessor(recorder))
	return sdktrace.NewTracerProvider(options...).Tracer(tracing.Scope), recorder
}

func recorded(position events.Position, traceParent string) events.Recorded {
	metadata, _ := json.Marshal(events.Metadata{Actor: events.Actor{UserID: 3}, RequestID: `"traceparent":"` + client, TraceParent: traceParent})
	return events.Recorded{
		Event:    events.Event{ID: uuid.New(), Type: "patient.registered", Metadata: metadata},
		Position: position, RecordedAt: time.Now(),
	}
}

func values(span sdktrace.ReadOnlySpan) map[string]any {
	all := map[string]any{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}

func TestABatchHasASpanForEachTracedRequest(t *testing.T) {
	tracer, recorder := newTracer()
	other := strings.Replace(client, "4b", "4c", 1)
	fromBus := recorded(6, "")
	fromBus.Metadata, fromBus.TraceParent = nil, other
	batch := []events.Recorded{
		recorded(1, ""), recorded(2, client), recorded(3, client), recorded(4, other), recorded(5, unwanted), fromBus, recorded(7, "no traceparent 1"),
	}
	spans := tracing.StartBatch(tracer, "apply", trace.SpanKindConsumer, batch, attribute.String("source", "log"))
	if len(recorder.Ended()) > 0 {
		t.Error("spans ended before the batch")
	}
	spans.End(nil)
	ended := recorder.Ended()
	for i, want := range []struct {
		trace            string
		position, events int64
	}{{client, 2, 2}, {other, 4, 1}, {other, 6, 1}} {
		if len(ended) <= i {
			t.Fatalf("%d spans", len(ended))
		}
		span, has := ended[i], values(ended[i])
		parent := span.Parent()
		if got := tracing.TraceParent(trace.ContextWithSpanContext(t.Context(), parent)); got != want.trace || span.SpanContext().TraceID() != parent.TraceID() {
			t.Errorf("span %d has the parent %s, want %s", i, got, want.trace)
		}
		if span.Name() != "apply patient.registered" || span.SpanKind() != trace.SpanKindConsumer || span.Status().Code != codes.Unset ||
			has["carelog.position"] != want.position || has["carelog.events"] != want.events || has["messaging.batch.message_count"] != int64(len(batch)) || has["source"] != "log" {
			t.Errorf("span %d: %s %v %v", i, span.Name(), span.Status(), has)
		}
	}
	if len(ended) != 3 {
		t.Errorf("%d spans", len(ended))
	}
}

// What is published or applied long after it happened is no part of its request: a
// replay, or catching up after a stop. The youngest of the same events has a span.
func TestOldEventsHaveNoSpans(t *testing.T) {
	tracer, recorder := newTracer()
	batch := []events.Recorded{recorded(1, client), recorded(2, strings.Replace(client, "4b", "4c", 1))}
	batch[0].RecordedAt = time.Now().Add(-time.Hour)
	tracing.StartBatch(tracer, "apply", trace.SpanKindConsumer, batch).End(errors.New("failed"))
	ended := recorder.Ended()
	if len(ended) != 1 || values(ended[0])["carelog.position"] != int64(2) || ended[0].Status().Code != codes.Error || ended[0].Status().Description != "" {
		t.Errorf("%d spans", len(ended))
	}
}

// The sampler of this process has the last word on what another has sampled.
func TestTheSamplerDecidesOfBatches(t *testing.T) {
	tracer, recorder := newTracer(sdktrace.WithSampler(sdktrace.NeverSample()))
	tracing.StartBatch(tracer, "apply", trace.SpanKindConsumer, []events.Recorded{recorded(1, client)}).End(nil)
	if len(recorder.Ended()) != 0 {
		t.Error("a span was recorded")
	}
}

func TestSpansAreBelowThatOfTheContext(t *testing.T) {
	tracer, recorder := newTracer()
	ctx, above := tracer.Start(tracing.Continue(t.Context(), client), "above")
	_, below := tracing.Start(ctx, "below")
	below.End()
	above.End()
	ended := recorder.Ended()
	if len(ended) != 2 || ended[0].Parent().SpanID() != above.SpanContext().SpanID() || ended[0].SpanContext().TraceID().String() != traceOf {
		t.Errorf("%d spans", len(ended))
	}
	if _, late := tracing.Start(ctx, "late"); late.IsRecording() {
		t.Error("a span began below one that had ended")
	}
	if got := tracing.TraceParent(tracing.Continue(t.Context(), client)); got != client {
		t.Error(got)
	}
	if got := tracing.TraceParent(tracing.Continue(t.Context(), strings.ToUpper(client))); got != "" {
		t.Error(got)
	}
}

// While tracing is off it costs no memory.
func TestNoTracingCostsNoMemory(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	batch := []events.Recorded{recorded(1, client), recorded(2, "")}
	work := func(tracer trace.Tracer) func() {
		return func() {
			ctx, span := tracing.Start(ctx, "name")
			if ctx == nil || span.IsRecording() {
				t.Error("a span began")
			}
			tracing.Fail(span, context.Canceled)
			span.End()
			tracing.StartBatch(tracer, "apply", trace.SpanKindConsumer, batch).End(nil)
		}
	}
	if n := testing.AllocsPerRun(100, work(nil)); n != 0 {
		t.Errorf("%v allocations", n)
	}
	tracer, _ := newTracer()
	if n := testing.AllocsPerRun(100, work(tracer)); n == 0 {
		t.Error("tracing costs no allocations either: nothing was measured")
	}
}
