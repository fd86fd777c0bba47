package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/bus"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/feed"
)

// pipeline is what lies between a command and the read tables, with the API in
// front of it: log, relay, bus, projections.
type pipeline struct {
	config   Config
	program  *program
	pool     *pgxpool.Pool
	store    *eventstore.Store
	presence *presence
	accounts *accountKeeper
	progress *projections.Progress
	runner   *projections.Runner
	lease    *projections.Lease
	conn     *bus.Conn
	carrier  *bus.Carrier
	guard    *bus.Guard
	relay    *eventstore.Relay
	feed     lastFeed
	hub      *feed.Hub
	api      http.Handler
	metrics  *prometheus.Registry
	shared   bool // other processes may work on the same log
}

// openPipeline makes the parts, as soon as the database can be reached.
func (p *program) openPipeline(ctx context.Context) (*pipeline, error) {
	keys, err := p.tokenKeys()
	if err != nil {
		return nil, err
	}
	what := "waiting for the database"
	if p.config.DatabaseURL != "" {
		what += ", which DATABASE_URL names"
	}
	var l *pipeline
	err = untilReached(ctx, p.logger, what, time.Time{}, func() (err error) {
		l, err = p.tryPipeline(ctx, keys)
		return err
	})
	return l, err
}

// untilReached tries until the database can be reached, or until a time that is not
// zero. What it does meanwhile it tells once.
func untilReached(ctx context.Context, logger *slog.Logger, what string, deadline time.Time, try func() error) error {
	for waiting := false; ; waiting = true {
		err := try()
		if !errors.Is(err, events.ErrUnavailable) || !deadline.IsZero() && time.Now().After(deadline) {
			return err
		}
		if !waiting {
			logger.Warn(what, "error", err)
		}
		if !pause(ctx, 250*time.Millisecond) {
			return ctx.Err()
		}
	}
}

func (p *program) tryPipeline(ctx context.Context, keys [][]byte) (_ *pipeline, err error) {
	database, err := p.database(ctx)
	if err != nil {
		return nil, err
	}
	l := &pipeline{config: p.config, program: p, shared: p.config.NATSURL != "", metrics: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	l.presence = &presence{config: database.ConnConfig, shared: l.shared, logger: p.logger}
	if err := l.presence.enter(ctx); err != nil {
		return nil, err
	}
	if l.pool, err = pgxpool.NewWithConfig(ctx, database); err != nil {
		return nil, fmt.Errorf("make the database pool: %w", err)
	}
	registerPool(l.metrics, l.pool)
	if err := l.compareSchema(ctx); err != nil {
		return nil, err
	}
	l.store, err = eventstore.Open(ctx, eventstore.Config{
		Pool: l.pool, Appender: database.ConnConfig, Shared: l.shared, Metrics: l.metrics, Logger: p.logger,
		OnAppend: func(head events.Position) { l.runner.Announce(head) },
	})
	if err != nil {
		return nil, err
	}
	l.openProjections(database.ConnConfig)
	if err := l.runner.Check(ctx); err != nil {
		return nil, err
	}
	if err := l.openBus(ctx); err != nil {
		return nil, err
	}
	l.accounts = newAccountKeeper(l.pool, p.config.HashConcurrency, l.metrics)
	l.hub = feed.NewHub(l.store, l.store.LogID(), l.progress, l.metrics, p.logger)
	l.api, err = l.openAPI(keys)
	return l, err
}

// compareSchema tells when the database is a newer program's: this one works with
// it, since migrations only add what it can do without.
func (l *pipeline) compareSchema(ctx context.Context) error {
	database, known, err := eventstore.SchemaVersions(ctx, l.pool)
	if err == nil && database > known {
		l.program.logger.Warn("a newer carelog has migrated the database: this one works with it for the time of an upgrade", "database", database, "known", known)
	}
	return err
}

// tokenKeys are the key that signs tokens, which is the one that is set or one that
// is made in the data directory, and then those whose tokens are good as well.
func (p *program) tokenKeys() ([][]byte, error) {
	if len(p.config.JWTSecret) > 0 {
		return p.config.withFallbacks(p.config.JWTSecret), nil
	}
	if err := makeDir(p.config.DataDir); err != nil {
		return nil, err
	}
	keys, err := jwtKeys(p.config.DataDir)
	return p.config.withFallbacks(keys...), err
}

// database migrates the database and tells how requests connect to it.
func (p *program) database(ctx context.Context) (*pgxpool.Config, error) {
	url := p.config.DatabaseURL
	if p.postgres != nil {
		select {
		case <-p.postgres.Running():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		url = p.postgres.URL()
	}
	config, err := poolConfig(url, "carelog requests", p.config.DatabaseConns)
	if err != nil {
		return nil, err
	}
	config.MinIdleConns = min(4, config.MaxConns)
	return config, eventstore.Migrate(ctx, migrationConfig(config.ConnConfig))
}

// poolConfig tells how to connect to the database at url; purpose is visible in
// pg_stat_activity.
func poolConfig(url, purpose string, conns int) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("DATABASE_URL cannot be understood: write postgres://user:password@host:5432/name") // pgx's text may hold the password
	}
	config.MaxConns = int32(conns)
	config.PingTimeout = answerIn
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	projections.Configure(config.ConnConfig)
	config.ConnConfig.RuntimeParams["application_name"] = purpose
	config.ConnConfig.RuntimeParams["statement_timeout"] = "15s"
	config.ConnConfig.RuntimeParams["jit"] = "off"
	return config, nil
}

