package main

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/bus"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/httpapi"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/history"
)

// openProjections makes what applies events to the read tables.
func (l *pipeline) openProjections(database *pgx.ConnConfig) {
	config := projections.Config{
		Conn: database, Pool: l.pool, Log: l.store, LogID: l.store.LogID(), Registry: l.program.registry,
		Shared: l.shared, Silence: l.program.silence, Wait: l.config.ProjectionWait, Metrics: l.metrics, Logger: l.program.logger, Tracer: l.program.tracer,
	}
	l.progress = projections.NewProgress(config)
	l.runner = projections.NewRunner(config, l.progress)
	l.lease = projections.NewLease(config)
}

// openBus makes what carries events, once the NATS server inside the process runs.
func (l *pipeline) openBus(ctx context.Context) (err error) {
	config := bus.ConnConfig{URL: l.config.NATSURL, Metrics: l.metrics, Logger: l.program.logger}
	if l.program.nats != nil {
		select {
		case <-l.program.nats.Running():
		case <-ctx.Done():
			return ctx.Err()
		}
		config.URL, config.InProcess = l.program.nats.URL(), l.program.nats
	}
	if l.conn, err = bus.Connect(config); err != nil {
		return err
	}
	if err := l.conn.Err(); err != nil && l.config.NATSURL != "" {
		l.program.logger.Warn("the NATS server that NATS_URL names is not reached yet; until then events are read from the log", "error", err)
	}
	carrier := bus.CarrierConfig{
		Conn: l.conn, LogID: l.store.LogID(), Log: l.store, Logger: l.program.logger, Tracer: l.program.tracer,
		Stream: bus.StreamConfig{MaxAge: l.config.StreamMaxAge, MaxBytes: l.config.StreamMaxBytes, Replicas: l.config.StreamReplicas},
	}
	if l.program.nats != nil {
		carrier.Own = true
		carrier.AckWait = 2 * time.Second // in the process a reply takes a fraction of a millisecond
	}
	l.carrier = bus.NewCarrier(carrier)
	l.guard = bus.NewGuard(l.conn, l.program.logger)
	l.relay = eventstore.NewRelay(eventstore.RelayConfig{
		Store: l.store, Publisher: l.carrier, Begin: l.runner.Checkpoint, Metrics: l.metrics, Logger: l.program.logger,
	})
	return nil
}

// openAPI makes what answers requests, of all the other parts.
func (l *pipeline) openAPI(keys [][]byte) (http.Handler, error) {
	progress := httpapi.Progress(l.progress)
	if l.program.between.progress != nil {
		progress = l.program.between.progress(progress)
	}
	bounds := l.program.bounds
	bounds.Lists.Places = cmp.Or(bounds.Lists.Places, max(1, l.config.DatabaseConns/2)) // each has a connection to itself
	registry := events.NewRegistry()
	return httpapi.New(httpapi.Config{
		Commands: &commands.Service{
			Log: l.store, Records: projections.NewRecords(l.pool, l.store.LogID()), TagKey: l.store.TagKey(),
			Registry: registry, Credentials: l.accounts.credentials,
			Now: time.Now, NewID: commands.NewEventID, Metrics: commands.NewMetrics(l.metrics),
		},
		Queries:         projections.NewQueries(l.pool),
		Progress:        progress,
		Log:             l.store,
		History:         &history.Reader{Log: l.store, Registry: registry},
		Feed:            l.hub,
		Types:           registry.Types(),
		Accounts:        l.accounts,
		Ready:           l.readiness,
		Scrape:          l.program.metrics.besideAPI(),
		Metrics:         l.metrics,
		Logger:          l.program.logger,
		Tracer:          l.program.tracer,
		TokenKey:        keys[0],
		OtherTokenKeys:  keys[1:],
		AccessLifetime:  l.config.AccessTokenLifetime,
		RefreshLifetime: l.config.RefreshTokenLifetime,
		AllowedOrigins:  l.config.CORSOrigins,
		Throttle:        l.config.Throttle,
		TrustedProxies:  l.config.TrustedProxies,
		Bounds:          bounds,
		RequestTimeout:  l.config.ProjectionWait + 5*time.Second,
		Version:         version(),
	})
}
