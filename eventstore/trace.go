package eventstore

import (
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/tracing"
)

// inGroup is what an append's span tells of the group that it was in.
type inGroup struct {
	began   time.Time // zero when no group had it
	appends int       // that were in the group
}

// tell tells an append's span what became of it, and answers that.
func tell(span trace.Span, a answer) (events.Position, error) {
	if !span.IsRecording() {
		return a.last, a.err
	}
	if !a.group.began.IsZero() {
		span.AddEvent("commit", trace.WithTimestamp(a.group.began))
		span.SetAttributes(attribute.Int("carelog.group_size", a.group.appends))
	}
	switch {
	case a.err == nil:
		span.SetAttributes(attribute.Int64("carelog.position", int64(a.last)))
	case errors.Is(a.err, events.ErrConflict):
		span.SetAttributes(attribute.Bool("carelog.conflict", true))
	default:
		tracing.Fail(span, a.err)
	}
	return a.last, a.err
}
