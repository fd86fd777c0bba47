package projections

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// askWithin is how long a scrape waits for the database. What is not known by then
// is left out of it.
const askWithin = time.Second

// runnerMetrics are those of a runner. Nobody sees them where there is no
// registerer.
type runnerMetrics struct{ duration, events prometheus.Histogram }

func newRunnerMetrics(r *Runner) runnerMetrics {
	to := promauto.With(r.config.Metrics)
	for _, source := range []Source{SourceBus, SourceLog} {
		to.NewCounterFunc(prometheus.CounterOpts{
			Name:        "carelog_projection_applied_events_total",
			Help:        "Events that this process has put into the read tables, by where it had them from: the bus, as in normal running, or the log, because the bus did not bring them.",
			ConstLabels: prometheus.Labels{"source": source.String()},
		}, func() float64 { return float64(r.Applied(source)) })
	}
	if r.config.Metrics != nil {
		r.config.Metrics.MustRegister(statusCollector{r})
	}
	return runnerMetrics{
		duration: to.NewHistogram(prometheus.HistogramOpts{
			Name:    "carelog_projection_apply_duration_seconds",
			Help:    "Time that the transaction takes which puts a batch of events into the read tables.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}),
		events: to.NewHistogram(prometheus.HistogramOpts{
			Name:    "carelog_projection_apply_events",
			Help:    "Events in such a batch.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512},
		}),
	}
}

// applied counts a batch.
func (m runnerMetrics) applied(began time.Time, n int) {
	m.duration.Observe(time.Since(began).Seconds())
	m.events.Observe(float64(n))
}

var (
	positionDesc   = prometheus.NewDesc("carelog_projection_position", "Position that a projection's tables contain, whichever process applies events.", []string{"projection"}, nil)
	lagEventsDesc  = prometheus.NewDesc("carelog_projection_lag_events", "Events in the log that a projection's tables do not contain yet.", []string{"projection"}, nil)
	lagSecondsDesc = prometheus.NewDesc("carelog_projection_lag_seconds", "Age of the first event that a projection's tables do not contain yet, by this machine's clock; 0 when there is none.", []string{"projection"}, nil)
	stoppedDesc    = prometheus.NewDesc("carelog_projection_stopped", "1 when a projection is stopped at an event, or its tables cannot be used, else 0.", []string{"projection"}, nil)
)

// statusCollector asks the database how far the projections are.
type statusCollector struct{ runner *Runner }

// Describe implements [prometheus.Collector].
func (c statusCollector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{positionDesc, lagEventsDesc, lagSecondsDesc, stoppedDesc} {
		to <- desc
	}
}

// Collect implements [prometheus.Collector].
func (c statusCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	status, err := c.runner.Status(ctx)
	if err != nil {
		return
	}
	for _, p := range status.Projections {
		gauge := func(desc *prometheus.Desc, value float64) {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, p.Name)
		}
		gauge(positionDesc, float64(p.Position))
		gauge(lagEventsDesc, float64(p.Lag))
		gauge(stoppedDesc, number(p.Stopped != nil || p.Unfit != nil))
		if age, err := c.age(ctx, p); err == nil {
			gauge(lagSecondsDesc, age.Seconds())
		}
	}
}

// age is that of the first event which a projection's tables do not contain.
func (c statusCollector) age(ctx context.Context, p ProjectionStatus) (time.Duration, error) {
	if p.Lag == 0 {
		return 0, nil
	}
	next, err := c.runner.config.Log.Read(ctx, p.Position, 1)
	if err != nil || len(next) == 0 {
		return 0, err
	}
	return max(0, time.Since(next[0].RecordedAt)), nil
}

func (p *Progress) register(registerer prometheus.Registerer) {
	to := promauto.With(registerer)
	to.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_projections_live",
		Help: "1 while what is appended will reach the read tables, as far as this process knows, else 0: it takes no changes then.",
	}, func() float64 { return number(p.Live() == nil) })
	to.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_projections_waiters",
		Help: "Those in this process who wait for the read tables to contain a position: answers to changes, and one for all who follow events.",
	}, func() float64 {
		p.mu.Lock()
		defer p.mu.Unlock()
		return float64(len(p.waiters.queue))
	})
	to.NewCounterFunc(prometheus.CounterOpts{
		Name: "carelog_projections_went_back_total",
		Help: "Times that the read tables were found at an earlier position than before: the database was put back to an earlier state.",
	}, func() float64 { return float64(p.Restarts()) })
}

func (l *Lease) register(registerer prometheus.Registerer) {
	promauto.With(registerer).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_projections_lease_held",
		Help: "1 in the process that carries events to the read tables, 0 in those that stand by.",
	}, func() float64 { return number(l.Held()) })
}

func number(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}