// migrationConfig is without what bounds requests.
func migrationConfig(config *pgx.ConnConfig) *pgx.ConnConfig {
	config = config.Copy()
	for _, name := range []string{"statement_timeout", "search_path"} {
		delete(config.RuntimeParams, name)
	}
	config.RuntimeParams["application_name"] = "carelog migrations"
	return config
}

// close frees what openPipeline has made.
func (l *pipeline) close() {
	if l.conn != nil {
		l.conn.Close()
	}
	if l.pool != nil {
		closed := make(chan struct{})
		go func() {
			l.pool.Close()
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(answerIn): // the pool waits longer for a database that hangs
		}
	}
	l.presence.leave()
}

// run runs the parts until the context ends, or until one fails for good.
func (l *pipeline) run(ctx context.Context) error {
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return l.store.Run(ctx) })
	parts.Go(func() error { return l.progress.Run(ctx) })
	parts.Go(func() error { return l.lease.Run(ctx, l.apply) })
	parts.Go(func() error { return l.presence.Run(ctx) })
	parts.Go(func() error { return l.hub.Run(ctx) })
	parts.Go(func() error { return l.guard.Run(ctx) })
	parts.Go(func() error { return l.accounts.sweep(ctx, l.program.logger) })
	return parts.Wait()
}

// apply is the work of the one process that holds the lease: it carries events
// from the log to the read tables.
func (l *pipeline) apply(ctx context.Context) error {
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return l.runner.Run(ctx) })
	parts.Go(func() error { return l.relay.Run(ctx) })
	// Also alone: the commands of an operator append from a process of their own.
	parts.Go(func() error { return l.relay.Listen(ctx) })
	parts.Go(func() error { return l.follow(ctx) })
	return parts.Wait()
}

// follow takes events from the bus to the runner.
func (l *pipeline) follow(ctx context.Context) error {
	if err := l.awaitCheckpoint(ctx); err != nil {
		return err
	}
	deliver := deliver(l.deliver)
	if l.program.between.deliver != nil {
		deliver = l.program.between.deliver(deliver)
	}
	feed, err := bus.NewFeed(bus.FeedConfig{
		Conn: l.conn, LogID: l.store.LogID(), Log: l.store, Logger: l.program.logger,
		Position: l.progress.Checkpoint,
		Deliver:  deliver,
		Fill: func(ctx context.Context, evs []events.Recorded) error {
			return l.runner.Apply(ctx, projections.SourceLog, evs)
		},
	})
	if err != nil {
		return err
	}
	l.feed.set(feed)
	err = feed.Run(ctx)
	if stopped, ok := errors.AsType[*projections.StoppedError](err); ok {
		l.program.logger.Error("events are no longer taken from the bus", "error", stopped)
		<-ctx.Done() // the runner decides what becomes of a stop
		return nil
	}
	return err
}

// deliver applies events from the bus. What the bus carries and the log does not
// have never happened: the log is read instead.
func (l *pipeline) deliver(ctx context.Context, evs []events.Recorded) error {
	err := l.runner.Apply(ctx, projections.SourceBus, evs)
	if !errors.Is(err, projections.ErrNotInLog) {
		return err
	}
	l.program.logger.Error("the NATS stream carries events that are not in the log, which is read instead: "+
		"the database was restored to an older state, or is a copy, and has kept its log id",
		"position", evs[0].Position)
	inLog, err := l.store.Read(ctx, evs[0].Position-1, len(evs))
	if err != nil || len(inLog) == 0 {
		return err
	}
	return l.runner.Apply(ctx, projections.SourceLog, inLog)
}

// awaitCheckpoint waits until it is known where to begin.
func (l *pipeline) awaitCheckpoint(ctx context.Context) error {
	for {
		_, err := l.runner.Checkpoint(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil || !errors.Is(err, events.ErrUnavailable) {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// awaitRunner waits until it is known whether commands can be taken: the runner
// is live, or stopped at an event. It answers false when the context ends first.
func (l *pipeline) awaitRunner(ctx context.Context) bool {
	for {
		err := l.progress.Live()
		if _, stopped := errors.AsType[*projections.StoppedError](err); stopped || err == nil {
			return true
		}
		if !pause(ctx, 5*time.Millisecond) {
			return false
		}
	}
}

// catchUp waits until the read tables contain the whole log, if they can. What
// they do not contain the next start applies.
func (l *pipeline) catchUp(ctx context.Context) {
	if l.progress.Live() != nil {
		return
	}
	head, err := l.store.Head(ctx)
	if err == nil {
		err = l.progress.Wait(ctx, head)
	}
	if err != nil {
		l.program.logger.Warn("stopping before the read tables contain the whole log; the next start goes on", "error", err)
	}
}

// pause waits, and answers false when the context ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
