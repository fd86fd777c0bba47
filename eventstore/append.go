package eventstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/tracing"
)

// Append stores the events, all or none, if all of the conditions hold, and
// returns the position of the last one: they are durable then. It fails with
// [events.ErrConflict] when a condition does not hold, and with
// [events.ErrUnavailable] when the database cannot be reached or does not keep
// up: the events are not stored then. Only an error that is an [events.ErrOutcomeUnknown] leaves
// that open: the context ended, or the store stopped, while the commit was
// under way.
//
// Events need an id, a type, tags without repetition, and JSON in Data and
// Metadata. Tags and types are UTF-8 without control characters. An event has at
// most 256 KiB, an append at most 100,000 events and 64 MiB.
func (s *Store) Append(ctx context.Context, evs []events.Event, conditions ...events.AppendCondition) (last events.Position, err error) {
	bytes, err := validate(evs, conditions)
	if err != nil {
		return 0, fmt.Errorf("append: %w", err)
	}
	ctx, span := tracing.Start(ctx, "append")
	defer span.End()
	began := time.Now()
	defer func() { s.metrics.done(began, err) }()
	r := &request{events: evs, bytes: bytes, conditions: conditions, answer: make(chan answer, 1)}
	if err := s.appends.add(r); err != nil {
		return tell(span, answer{err: fmt.Errorf("append: %w", err)})
	}
	select {
	case a := <-r.answer:
		return tell(span, a)
	case <-ctx.Done():
	}
	if s.appends.withdraw(r) {
		return 0, ctx.Err()
	}
	select { // taken: prefer an answer that is just arriving
	case a := <-r.answer:
		return tell(span, a)
	default:
		return tell(span, answer{err: errors.Join(events.ErrOutcomeUnknown, ctx.Err())})
	}
}

var errStopped = fmt.Errorf("%w: the store is stopping", events.ErrUnavailable)

// appendGroups commits group after group until the context ends.
func (s *Store) appendGroups(ctx context.Context) {
	a := appender{store: s}
	defer a.disconnect()
	defer s.appends.refuse(errStopped)
	for a.reconnect(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-s.appends.wake:
		}
		// Those who were just answered come back at once with their next append.
		// Letting them run first makes groups half as large again.
		runtime.Gosched()
		if group := s.appends.take(); len(group) > 0 {
			a.commit(ctx, group)
		}
	}
}

// appender is the one writer of this process, with its connection.
type appender struct {
	store *Store
	conn  *pgx.Conn
	name  string // application_name of the connection, unlike any other's
}

// commit appends the group and answers each of its requests.
func (a *appender) commit(stopping context.Context, group []*request) {
	ctx, cancel := outlasting(stopping, commitTimeout)
	defer cancel()
	if err := a.connect(ctx); err != nil { // lost by another part of a group that was divided
		refuse(group, err)
		return
	}
	began := time.Now()
	stored, err := a.insert(ctx, group)
	a.store.metrics.group(began, group)
	var unsent pgx.ErrPreprocessingBatch
	var refused *pgconn.PgError
	switch {
	case err == nil:
		a.answer(group, stored, began)
	case errors.As(err, &unsent), errors.As(err, &refused) && !a.conn.IsClosed():
		a.reject(stopping, group, err)
	default:
		a.settle(stopping, group, err)
	}
}

// reject answers a group of which nothing is stored, because the database
// refused it. Where one of its events is at fault the group is divided, so that
// the others succeed and that one is refused alone.
func (a *appender) reject(stopping context.Context, group []*request, cause error) {
	if isLockTimeout(cause) {
		a.endSilentHolder(stopping)
	}
	err := classify(cause)
	if len(group) == 1 || errors.Is(err, events.ErrUnavailable) {
		refuse(group, err)
		return
	}
	a.commit(stopping, group[:len(group)/2])
	a.commit(stopping, group[len(group)/2:])
}

func refuse(group []*request, err error) {
	for _, r := range group {
		r.answer <- answer{err: fmt.Errorf("append: %w", err)}
	}
}

// Bounds of one group, waiting for the lock included: at all, and once the
// process is stopping.
const (
	commitTimeout = 30 * time.Second
	stopTimeout   = time.Second
)

// outlasting is a context for what was begun: it ends after a time, or a moment
// after the process begins to stop, so that callers learn what became of it.
func outlasting(stopping context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(stopping), timeout)
	forget := context.AfterFunc(stopping, func() {
		pause(ctx, stopTimeout)
		cancel()
	})
	return ctx, func() {
		forget()
		cancel()
	}
}

// result tells where the events of a group's member went; one that failed its
// condition has none.
type result struct {
	member     int
	last       events.Position
	recordedAt time.Time
}

//go:embed append.sql
var appendSQL string

// insert runs the one transaction of a group, in one round trip. The lock is a
// statement of its own: the statement after it must take its snapshot when the
// lock is already held, else it would number from a head that has moved.
func (a *appender) insert(ctx context.Context, group []*request) ([]result, error) {
	ctx, breakOff := context.WithCancel(ctx)
	defer breakOff()
	var batch pgx.Batch
	batch.Queue(lockStatement, appendLock)
	batch.Queue(insertStatement, appendArguments(group)...)
	if a.store.config.Shared {
		batch.Queue(`select pg_notify($1, '')`, appendedChannel)
	}
	results := a.conn.SendBatch(ctx, &batch)
	defer a.watch(ctx, breakOff)()
	stored, err := readResults(results)
	if closeErr := results.Close(); err == nil { // what went wrong with the commit itself
		err = closeErr
	}
	return stored, err
}

func readResults(results pgx.BatchResults) ([]result, error) {
	if _, err := results.Exec(); err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (result, error) {
		var r result
		err := row.Scan(&r.member, &r.last, &r.recordedAt)
		return r, err
	})
}

// answer hands the events to the relay, then tells each caller.
func (a *appender) answer(group []*request, stored []result, began time.Time) {
	var committed []events.Recorded
	head := events.Position(0)
	for _, r := range stored {
		head = max(head, r.last)
	}
	for _, r := range stored {
		evs := group[r.member].events
		for i, e := range evs {
			committed = append(committed, events.Recorded{
				Event:      e,
				Position:   r.last - events.Position(len(evs)-1-i),
				RecordedAt: r.recordedAt,
				GroupEnd:   head,
			})
		}
	}
	if len(committed) > 0 {
		a.store.recent.add(committed)
		if a.store.config.OnAppend != nil {
			a.store.config.OnAppend(head)
		}
	}
	answers := make([]answer, len(group))
	for i := range answers {
		answers[i].err = events.ErrConflict
	}
	for _, r := range stored {
		answers[r.member] = answer{last: r.last}
	}
	for i, r := range group {
		answers[i].group = inGroup{began, len(group)}
		r.answer <- answers[i]
	}
}
