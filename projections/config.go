package projections

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/carelog/carelog/events"
)

// Config is what a [Runner], a [Progress] and a [Lease] need.
type Config struct {
	// Conn tells where the database is. Runner, progress and lease each have a
	// connection of their own, so that requests never keep them waiting.
	Conn *pgx.ConnConfig

	// Pool serves [Runner.Status]. It is lent, and configured by [Configure].
	Pool *pgxpool.Pool

	Log      Log
	LogID    uuid.UUID // the log's own id
	Registry Registry

	// Shared: other processes work on the same database. Every batch is
	// announced to them, and theirs are listened for.
	Shared bool

	Projections []Projection          // default: All()
	Wait        time.Duration         // the longest that Progress.Wait waits; default 5 s
	Silence     time.Duration         // of the bus, before the log is read instead; default 250 ms
	Metrics     prometheus.Registerer // default: nowhere
	Tracer      trace.Tracer          // of events that are applied; nil: tracing is off
	Logger      *slog.Logger          // default: none
}

// Log is where the runner reads events when the bus does not deliver them.
type Log interface {
	// Read answers at most limit events that follow a position, in order.
	Read(ctx context.Context, after events.Position, limit int) ([]events.Recorded, error)

	// Head is the position of the last event, 0 while there is none.
	Head(ctx context.Context) (events.Position, error)
}

// Registry knows the types of events; an [events.Registry] does.
type Registry interface {
	// Decode returns the payload of an event, or an [events.UnknownTypeError] for
	// what a newer program wrote.
	Decode(events.Event) (events.Payload, error)
}

func (c Config) withDefaults() Config {
	if c.Projections == nil {
		c.Projections = All()
	}
	if c.Wait == 0 {
		c.Wait = 5 * time.Second
	}
	if c.Silence == 0 {
		c.Silence = 250 * time.Millisecond
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// names are those of the projections.
func (c Config) names() []string {
	names := make([]string, len(c.Projections))
	for i, p := range c.Projections {
		names[i] = p.Name()
	}
	return names
}

// schemaVersions are those of the projections.
func (c Config) schemaVersions() []int {
	versions := make([]int, len(c.Projections))
	for i, p := range c.Projections {
		versions[i] = p.SchemaVersion()
	}
	return versions
}

// Bounds of a connection that is not a request's.
const (
	connectTimeout = 5 * time.Second
	closeTimeout   = time.Second
)

// connectionSettings are those of the connections of runner, progress and lease.
var connectionSettings = map[string]string{
	"synchronous_commit": "on",  // an answered row must survive a crash of the database
	"enable_hashjoin":    "off", // changes are few and found by key, even in tables never analysed
	"enable_mergejoin":   "off",
	"statement_timeout":  "10s",
	// A peer that vanished is noticed, so that what it holds is free again:
	"tcp_keepalives_idle":     "2",
	"tcp_keepalives_interval": "1",
	"tcp_keepalives_count":    "3",
	"tcp_user_timeout":        "5000",
}

// connect opens a connection; its purpose is visible in pg_stat_activity.
func (c Config) connect(ctx context.Context, purpose string) (*pgx.Conn, error) {
	config := c.Conn.Copy()
	Configure(config)
	maps.Copy(config.RuntimeParams, connectionSettings)
	config.RuntimeParams["application_name"] = "carelog " + purpose
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect the %s: %w", purpose, classify(err))
	}
	return conn, nil
}

// disconnect ends a connection, however it is.
func disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx) // the server ends what is left of it
}

// pause waits, or until the context ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
