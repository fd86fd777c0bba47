package accounts

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are those of a hasher. Nobody sees them where there is no registerer.
type metrics struct {
	waiting  prometheus.Gauge
	refused  prometheus.Counter
	duration prometheus.Histogram
}

func newMetrics(h *Hasher, registerer prometheus.Registerer) metrics {
	to := promauto.With(registerer)
	to.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_hashing_running", Help: "Passwords that are being hashed.",
	}, func() float64 { return float64(len(h.places)) })
	to.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_hashing_places", Help: "Passwords that may be hashed at the same time (CARELOG_HASH_CONCURRENCY).",
	}, func() float64 { return float64(cap(h.places)) })
	return metrics{
		waiting: to.NewGauge(prometheus.GaugeOpts{
			Name: "carelog_hashing_waiting", Help: "Passwords that wait for their turn to be hashed.",
		}),
		refused: to.NewCounter(prometheus.CounterOpts{
			Name: "carelog_hashing_refused_total", Help: "Passwords that have waited for too long, and were refused with 503.",
		}),
		duration: to.NewHistogram(prometheus.HistogramOpts{
			Name:    "carelog_hashing_duration_seconds",
			Help:    "Time that hashing a password takes, without the wait.",
			Buckets: []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5},
		}),
	}
}
