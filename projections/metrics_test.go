package projections

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/carelog/carelog/events/metricstest"
)

// TestMetrics: what is behind, by how much and how long, what was applied from where,
// and what is stopped.
func TestMetrics(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	log := history(t, patientsOfUser1(9)...)
	log[6].SchemaVersion = 2
	for i := range log {
		log[i].RecordedAt = time.Now().Add(-time.Hour)
	}
	d.log.append(log...)
	registry := prometheus.NewRegistry()
	p := d.process(func(c *Config) { c.Metrics = registry })
	if live := metricstest.Gather(t, registry)["carelog_projections_live"]; live != 0 {
		t.Errorf("live without a runner: %v", live)
	}
	background(t, func(ctx context.Context) error { _ = p.runner.Run(ctx); return nil })
	p.apply(log[:2])
	if err := p.runner.Apply(t.Context(), SourceLog, log[2:5]); err != nil {
		t.Fatal(err)
	}
	waiting, stopWaiting := context.WithCancel(t.Context())
	background(t, func(context.Context) error { return p.progress.Wait(waiting, 100) })
	eventually(t, "somebody waits", func() bool { return metricstest.Gather(t, registry)["carelog_projections_waiters"] == 1 })
	got := metricstest.Gather(t, registry)
	for name, want := range map[string]float64{
		"carelog_projection_applied_events_total bus": 2, "carelog_projection_applied_events_total log": 3,
		"carelog_projection_apply_duration_seconds": 2, "carelog_projection_apply_events": 2,
		"carelog_projection_position patients": 5, "carelog_projection_lag_events patients": 5, "carelog_projection_stopped patients": 0,
		"carelog_projections_live": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if lag := got["carelog_projection_lag_seconds patients"]; lag < 3600 || lag > 3700 {
		t.Errorf("%v seconds behind", lag)
	}
	stopWaiting()
	if err := p.deliver(t.Context(), log[5:]); err == nil {
		t.Fatal("an event of a newer program was applied")
	}
	if got := metricstest.Gather(t, registry); got["carelog_projection_stopped users"] != 1 || got["carelog_projections_live"] != 0 {
		t.Errorf("stopped: %v", got)
	}
}
