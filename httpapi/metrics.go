package httpapi

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are those of the API. Nobody sees them where there is no registerer. No
// label holds anything that a client has made up, or that names a user.
type metrics struct {
	inFlight prometheus.Gauge
	waits    prometheus.Histogram
	pending  prometheus.Counter
	ended    *prometheus.CounterVec // streams of events, by reason

	routes map[string]map[string]*measured // by pattern and method
}

// seconds are the bounds of the buckets of durations.
var seconds = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}

// newMetrics prepares those of the routes, so that a request looks up no labels.
func newMetrics(routes []route, registerer prometheus.Registerer) *metrics {
	to := promauto.With(registerer)
	requests := to.NewCounterVec(prometheus.CounterOpts{
		Name: "carelog_http_requests_total",
		Help: "Requests that were answered, by method, route and status.",
	}, []string{"method", "route", "status"})
	durations := to.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "carelog_http_request_duration_seconds",
		Help:    "Time from the end of a request's headers to the end of its answer, or until a stream of events has begun.",
		Buckets: seconds,
	}, []string{"method", "route"})
	m := &metrics{
		inFlight: to.NewGauge(prometheus.GaugeOpts{
			Name: "carelog_http_requests_in_flight", Help: "Requests that are under way, streams of events with them.",
		}),
		waits: to.NewHistogram(prometheus.HistogramOpts{
			Name:    "carelog_http_projection_wait_seconds",
			Help:    "Time that answers to changes have waited for the read tables to contain them.",
			Buckets: seconds,
		}),
		pending: to.NewCounter(prometheus.CounterOpts{
			Name: "carelog_http_pending_answers_total",
			Help: "Answers to changes that are stored and could not be read in time (Carelog-Projected: pending).",
		}),
		ended: to.NewCounterVec(prometheus.CounterOpts{
			Name: "carelog_http_streams_ended_total",
			Help: "Streams of Server-Sent Events that have ended, by the reason that the client was told; gone (the client went) and stalled (it took nothing for 10 seconds) are not told.",
		}, []string{"reason"}),
		routes: map[string]map[string]*measured{},
	}
	for _, end := range endsOfStreams {
		m.ended.WithLabelValues(end.reason)
	}
	for _, rt := range append(routes, route{pattern: noRoute}) {
		byMethod := map[string]*measured{}
		for _, method := range loggedMethods {
			one := &measured{
				duration: sync.OnceValue(func() prometheus.Observer { return durations.WithLabelValues(method, rt.pattern) }),
				counter: func(status int) prometheus.Counter {
					return requests.WithLabelValues(method, rt.pattern, strconv.Itoa(status))
				},
			}
			if rt.methods[method] != nil {
				one.duration() // so that it is there before the first request
			}
			byMethod[method] = one
		}
		m.routes[rt.pattern] = byMethod
	}
	return m
}

// measured are the metrics of a route and method.
type measured struct {
	duration func() prometheus.Observer
	counter  func(status int) prometheus.Counter

	mu       sync.Mutex                                 // of who adds a status
	counters atomic.Pointer[map[int]prometheus.Counter] // by status; never changed, only replaced
}

// done counts a request that was answered.
func (m *metrics) done(known *request, method string, status int, took time.Duration) {
	if known.toStream > 0 {
		took = known.toStream
	}
	one := m.routes[known.route][method]
	one.duration().Observe(took.Seconds())
	one.count(status)
}

func (m *measured) count(status int) {
	counters := m.counters.Load()
	if counters == nil || (*counters)[status] == nil {
		counters = m.add(status)
	}
	(*counters)[status].Inc()
}

func (m *measured) add(status int) *map[int]prometheus.Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[int]prometheus.Counter{}
	if before := m.counters.Load(); before != nil {
		maps.Copy(all, *before)
	}
	all[status] = m.counter(status)
	m.counters.Store(&all)
	return &all
}

// registerLimits registers what is known of limits anyway.
func (a *api) registerLimits(registerer prometheus.Registerer) {
	to := promauto.With(registerer)
	for _, admission := range a.admissions.all() {
		kind := prometheus.Labels{"kind": admission.kind}
		to.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "carelog_http_admission_places", Help: "Requests that may be served at once, by kind.", ConstLabels: kind,
		}, func() float64 { return float64(admission.bound.Places) })
		to.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "carelog_http_admission_served", Help: "Requests that have a place, by kind.", ConstLabels: kind,
		}, func() float64 { served, _ := admission.counts(); return float64(served) })
		to.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "carelog_http_admission_waiting", Help: "Requests that wait for a place, by kind.", ConstLabels: kind,
		}, func() float64 { _, waiting := admission.counts(); return float64(waiting) })
		to.NewCounterFunc(prometheus.CounterOpts{
			Name: "carelog_http_refused_total", Help: "Requests that were refused with 503 because too many were under way, by kind.", ConstLabels: kind,
		}, func() float64 { return float64(admission.refused.total()) })
	}
	for name, throttle := range map[string]*throttle{
		"login_account": a.throttles.loginAccount, "login_address": a.throttles.loginAddress, "register": a.throttles.register,
	} {
		to.NewCounterFunc(prometheus.CounterOpts{
			Name: "carelog_http_throttled_total", Help: "Attempts that were refused with 429, by the limit that they were over.",
			ConstLabels: prometheus.Labels{"limit": name},
		}, func() float64 { return float64(throttle.refusals()) })
	}
	to.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_http_streams", Help: "Answers that are sent bit by bit: streams and lines of events.",
	}, func() float64 { return float64(a.open.count()) })
}

func (a *admission) counts() (served, waiting int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.served, len(a.waiting)
}

func (t *throttle) refusals() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused
}

func (c *connections) register(registerer prometheus.Registerer) {
	to := promauto.With(registerer)
	to.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_http_connections", Help: "Connections of clients.",
	}, func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(len(c.known))
	})
	to.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_http_connections_max", Help: "Connections that there may be (CARELOG_MAX_CONNECTIONS, or fewer where the system allows fewer open files).",
	}, func() float64 { return float64(c.most) })
	to.NewCounterFunc(prometheus.CounterOpts{
		Name: "carelog_http_connections_closed_total", Help: "Connections that were closed to make room for others.",
	}, func() float64 { return float64(c.closed.total()) })
}
