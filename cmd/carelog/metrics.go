package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	dto "github.com/prometheus/client_model/go"

	"github.com/carelog/carelog/httpapi"
)

// metrics are those of the process, and those of the pipeline once it is there.
type metrics struct {
	process  *prometheus.Registry
	pipeline atomic.Pointer[prometheus.Registry]
	scrape   http.Handler // answers /metrics
	listener net.Listener // nil: where the API is
}

// newMetrics listens, where metrics have an address of their own.
func newMetrics(config Config, logger *slog.Logger) (*metrics, error) {
	m := &metrics{process: prometheus.NewRegistry()}
	m.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registerBuild(m.process)
	m.scrape = httpapi.NewScrape(prometheus.GathererFunc(m.gather), logger)
	if config.MetricsAddr != "" {
		var err error
		if m.listener, err = net.Listen("tcp", config.MetricsAddr); err != nil {
			return nil, fmt.Errorf("%w: set CARELOG_METRICS_ADDR to another address, or to port 0 for any that is free", err)
		}
	}
	return m, nil
}

func (m *metrics) gather() ([]*dto.MetricFamily, error) {
	all := prometheus.Gatherers{m.process}
	if pipeline := m.pipeline.Load(); pipeline != nil {
		all = append(all, pipeline)
	}
	return all.Gather()
}

// besideAPI is the handler of /metrics, where that is on the API's address.
func (m *metrics) besideAPI() http.Handler {
	if m.listener != nil {
		return nil
	}
	return m.scrape
}

// maxScrapers is how many connections there may be to the address of the metrics.
const maxScrapers = 64

// serve answers on the metrics' own address, where they have one, until the context
// ends.
func (m *metrics) serve(ctx context.Context, logger *slog.Logger) error {
	if m.listener == nil {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.scrape)
	server := httpapi.NewServer(mux, maxScrapers, nil, logger)
	defer context.AfterFunc(ctx, func() { server.Close() })()
	logger.Info("metrics are served", "url", "http://"+m.listener.Addr().String()+"/metrics")
	if err := server.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

// close frees the address.
func (m *metrics) close() {
	if m.listener != nil {
		m.listener.Close() // it may be closed already
	}
}

func registerBuild(to prometheus.Registerer) {
	labels := prometheus.Labels{"version": "unknown", "commit": "unknown", "go_version": runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		labels["version"] = info.Main.Version
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				labels["commit"] = setting.Value
			}
		}
	}
	promauto.With(to).NewGauge(prometheus.GaugeOpts{
		Name: "carelog_build_info", Help: "1; the labels say which program this is, as far as the build recorded it.", ConstLabels: labels,
	}).Set(1)
}

// registerPool registers the metrics of the pool of database connections, for
// requests.
func registerPool(to prometheus.Registerer, pool *pgxpool.Pool) {
	gauge := func(state string, value func(*pgxpool.Stat) int32) {
		promauto.With(to).NewGaugeFunc(prometheus.GaugeOpts{
			Name: "carelog_db_pool_connections", Help: "Database connections for requests, by state: acquired, idle, constructing.",
			ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { return float64(value(pool.Stat())) })
	}
	gauge("acquired", (*pgxpool.Stat).AcquiredConns)
	gauge("idle", (*pgxpool.Stat).IdleConns)
	gauge("constructing", (*pgxpool.Stat).ConstructingConns)
	promauto.With(to).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_db_pool_max_connections", Help: "Database connections for requests that there may be (CARELOG_DB_MAX_CONNS).",
	}, func() float64 { return float64(pool.Stat().MaxConns()) })
	counter := func(name, help string, value func(*pgxpool.Stat) float64) {
		promauto.With(to).NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return value(pool.Stat()) })
	}
	counter("carelog_db_pool_acquires_total", "Times that a request has got a database connection.",
		func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) })
	counter("carelog_db_pool_waits_total", "Times that a request had to wait for one, because none was idle.",
		func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) })
	counter("carelog_db_pool_wait_seconds_total", "Time that requests have waited so.",
		func(s *pgxpool.Stat) float64 { return s.EmptyAcquireWaitTime().Seconds() })
}
