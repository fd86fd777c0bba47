package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/metricstest"
	"github.com/carelog/carelog/projections"
)

func TestRequestsAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(c *Config) {
		c.Metrics = registry
		c.Throttle.Register = 1
	})
	before := metricstest.Gather(t, registry)
	if _, there := before["carelog_http_request_duration_seconds PATCH /api/patients/{id}/"]; !there {
		t.Error("a route that nobody has asked for is not there")
	}
	w.do("GET", "/api/patients/42/", "")
	w.do("GET", "/api/patients/42", "")
	w.do("HEAD", "/api/patients/42/", "")
	w.do("GET", "/api/patients/41/", "")
	w.do("GET", "/api/patients/x/", "")
	w.do("GET", "/secret/of/somebody", "")
	w.do("JOHNDOE", "/api/patients/", "")
	w.do("POST", "/api/patients/", goodPatient)
	w.progress.err = projections.ErrPending
	w.do("POST", "/api/patients/", goodPatient)
	for range 3 {
		w.do("POST", "/api/auth/register/", `{"name":"Jo","email":"jo@example.com","password":"securepassword123"}`, nobody)
	}
	got := metricstest.Gather(t, registry)
	for name, want := range map[string]float64{
		"carelog_http_requests_total GET /api/patients/{id}/ 200":         2,
		"carelog_http_requests_total HEAD /api/patients/{id}/ 200":        1,
		"carelog_http_requests_total GET /api/patients/{id}/ 404":         1,
		"carelog_http_requests_total GET none 404":                        2,
		"carelog_http_requests_total other /api/patients/ 405":            1,
		"carelog_http_requests_total POST /api/patients/ 201":             2,
		"carelog_http_request_duration_seconds POST /api/patients/":       2,
		"carelog_http_request_duration_seconds GET /api/patients/{id}/":   3,
		"carelog_http_request_duration_seconds PATCH /api/patients/{id}/": 0,
		"carelog_http_requests_in_flight":                                 0,
		"carelog_http_pending_answers_total":                              2, // and of who has registered
		"carelog_http_projection_wait_seconds":                            3,
		"carelog_http_throttled_total register":                           2,
		"carelog_http_throttled_total login_account":                      0,
		"carelog_http_admission_places reads":                             256,
		"carelog_http_admission_served reads":                             0,
		"carelog_http_refused_total reads":                                0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	for name := range got {
		if strings.Contains(name, "JOHN") || strings.Contains(name, "secret") {
			t.Errorf("a client has made up %s", name)
		}
	}
}

// TestMetricsAreARouteWhereTheyAreServed: else there is none.
func TestMetricsAreARouteWhereTheyAreServed(t *testing.T) {
	if got := newWorld(t).do("GET", "/metrics", "", nobody); got.Code != 404 {
		t.Errorf("%d", got.Code)
	}
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(c *Config) {
		c.Metrics, c.Scrape = registry, NewScrape(registry, slog.New(slog.DiscardHandler))
	})
	for _, path := range []string{"/metrics", "/metrics/"} {
		got := w.do("GET", path, "", nobody)
		if got.Code != 200 || !strings.HasPrefix(got.Header().Get("Content-Type"), "text/plain; version=0.0.4") || !strings.Contains(got.Body.String(), "\ncarelog_http_streams 0\n") {
			t.Errorf("%d %v %s", got.Code, got.Header(), got.Body)
		}
	}
	if got := w.do("HEAD", "/metrics", "", nobody); got.Code != 200 || got.Body.Len() != 0 {
		t.Errorf("HEAD: %d %s", got.Code, got.Body)
	}
	if got := w.do("POST", "/metrics", "", nobody); got.Code != 405 {
		t.Errorf("POST: %d", got.Code)
	}
}

// TestWhoIsGoneIsNoFailure of the server: neither in the metrics nor in the access log.
func TestWhoIsGoneIsNoFailure(t *testing.T) {
	for _, test := range []struct {
		gone bool
		err  error
		want string
	}{
		{true, context.Canceled, "499"},
		{true, errors.New("a defect"), "500"},
		{true, nil, "404"},
		{false, events.ErrUnavailable, "503"},
	} {
		registry := prometheus.NewRegistry()
		w := newWorld(t, func(c *Config) { c.Metrics = registry })
		w.queries.err = test.err
		ctx, hangUp := context.WithCancel(t.Context())
		defer hangUp()
		if test.gone {
			hangUp()
		}
		r := httptest.NewRequestWithContext(ctx, "GET", "/api/patients/41/", nil)
		r.Header.Set("Authorization", "Bearer "+w.token(1))
		w.handler.ServeHTTP(httptest.NewRecorder(), r)
		if got := metricstest.Gather(t, registry); got["carelog_http_requests_total GET /api/patients/{id}/ "+test.want] != 1 {
			t.Errorf("%+v: %v", test, got)
		}
		if lines := w.log.lines(`"status":` + test.want); len(lines) == 0 {
			t.Errorf("%+v: logged %s", test, w.log)
		}
	}
}

// A stream counts as long as it took to begin: how long it lasts is no latency.
func TestAStreamCountsUntilItHasBegun(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics((&api{}).routes(), registry)
	m.done(&request{route: eventsPattern, toStream: time.Millisecond}, "GET", 200, time.Hour)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			if sum := metric.Histogram.GetSampleSum(); sum > 1 {
				t.Errorf("%s: %v s", family.GetName(), sum)
			}
		}
	}
}

// What counting a request costs: its counter, its duration, and that it is under way.
func BenchmarkCounting(b *testing.B) {
	m := newMetrics((&api{}).routes(), prometheus.NewRegistry())
	known := &request{route: "/api/patients/"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.inFlight.Inc()
			began := time.Now()
			m.inFlight.Dec()
			m.done(known, http.MethodPost, http.StatusCreated, time.Since(began))
		}
	})
}

// What a scrape costs, of the API alone.
func BenchmarkScrape(b *testing.B) {
	registry := prometheus.NewRegistry()
	newMetrics((&api{}).routes(), registry)
	scrape := NewScrape(registry, slog.New(slog.DiscardHandler))
	for b.Loop() {
		answer := httptest.NewRecorder()
		answer.Body = nil
		scrape.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	}
}
