package projections

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/tracing"
)

// startApplying begins the spans of events that are about to be applied.
func (r *Runner) startApplying(source Source, evs []events.Recorded) tracing.Batch {
	if r.config.Tracer == nil {
		return nil
	}
	return tracing.StartBatch(r.config.Tracer, "apply", trace.SpanKindConsumer, evs,
		attribute.String("messaging.operation.type", "process"), attribute.String("source", source.String()))
}

// startStatement begins the span of a statement, or of waiting for one that is shared.
func startStatement(ctx context.Context, doing string) (context.Context, trace.Span) {
	ctx, span := tracing.Start(ctx, doing)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("db.system.name", "postgresql"))
	}
	return ctx, span
}
