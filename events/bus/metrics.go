package bus

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are those of all that works over a connection. Nobody sees them where
// there is no registerer.
type metrics struct {
	lost, restarts, filled prometheus.Counter
	publishing             prometheus.Histogram
}

func newMetrics(c *Conn, registerer prometheus.Registerer) metrics {
	to := promauto.With(registerer)
	to.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_bus_connected", Help: "1 while NATS is connected, else 0.",
	}, func() float64 {
		if c.Err() != nil {
			return 0
		}
		return 1
	})
	return metrics{
		lost: to.NewCounter(prometheus.CounterOpts{
			Name: "carelog_bus_disconnects_total", Help: "Times that the connection to NATS was lost.",
		}),
		restarts: to.NewCounter(prometheus.CounterOpts{
			Name: "carelog_bus_consumer_restarts_total", Help: "Times that receiving from the NATS stream has failed, and was begun again.",
		}),
		filled: to.NewCounter(prometheus.CounterOpts{
			Name: "carelog_bus_filled_events_total", Help: "Events that were missing on the NATS stream before others, and were read from the log.",
		}),
		publishing: to.NewHistogram(prometheus.HistogramOpts{
			Name:    "carelog_bus_publish_duration_seconds",
			Help:    "Time that publishing a batch of events takes, until NATS has acknowledged it.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}),
	}
}
