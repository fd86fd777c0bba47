package projections

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
)

// lookups answers single records of one kind, each to the session that asks.
//
// Who finds a statement free runs it at once, for itself and for all who wait;
// who does not waits for the next one. So a statement takes as many as the load
// brings, there is no timer, and one who is alone loses nothing. A statement
// begins after everybody in it has asked, so sharing it keeps reads linearizable.
type lookups[R any] struct {
	pool    *pgxpool.Pool
	doing   string // for errors
	sql     string
	targets func(*R) []any

	mu      sync.Mutex
	running int          // statements
	waiting []*lookup[R] // in the order of arrival, while all statements are running
}

// Bounds of sharing: two statements run at once, so that one is under way while
// the other's answers are handed out; more at once make groups smaller and cost
// more. (BenchmarkPatient, 32 at a time.)
const (
	lookupStatements = 2
	maxLookups       = 256 // in one statement
)

// lookup is one record that is asked for.
type lookup[R any] struct {
	session Session
	id      int64
	record  R
	err     error
	wake    chan struct{} // holds a signal: done, or it is this one's turn to run a statement
	leads   bool
}

// newLookups reads records of these fields, the first of which is never null,
// from these tables. They are restricted by asked.id, the record's, and
// asked.user_id, who asks.
//
// The lateral joins with an offset leave the planner no choice but the indexes,
// whatever it believes about the sizes of the tables.
func newLookups[R any](pool *pgxpool.Pool, doing string, targets func(*R) []any, fields, tables string) *lookups[R] {
	return &lookups[R]{pool: pool, doing: doing, targets: targets, sql: `
		select asked.n, u.active, u.token_epoch, r.*
		from unnest($1::bigint[], $2::bigint[]) with ordinality as asked (user_id, id, n)
		left join lateral (select active, token_epoch from users where id = asked.user_id offset 0) as u on true
		left join lateral (select ` + fields + ` from ` + tables + ` offset 0) as r on u.active`}
}

// find answers the record with the id. It fails with [ErrNotFound],
// [ErrUnknownUser], [ErrInactiveUser] and [ErrSessionEnded].
func (l *lookups[R]) find(ctx context.Context, session Session, id int64) (R, error) {
	var none R
	if ctx.Err() != nil {
		return none, fmt.Errorf("%s: %w", l.doing, ctx.Err())
	}
	mine := &lookup[R]{session: session, id: id}
	if l.join(mine) {
		l.lead(ctx, mine)
		return mine.record, mine.err
	}
	select {
	case <-mine.wake:
	case <-ctx.Done():
		if l.leave(mine) {
			return none, fmt.Errorf("%s: %w", l.doing, ctx.Err())
		}
		<-mine.wake
	}
	if mine.leads {
		l.lead(ctx, mine)
	}
	return mine.record, mine.err
}

// join lets one wait, unless a statement is free: then it has to lead.
func (l *lookups[R]) join(mine *lookup[R]) (leads bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running < lookupStatements {
		l.running++
		return true
	}
	mine.wake = make(chan struct{}, 1)
	l.waiting = append(l.waiting, mine)
	return false
}

// leave withdraws one who waits. It reports false for one who is in a statement
// or has to run one.
func (l *lookups[R]) leave(mine *lookup[R]) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, mine)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return true
}

// lead runs a statement for this one and for those who wait, and then leaves the
// next to the first who has come meanwhile. Who leads may go away, the others
// stay: the statement has a time of its own.
func (l *lookups[R]) lead(ctx context.Context, first *lookup[R]) {
	l.mu.Lock()
	n := min(len(l.waiting), maxLookups-1)
	group := append([]*lookup[R]{first}, l.waiting[:n]...)
	l.waiting = l.waiting[n:]
	l.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	err := l.run(ctx, group)
	for _, one := range group {
		if err != nil {
			one.err = err
		}
		if one != first {
			one.wake <- struct{}{}
		}
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.running--
		return
	}
	next := l.waiting[0]
	l.waiting = l.waiting[1:]
	next.leads = true
	next.wake <- struct{}{}
}

// run answers a group, or fails for all of it.
func (l *lookups[R]) run(ctx context.Context, group []*lookup[R]) error {
	users, ids := make([]int64, len(group)), make([]int64, len(group))
	for i, one := range group {
		users[i], ids[i] = one.session.User, one.id
	}
	rows, err := l.pool.Query(ctx, l.sql, users, ids)
	if err != nil {
		return fmt.Errorf("%s: %w", l.doing, classify(err))
	}
	defer rows.Close()
	var n int64
	var asker asker
	var record R
	full := append([]any{&n, &asker.active, &asker.epoch}, l.targets(&record)...)
	known := make([]any, len(full)) // without a record
	copy(known, full[:3])
	unknown := make([]any, len(full)) // nor a user
	unknown[0] = &n
	for rows.Next() {
		into, raw := full, rows.RawValues()
		noUser, noRecord := raw[1] == nil, raw[3] == nil
		switch {
		case noUser:
			into = unknown
		case noRecord:
			into = known
		}
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("%s: %w", l.doing, classify(err))
		}
		one := group[n-1]
		switch err := asker.check(one.session); {
		case noUser:
			one.err = ErrUnknownUser
		case err != nil:
			one.err = err
		case noRecord:
			one.err = ErrNotFound
		default:
			one.record = record
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", l.doing, classify(err))
	}
	return nil
}

// asker is what a statement answers of the user who asks.
type asker struct {
	active bool
	epoch  events.Position
}

// check tells whether the user may act in this session.
func (a asker) check(session Session) error {
	if !a.active {
		return ErrInactiveUser
	}
	if a.epoch != session.Epoch {
		return ErrSessionEnded
	}
	return nil
}
