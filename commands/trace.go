package commands

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// tellTries tells a decision's span how often it was decided: more than once after
// conflicts.
func tellTries(span trace.Span, tries int) {
	if span.IsRecording() {
		span.SetAttributes(attribute.Int("carelog.tries", tries))
	}
}
