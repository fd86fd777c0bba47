package eventstore

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/carelog/carelog/events"
)

// askWithin is how long a scrape waits for the database. What is not known by then
// is left out of it.
const askWithin = time.Second

// metrics are those of a store. Nobody sees them where there is no registerer.
type metrics struct {
	appended, conflicts, refused, unknown prometheus.Counter // appends, by outcome
	duration                              prometheus.Histogram
	groupDuration                         prometheus.Histogram
	groupAppends, groupEvents             prometheus.Histogram
	stored, missing, unsettled            prometheus.Counter // groups whose connection was lost, by outcome
}

func newMetrics(s *Store) *metrics {
	to := promauto.With(s.config.Metrics)
	appends := to.NewCounterVec(prometheus.CounterOpts{
		Name: "carelog_appends_total",
		Help: "Appends to the log, by outcome: stored; conflict, something has happened meanwhile; refused, nothing is stored; unknown.",
	}, []string{"outcome"})
	settled := to.NewCounterVec(prometheus.CounterOpts{
		Name: "carelog_append_settled_total",
		Help: "Groups of appends whose connection was lost during their transaction, by what was found out: stored, not_stored, unknown.",
	}, []string{"outcome"})
	to.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_append_waiting",
		Help: "Appends that wait for the next group.",
	}, func() float64 { return float64(s.appends.length()) })
	sizes := []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512}
	m := &metrics{
		appended: appends.WithLabelValues("stored"), conflicts: appends.WithLabelValues("conflict"),
		refused: appends.WithLabelValues("refused"), unknown: appends.WithLabelValues("unknown"),
		stored: settled.WithLabelValues("stored"), missing: settled.WithLabelValues("not_stored"), unsettled: settled.WithLabelValues("unknown"),
		duration: to.NewHistogram(prometheus.HistogramOpts{
			Name:    "carelog_append_duration_seconds",
			Help:    "Time that an append takes, with the wait for its group.",
			Buckets: durations,
		}),
		groupDuration: to.NewHistogram(prometheus.HistogramOpts{
			Name:    "carelog_append_group_duration_seconds",
			Help:    "Time that the transaction of a group of appends takes, with the wait for the lock.",
			Buckets: durations,
		}),
		groupAppends: to.NewHistogram(prometheus.HistogramOpts{
			Name: "carelog_append_group_appends", Help: "Appends in a group, which share a transaction.", Buckets: sizes,
		}),
		groupEvents: to.NewHistogram(prometheus.HistogramOpts{
			Name: "carelog_append_group_events", Help: "Events in a group.", Buckets: sizes,
		}),
	}
	if s.config.Metrics != nil {
		s.config.Metrics.MustRegister(headCollector{s})
	}
	return m
}

// durations are the bounds of the buckets, in seconds.
var durations = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}

// done counts an append by its outcome.
func (m *metrics) done(began time.Time, err error) {
	m.duration.Observe(time.Since(began).Seconds())
	switch {
	case err == nil:
		m.appended.Inc()
	case errors.Is(err, events.ErrConflict):
		m.conflicts.Inc()
	case errors.Is(err, events.ErrOutcomeUnknown):
		m.unknown.Inc()
	default:
		m.refused.Inc()
	}
}

// group counts the transaction of a group.
func (m *metrics) group(began time.Time, group []*request) {
	m.groupDuration.Observe(time.Since(began).Seconds())
	n := 0
	for _, r := range group {
		n += len(r.events)
	}
	m.groupAppends.Observe(float64(len(group)))
	m.groupEvents.Observe(float64(n))
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

var headDesc = prometheus.NewDesc("carelog_log_position", "Position of the log's last event.", nil, nil)

// headCollector asks the database.
type headCollector struct{ store *Store }

func (c headCollector) Describe(to chan<- *prometheus.Desc) { to <- headDesc }

func (c headCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	if head, err := c.store.Head(ctx); err == nil {
		to <- prometheus.MustNewConstMetric(headDesc, prometheus.GaugeValue, float64(head))
	}
}

var (
	publishedDesc    = prometheus.NewDesc("carelog_relay_position", "Position of the last event that was published. Only of the process that publishes, as are all of the relay.", nil, nil)
	relayEventsDesc  = prometheus.NewDesc("carelog_relay_lag_events", "Events in the log that were not published yet.", nil, nil)
	relaySecondsDesc = prometheus.NewDesc("carelog_relay_lag_seconds", "Age of the first event that was not published yet, by this machine's clock; 0 when there is none.", nil, nil)
	relayUpDesc      = prometheus.NewDesc("carelog_relay_up", "1 while events can be published, else 0.", nil, nil)
)

// relayCollector tells of a relay while it runs.
type relayCollector struct{ relay *Relay }

func newRelayMetrics(r *Relay, to prometheus.Registerer) (failures prometheus.Counter) {
	if to != nil {
		to.MustRegister(relayCollector{r})
	}
	return promauto.With(to).NewCounter(prometheus.CounterOpts{
		Name: "carelog_relay_failures_total", Help: "Failures to publish events, each of which is tried again.",
	})
}

func (c relayCollector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{publishedDesc, relayEventsDesc, relaySecondsDesc, relayUpDesc} {
		to <- desc
	}
}

func (c relayCollector) Collect(to chan<- prometheus.Metric) {
	if !c.relay.running.Load() {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	published, up := c.relay.Published(), 0.
	if c.relay.Err() == nil {
		up = 1
	}
	gauge(relayUpDesc, up)
	if published == 0 && up == 0 {
		return // what was published is not known yet
	}
	gauge(publishedDesc, float64(published))
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	head, err := c.relay.config.Store.Head(ctx)
	if err != nil {
		return
	}
	gauge(relayEventsDesc, float64(max(0, head-published)))
	if head <= published {
		gauge(relaySecondsDesc, 0)
		return
	}
	if next, err := c.relay.config.Store.Read(ctx, published, 1); err == nil && len(next) > 0 {
		gauge(relaySecondsDesc, max(0, time.Since(next[0].RecordedAt).Seconds()))
	}
}
