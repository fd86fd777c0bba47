package eventstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/carelog/carelog/events"
)

// Config is what a Store needs.
type Config struct {
	// Pool serves reads and the drawing of ids. It is lent: Close leaves it open.
	Pool *pgxpool.Pool

	// Appender tells where the appender connects to. Its connection is its own,
	// so that readers never keep appends waiting.
	Appender *pgx.ConnConfig

	// Shared tells that other processes append to the same database. Every append
	// is announced to them, which costs 4 to 14 % of throughput, and ids that are
	// drawn ahead are not kept for long.
	Shared bool

	// OnAppend, where set, is called after each commit with the new head of the
	// log. It must not block.
	OnAppend func(events.Position)

	Metrics prometheus.Registerer // of the store; nil: nowhere
	Logger  *slog.Logger
}

// Store is the event log in Postgres. All of its methods may be called
// concurrently. Append answers only while Run is running.
type Store struct {
	config Config
	logID  uuid.UUID
	tagKey events.TagKey

	transaction transaction

	appends    queue
	draws      map[events.Kind]*draws
	recent     recent
	metrics    *metrics
	reconnects atomic.Int64
}

// Reconnects counts how often the connection that appends was lost and made anew. Behind
// the new one may be another state of the database, as after a failover that lost commits.
func (s *Store) Reconnects() int64 { return s.reconnects.Load() }

// Open reads the log's identity, which it makes in a new database. The database
// must have been migrated.
func Open(ctx context.Context, config Config) (*Store, error) {
	s := &Store{
		config:      config,
		transaction: transaction{settings: appenderSettings, lock: lockSQL, insert: appendSQL},
		appends:     newQueue(), draws: newDraws(!config.Shared), recent: newRecent(),
	}
	s.metrics = newMetrics(s)
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make the log's tag key: %w", err)
	}
	_, err := config.Pool.Exec(ctx, `insert into log (id, tag_key) values ($1, $2) on conflict do nothing`, uuid.New(), key)
	if err != nil {
		return nil, fmt.Errorf("make the log's identity: %w", classify(err))
	}
	err = config.Pool.QueryRow(ctx, `select id, tag_key from log`).Scan(&s.logID, (*[]byte)(&s.tagKey))
	if err != nil {
		return nil, fmt.Errorf("read the log's identity: %w", classify(err))
	}
	return s, nil
}

// LogID tells this log from every other. Positions of two logs must never be
// compared.
func (s *Store) LogID() uuid.UUID { return s.logID }

// TagKey keys the tags of this log that stand for personal data.
func (s *Store) TagKey() events.TagKey { return s.tagKey }

// Run appends for all callers until the context ends; then it refuses what still
// waits. It returns nil.
func (s *Store) Run(ctx context.Context) error {
	s.appendGroups(ctx)
	return nil
}

// backoff is the time to wait before try n (from 0) of something that failed
// because Postgres is not there: 10 ms, doubling to half a second.
func backoff(try int) time.Duration {
	return min(10*time.Millisecond<<min(try, 6), 500*time.Millisecond)
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
