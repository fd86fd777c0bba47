package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/carelog/carelog/events/tracing"
)

// traces sends what is traced to where OpenTelemetry's own settings say, which its SDK
// reads by itself. Nothing of it is global.
type traces struct {
	provider *sdktrace.TracerProvider
	exporter *tracesExporter
	tracer   trace.Tracer
}

// openTraces begins to trace. It must be closed.
func openTraces(logger *slog.Logger) (*traces, error) {
	ctx := context.Background() // nothing is connected yet
	about, err := resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.name", "carelog"),
			attribute.String("service.version", version()),
			attribute.String("service.instance.id", uuid.NewString())),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES cannot be used: %w", err)
	}
	sender, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("the OTEL_EXPORTER_OTLP_* variables cannot be used: %w", err)
	}
	t := &traces{exporter: &tracesExporter{SpanExporter: sender, logger: logger}}
	t.exporter.stopping, t.exporter.stop = context.WithCancel(ctx)
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithBatcher(t.exporter))
	t.tracer = t.provider.Tracer(tracing.Scope, trace.WithInstrumentationVersion(version()))
	return t, nil
}

// close sends what is left, for a time; then it is lost.
func (t *traces) close(within time.Duration) {
	defer time.AfterFunc(within, t.exporter.stop).Stop()
	defer t.exporter.stop()
	_ = t.provider.Shutdown(context.Background()) // what went wrong the exporter has told
}

// tracesExporter tells the log of failures, now and then: the SDK would tell a global
// handler of every one.
type tracesExporter struct {
	sdktrace.SpanExporter
	logger   *slog.Logger
	stopping context.Context // nothing is sent any more when it ends
	stop     context.CancelFunc

	mu   sync.Mutex
	told time.Time // when the log was last told
	lost int       // spans since
}

// tellTracesEvery is how often the log is told of spans that are lost.
const tellTracesEvery = time.Minute

func (e *tracesExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.stopping, cancel)()
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.failed(len(spans), err)
	}
	return nil
}

func (e *tracesExporter) failed(spans int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost += spans
	if now := time.Now(); e.told.IsZero() || now.Sub(e.told) >= tellTracesEvery {
		text := err.Error() // of a collector that refuses, with all of its answer
		e.logger.Warn("traces cannot be sent, spans are lost: see OTEL_EXPORTER_OTLP_ENDPOINT", "spans", e.lost, "error", text[:min(len(text), 300)])
		e.told, e.lost = now, 0
	}
}
