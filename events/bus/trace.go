package bus

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/tracing"
)

// startPublishing begins the spans of events that are about to be published.
func (c *Carrier) startPublishing(evs []events.Recorded) tracing.Batch {
	if c.cfg.Tracer == nil {
		return nil
	}
	return tracing.StartBatch(c.cfg.Tracer, "publish", trace.SpanKindProducer, evs,
		attribute.String("messaging.operation.type", "send"), attribute.String("messaging.system", "nats"),
		attribute.String("messaging.destination.name", StreamName))
}
