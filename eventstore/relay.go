package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/carelog/carelog/events"
)

// Publisher is where the relay takes the log's events.
type Publisher interface {
	// Resume answers the position of the last event that was published, 0 when
	// there is none.
	Resume(ctx context.Context) (events.Position, error)

	// Publish publishes events that follow the last published one without a gap.
	// After an error it is open which of them arrived: Resume tells.
	Publish(ctx context.Context, evs []events.Recorded) error
}

// RelayConfig is what a Relay needs.
type RelayConfig struct {
	Store     *Store
	Publisher Publisher

	// Begin answers where to begin when nothing was published yet: whoever
	// follows has the events up to there.
	Begin func(context.Context) (events.Position, error)

	Metrics prometheus.Registerer // of the relay; nil: nowhere
	Logger  *slog.Logger
}

// Relay publishes every event of the log, in order. At most one may run on a
// log at a time; the publisher has to refuse a second one.
type Relay struct {
	config    RelayConfig
	published atomic.Int64
	failure   atomic.Pointer[error]
	running   atomic.Bool
	failures  prometheus.Counter
}

// Bounds of the relay: a page read back from the log, and how long it sleeps
// when nobody tells it of new events.
const (
	relayPage = 500
	relayPoll = time.Second
)

// NewRelay returns a relay that is not running.
func NewRelay(config RelayConfig) *Relay {
	r := &Relay{config: config}
	r.failures = newRelayMetrics(r, config.Metrics)
	return r
}

// Published is the last position known to be published, 0 when none is.
func (r *Relay) Published() events.Position { return events.Position(r.published.Load()) }

// Err is why the relay cannot publish now, nil while it can.
func (r *Relay) Err() error {
	if failure := r.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// Run publishes until the context ends. Failures are retried; it returns nil.
func (r *Relay) Run(ctx context.Context) error {
	r.config.Store.recent.follow(true)
	defer r.config.Store.recent.follow(false)
	r.running.Store(true)
	defer r.running.Store(false)
	for try := 0; ctx.Err() == nil; try++ {
		progress, err := r.publishFromTail(ctx)
		if ctx.Err() != nil {
			break
		}
		if progress {
			try = 0
		}
		r.failure.Store(&err)
		r.failures.Inc()
		if try == 0 || try%20 == 0 { // a carrier that is away for long is told about now and then
			r.config.Logger.Warn("relay: publishing failed, trying again", "published", r.Published(), "error", err)
		}
		pause(ctx, backoff(try))
	}
	return nil
}

// publishFromTail asks where to go on and publishes until an error.
func (r *Relay) publishFromTail(ctx context.Context) (progress bool, err error) {
	position, err := r.resume(ctx)
	if err != nil {
		return false, err
	}
	r.published.Store(int64(position))
	r.config.Store.recent.look()
	for {
		batch, err := r.next(ctx, position)
		if err != nil {
			return progress, err
		}
		if err := r.config.Publisher.Publish(ctx, batch); err != nil {
			return progress, fmt.Errorf("publish events %d to %d: %w", batch[0].Position, batch[len(batch)-1].Position, err)
		}
		progress = true
		r.failure.Store(nil)
		position = batch[len(batch)-1].Position
		r.published.Store(int64(position))
	}
}

func (r *Relay) resume(ctx context.Context) (events.Position, error) {
	position, err := r.config.Publisher.Resume(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the last published event: %w", err)
	}
	if position == 0 {
		return r.config.Begin(ctx)
	}
	r.failure.Store(nil)
	return position, nil
}

// next waits for the events after a position: handed over in memory, or else
// read from the log.
func (r *Relay) next(ctx context.Context, position events.Position) ([]events.Recorded, error) {
	recent := &r.config.Store.recent
	for {
		held, look := recent.takeAfter(position)
		if len(held) > 0 {
			return held, nil
		}
		if look {
			batch, err := r.config.Store.Read(ctx, position, relayPage)
			if err != nil || len(batch) > 0 {
				recent.look() // there may be more
				return batch, err
			}
			continue
		}
		timer := time.NewTimer(relayPoll)
		select {
		case <-ctx.Done():
		case <-recent.wake:
		case <-timer.C:
			recent.look()
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// Listen wakes the relay when another process has appended that notifies
// ([Config]), until the context ends. Without it the relay polls once a second.
// It returns nil.
func (r *Relay) Listen(ctx context.Context) error {
	for try := 0; ctx.Err() == nil; try++ {
		heard, err := r.listen(ctx)
		if ctx.Err() != nil {
			break
		}
		if heard {
			try = 0
		}
		if try%20 == 0 { // a database that is away for long is told about now and then
			r.config.Logger.Warn("relay: listening for appends failed, trying again", "error", err)
		}
		pause(ctx, backoff(try))
	}
	return nil
}

func (r *Relay) listen(ctx context.Context) (heard bool, err error) {
	config := r.config.Store.config.Appender.Copy()
	config.RuntimeParams = maps.Clone(config.RuntimeParams)
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, fmt.Errorf("connect: %w", classify(err))
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		err = errors.Join(err, conn.Close(ctx))
	}()
	if _, err := conn.Exec(ctx, `listen `+appendedChannel); err != nil {
		return false, fmt.Errorf("listen: %w", classify(err))
	}
	for {
		r.config.Store.recent.look() // also once when listening begins: earlier notifications are lost
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return heard, fmt.Errorf("wait for a notification: %w", classify(err))
		}
		heard = true
	}
}
