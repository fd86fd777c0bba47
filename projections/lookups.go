package projections

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
)

// lookup asks for one record as a user may see it.
type lookup struct {
	session Session
	id      int64
}

// lookups answers single records of one kind. It fails with [ErrNotFound],
// [ErrUnknownUser], [ErrInactiveUser] and [ErrSessionEnded].
type lookups[R any] = sharedRead[lookup, R]

// newLookups reads records of these fields, the first of which is never null,
// from these tables. They are restricted by asked.id, the record's, and
// asked.user_id, who asks.
//
// The lateral joins with an offset leave the planner no choice but the indexes,
// whatever it believes about the sizes of the tables.
func newLookups[R any](pool *pgxpool.Pool, doing string, targets func(*R) []any, fields, tables string) *lookups[R] {
	sql := `
		select asked.n, u.active, u.token_epoch, r.*
		from unnest($1::bigint[], $2::bigint[]) with ordinality as asked (user_id, id, n)
		left join lateral (select active, token_epoch from users where id = asked.user_id offset 0) as u on true
		left join lateral (select ` + fields + ` from ` + tables + ` offset 0) as r on u.active`
	return &lookups[R]{doing: doing, run: func(ctx context.Context, group []*asking[lookup, R]) error {
		return lookUp(ctx, pool, sql, targets, group)
	}}
}

func lookUp[R any](ctx context.Context, pool *pgxpool.Pool, sql string, targets func(*R) []any, group []*asking[lookup, R]) error {
	users, ids := make([]int64, len(group)), make([]int64, len(group))
	for i, one := range group {
		users[i], ids[i] = one.question.session.User, one.question.id
	}
	rows, err := pool.Query(ctx, sql, users, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	var n int64
	var asker asker
	var record R
	full := append([]any{&n, &asker.active, &asker.epoch}, targets(&record)...)
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
			return err
		}
		one := group[n-1]
		switch err := asker.check(one.question.session); {
		case noUser:
			one.err = ErrUnknownUser
		case err != nil:
			one.err = err
		case noRecord:
			one.err = ErrNotFound
		default:
			one.answer = record
		}
	}
	return rows.Err()
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
