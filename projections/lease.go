package projections

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// The advisory lock of the lease, in the form with two keys, so that it never
// meets a lock of one key: "care" in ASCII, and the first of its kind.
const (
	leaseClass  int32 = 0x6361_7265
	leaseObject int32 = 1
)

// errLeaseLost is the cause of the end of the work's context when the database
// may have given the lease to another process.
var errLeaseLost = errors.New("the runner's lease was lost")

// Lease lets one process of those on a database do the work of applying events.
// It is a session advisory lock: it is free as soon as the holder's connection
// ends. A holder that hangs keeps its connection, because the kernel answers for
// it; so who stands by ends the session of one that has not asked for a while.
// A holder that was cut off may overlap with its successor for the seconds
// until both sides notice, which is harmless: the compare-and-set of the
// checkpoints decides who applies.
type Lease struct {
	config Config
	held   atomic.Bool

	// Tests change these.
	tryEvery  time.Duration // how often one that stands by tries to get it
	aliveFor  time.Duration // how long the connection is trusted without asking
	answerIn  time.Duration // how soon the database must answer
	hungAfter time.Duration // how long a holder may be silent, which asks every aliveFor
	workAgain time.Duration // pause after work that failed
	giveWay   time.Duration // pause after an event that only a newer program knows
}

// NewLease returns a lease that nobody tries to get yet.
func NewLease(config Config) *Lease {
	l := &Lease{
		config:   config.withDefaults(),
		tryEvery: 250 * time.Millisecond, aliveFor: time.Second, answerIn: 2 * time.Second,
		hungAfter: 3 * time.Second, workAgain: time.Second, giveWay: 10 * time.Second,
	}
	l.register(config.Metrics)
	return l
}

// Held tells whether this process holds the lease.
func (l *Lease) Held() bool { return l.held.Load() }

// Run does the work whenever this process holds the lease, and stands by
// otherwise, until the context ends; then it returns nil. The work's context
// ends when the lease is lost, which is noticed within 5 seconds; the lease is
// given back when the work has returned. Work that fails is done again after a
// pause, a long one after an [events.UnknownTypeError], so that a newer process
// gets the lease.
func (l *Lease) Run(ctx context.Context, work func(context.Context) error) error {
	for failing := false; ctx.Err() == nil; {
		conn, err := l.acquire(ctx)
		if err != nil {
			if !failing && ctx.Err() == nil {
				l.config.Logger.Warn("projections: the lease cannot be asked for, trying again", "error", err)
			}
			failing = true
			pause(ctx, l.tryEvery)
			continue
		}
		failing = false
		l.config.Logger.Info("projections: this process applies events")
		err = l.hold(ctx, conn, work)
		if ctx.Err() != nil {
			break
		}
		l.config.Logger.Warn("projections: this process applies events no longer", "error", err)
		var unknown *events.UnknownTypeError
		switch {
		case errors.As(err, &unknown):
			pause(ctx, l.giveWay)
		case !errors.Is(err, errLeaseLost):
			pause(ctx, l.workAgain)
		}
	}
	return nil
}

// acquire returns a connection that holds the lock.
func (l *Lease) acquire(ctx context.Context) (*pgx.Conn, error) {
	conn, err := l.config.connect(ctx, "lease")
	if err != nil {
		return nil, err
	}
	for {
		got, err := l.try(ctx, conn)
		switch {
		case err != nil:
			disconnect(conn)
			return nil, fmt.Errorf("ask for the lease: %w", classify(err))
		case got:
			return conn, nil
		}
		if err := l.evict(ctx, conn); err != nil {
			disconnect(conn)
			return nil, fmt.Errorf("look after the lease's holder: %w", classify(err))
		}
		pause(ctx, l.tryEvery)
	}
}

// evict ends the session of a holder that hangs: its process was stopped, or its
// machine, while their kernel still answers for the connection.
func (l *Lease) evict(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, l.answerIn)
	defer cancel()
	var evicted int
	err := conn.QueryRow(ctx, `
		select count(pg_terminate_backend(a.pid))
		from pg_locks l join pg_stat_activity a on a.pid = l.pid
		where l.locktype = 'advisory' and l.granted and l.classid = $1::bigint::oid and l.objid = $2::bigint::oid and l.objsubid = 2
		    and l.database = (select oid from pg_database where datname = current_database())
		    and a.state = 'idle' and a.state_change < clock_timestamp() - make_interval(secs => $3)`,
		leaseClass, leaseObject, l.hungAfter.Seconds()).Scan(&evicted)
	if evicted > 0 {
		l.config.Logger.Warn("projections: the process that applied events hangs, its lease is ended", "silent", l.hungAfter)
	}
	return err
}

func (l *Lease) try(ctx context.Context, conn *pgx.Conn) (got bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.answerIn)
	defer cancel()
	err = conn.QueryRow(ctx, `select pg_try_advisory_lock($1, $2)`, leaseClass, leaseObject).Scan(&got)
	return got, err
}

// hold does the work while the connection lives.
func (l *Lease) hold(ctx context.Context, conn *pgx.Conn, work func(context.Context) error) error {
	l.held.Store(true)
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		cancel(l.watch(ctx, conn))
	}()
	err := work(ctx)
	cancel(nil)
	<-watched
	l.held.Store(false)
	disconnect(conn)
	if cause := context.Cause(ctx); errors.Is(cause, errLeaseLost) {
		return cause
	}
	return err
}

// watch returns an errLeaseLost when the connection has ended or does not
// answer, or nil when the context has ended.
func (l *Lease) watch(ctx context.Context, conn *pgx.Conn) error {
	for {
		// Reading shows at once that the server has ended the connection.
		trusted, done := context.WithTimeout(ctx, l.aliveFor)
		_, err := conn.WaitForNotification(trusted)
		done()
		if !conn.IsClosed() {
			asked, done := context.WithTimeout(ctx, l.answerIn)
			err = conn.Ping(asked)
			done()
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errLeaseLost, classify(err))
		}
	}
}
