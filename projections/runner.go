package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Source tells where the runner has an event from.
type Source int

// The sources there are. In normal running all events come from the bus.
const (
	SourceBus Source = iota // delivered by the bus
	SourceLog               // read from the log: the bus was silent or had a gap
)

// String is the source's name.
func (s Source) String() string {
	if s == SourceLog {
		return "log"
	}
	return "bus"
}

const (
	applyTimeout = 10 * time.Second // of one batch
	readLimit    = 500              // events read from the log at a time
)

// Runner applies events to the read tables of all projections. It takes them
// from whoever calls Apply, and from the log while nobody does.
type Runner struct {
	config   Config
	progress *Progress
	watchdog watchdog
	counts   [2]atomic.Int64 // events applied, by source
	metrics  runnerMetrics

	// turn holds a token while Run is running and nobody applies. Who has taken
	// it may use what follows.
	turn      chan struct{}
	conn      *pgx.Conn         // nil: to be made, and the checkpoints to be loaded
	positions []events.Position // of each projection
	stopped   *StoppedError
	marked    bool          // the stop is stored in the database
	retried   *StoppedError // what some runner was stopped at before: this one tries it again
	foreign   error         // a SchemaError or ErrOtherLog: the tables are no longer this program's
	halt      context.CancelFunc
}

// NewRunner returns a runner that is not running. It moves the progress.
func NewRunner(config Config, progress *Progress) *Runner {
	r := &Runner{config: config.withDefaults(), progress: progress, turn: make(chan struct{}, 1)}
	r.metrics = newRunnerMetrics(r)
	r.watchdog = watchdog{
		silence:    r.config.Silence,
		poll:       10 * r.config.Silence, // announcements are what counts
		head:       r.config.Log.Head,
		checkpoint: progress.Checkpoint,
		applying:   func() bool { return len(r.turn) == 0 },
		catchUp:    r.catchUp,
		failed: func(err error) {
			r.config.Logger.Warn("projections: reading on in the log failed, trying again", "checkpoint", progress.Checkpoint(), "error", err)
		},
		news: make(chan struct{}, 1),
	}
	if r.config.Shared {
		r.watchdog.poll = r.config.Silence // nobody announces what other processes append
	}
	return r
}

// Announce is told of the head of the log by those who append in this process.
// It does not block.
func (r *Runner) Announce(head events.Position) { r.watchdog.announce(head) }

// Check fails when the read tables are another log's ([ErrOtherLog]), contain more
// than the log ([ErrAhead]), or are not those of this program ([SchemaError]). It begins the checkpoints of
// projections that are new.
func (r *Runner) Check(ctx context.Context) error {
	conn, err := r.config.connect(ctx, "runner")
	if err != nil {
		return err
	}
	defer disconnect(conn)
	positions, err := loadCheckpoints(ctx, conn, r.config)
	if err != nil {
		return err
	}
	head, err := r.config.Log.Head(ctx)
	if err == nil && slices.Max(positions) > head {
		err = ErrAhead
	}
	return err
}

// Run lets events be applied, and reads the log while it is ahead and the bus is
// silent, until the context ends; then it returns nil. At most one may run in a
// process, and by the [Lease] on a database; it can be run again.
//
// An event that cannot be applied stops it: Run then keeps still, so that nobody
// tries the same in vain, until it is run again, which tries the event again.
// Only an event that a newer program wrote ends Run, with a [StoppedError] that
// is an [events.UnknownTypeError], so that the lease can be given to a newer
// process. Run also ends with what [Runner.Check] fails with, be it that the
// tables were rebuilt by a newer program meanwhile.
func (r *Runner) Run(ctx context.Context) error {
	watching, halt := context.WithCancel(ctx)
	defer halt()
	switch err := r.begin(ctx, halt); {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	defer r.end()
	r.watchdog.run(watching)
	if ctx.Err() != nil {
		return nil
	}
	for {
		stopped, marked := r.remember(ctx)
		var unknown *events.UnknownTypeError
		switch {
		case errors.As(stopped, &unknown), isForeign(stopped):
			return stopped
		case marked:
			<-ctx.Done()
		default:
			pause(ctx, time.Second)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// begin loads the checkpoints, as soon as the database can be reached, and lets
// events be applied.
func (r *Runner) begin(ctx context.Context, halt context.CancelFunc) error {
	r.stopped, r.marked, r.foreign, r.halt = nil, false, nil, halt
	for failing := false; ; failing = true {
		err := r.connect(ctx)
		if err == nil {
			r.retried, err = loadStopped(ctx, r.conn, r.config)
		}
		switch {
		case err == nil:
			r.progress.lead(r.retried)
			r.turn <- struct{}{}
			return nil
		case ctx.Err() != nil, !errors.Is(err, events.ErrUnavailable):
			r.disconnect()
			return err
		case !failing:
			r.config.Logger.Warn("projections: the runner cannot begin, trying again", "error", err)
		}
		pause(ctx, r.config.Silence)
	}
}

// end lets nothing be applied any more; what is under way is finished.
func (r *Runner) end() {
	<-r.turn
	r.progress.follow()
	r.disconnect()
}

// take waits for the turn to apply.
func (r *Runner) take(ctx context.Context) error {
	select {
	case <-r.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the runner: %w", ctx.Err())
	}
}

func (r *Runner) give() { r.turn <- struct{}{} }

// connect makes the connection where there is none, and loads the checkpoints.
func (r *Runner) connect(ctx context.Context) error {
	if r.conn != nil && !r.conn.IsClosed() {
		return nil
	}
	conn, err := r.config.connect(ctx, "runner")
	if err != nil {
		return err
	}
	r.conn = conn
	return r.load(ctx)
}

// load finds out how far each projection is.
func (r *Runner) load(ctx context.Context) error {
	positions, err := loadCheckpoints(ctx, r.conn, r.config)
	if err != nil {
		r.disconnect()
		if isForeign(err) {
			r.foreign = err
			r.halt()
		}
		return err
	}
	r.positions = positions
	r.progress.restart(r.checkpoint())
	return nil
}

// isForeign tells whether somebody else's tables are there.
func isForeign(err error) bool {
	var schema *SchemaError
	return errors.As(err, &schema) || errors.Is(err, ErrOtherLog)
}

func (r *Runner) disconnect() {
	if r.conn != nil {
		disconnect(r.conn)
		r.conn = nil
	}
}

// checkpoint is how far the projection is that is least far.
func (r *Runner) checkpoint() events.Position {
	least := r.positions[0]
	for _, position := range r.positions {
		least = min(least, position)
	}
	return least
}

// Checkpoint answers, as soon as Run is running, the position that the read
// tables contain: the event after it must be applied next.
func (r *Runner) Checkpoint(ctx context.Context) (events.Position, error) {
	if err := r.take(ctx); err != nil {
		return 0, err
	}
	defer r.give()
	if err := r.connect(ctx); err != nil {
		return 0, err
	}
	return r.checkpoint(), nil
}

// Applied is how many events this process has applied from a source.
func (r *Runner) Applied(source Source) int64 { return r.counts[source].Load() }

// catchUp applies what the log holds beyond the checkpoint.
func (r *Runner) catchUp(ctx context.Context) error {
	for {
		checkpoint, err := r.Checkpoint(ctx)
		if err != nil {
			return err
		}
		reading, cancel := context.WithTimeout(ctx, applyTimeout)
		evs, err := r.config.Log.Read(reading, checkpoint, readLimit)
		cancel()
		if err != nil || len(evs) == 0 {
			return err
		}
		if err := r.Apply(ctx, SourceLog, evs); err != nil {
			return err
		}
	}
}
