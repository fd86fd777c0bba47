package commands

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/carelog/carelog/events"
)

func countOf(t *testing.T, counter prometheus.Counter) float64 {
	t.Helper()
	var metric dto.Metric
	if err := counter.Write(&metric); err != nil {
		t.Fatal(err)
	}
	return metric.Counter.GetValue()
}

func TestConflictsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := NewMetrics(prometheus.NewRegistry())
		service, log := given(t, patient(5, 1))
		service.Metrics, log.conflicts = metrics, 3
		if _, err := service.RemovePatient(t.Context(), Caller{UserID: 1}, RemovePatient{ID: 5}); err != nil {
			t.Fatal(err)
		}
		if changed, retries := countOf(t, metrics.changed), countOf(t, metrics.retries); changed != 3 || retries != 3 || countOf(t, metrics.gaveUp) != 0 {
			t.Errorf("%v conflicts, %v retries", changed, retries)
		}
		service, log = given(t, patient(5, 1))
		service.Metrics, log.conflicts = metrics, 1000
		if _, err := service.RemovePatient(t.Context(), Caller{UserID: 1}, RemovePatient{ID: 5}); !errors.Is(err, ErrBusy) || countOf(t, metrics.gaveUp) != 1 {
			t.Errorf("%v, %v given up", err, countOf(t, metrics.gaveUp))
		}
		metrics.conflict(events.ErrConflict)
		if countOf(t, metrics.standing) != 1 {
			t.Error("who may not act any more is not counted")
		}
	})
}
