package commands

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are those of a [Service].
type Metrics struct{ changed, standing, retries, gaveUp prometheus.Counter }

// NewMetrics registers them; nil: nowhere.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	to := promauto.With(registerer)
	conflicts := to.NewCounterVec(prometheus.CounterOpts{
		Name: "carelog_command_conflicts_total",
		Help: "Appends of commands that met a conflict, by reason: changed, what was decided on is no longer so; standing, the user may not act any more.",
	}, []string{"reason"})
	return &Metrics{
		changed:  conflicts.WithLabelValues("changed"),
		standing: conflicts.WithLabelValues("standing"),
		retries: to.NewCounter(prometheus.CounterOpts{
			Name: "carelog_command_retries_total", Help: "Times that a command was decided anew because of a conflict.",
		}),
		gaveUp: to.NewCounter(prometheus.CounterOpts{
			Name: "carelog_command_gave_up_total", Help: "Commands that met a conflict each time they were tried, and were refused with 503.",
		}),
	}
}

// conflict counts a conflict: refused, when the user may not act any more.
func (m *Metrics) conflict(refused error) {
	switch {
	case m == nil:
	case refused != nil:
		m.standing.Inc()
	default:
		m.changed.Inc()
	}
}

func (m *Metrics) retry() {
	if m != nil {
		m.retries.Inc()
	}
}

// giveUp counts and answers that a command was tried in vain.
func (m *Metrics) giveUp() error {
	if m != nil {
		m.gaveUp.Inc()
	}
	return ErrBusy
}
