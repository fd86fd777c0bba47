package projections

import (
	"context"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
)

// Queries answers reads from the read tables. Each is one SQL statement, so one
// snapshot, which also tells the state of the user who asks. All methods may be
// called concurrently; they fail with an error that wraps
// [events.ErrUnavailable] when the database cannot be reached.
type Queries struct {
	pool     *pgxpool.Pool
	sessions *lookups[events.Position]
	users    *lookups[User]
	patients *lookups[Patient]
	doctors  *lookups[Doctor]
}

// NewQueries reads through the pool, whose connections must have been
// configured by [Configure]. The pool is lent.
func NewQueries(pool *pgxpool.Pool) *Queries {
	return &Queries{
		pool:     pool,
		sessions: newLookups(pool, "check a session", func(p *events.Position) []any { return []any{p} }, `position`, `checkpoints where name = 'users'`),
		users:    newLookups(pool, "read a user", userTargets, userFields, `users l where l.id = asked.id`),
		patients: newLookups(pool, "read a patient", patientTargets, patientFields, `patients p where p.id = asked.id and p.owner_id = asked.user_id`),
		doctors:  newLookups(pool, "read a doctor", doctorTargets, doctorFields, `doctors d where d.id = asked.id`),
	}
}

// Configure sets on the configuration of a connection what this package's
// statements rely on:
//   - the search path that finds the read tables
//   - read committed, whatever is set for the database: a statement that has
//     waited for a rebuild to switch the tables must see the new ones as they
//     are then, and not as they were when it began, half filled
//   - plans that keep to the indexes. A plan made while the tables were small
//     would otherwise stay a scan of a table that has grown, until it is analysed.
func Configure(config *pgx.ConnConfig) {
	params := maps.Clone(config.RuntimeParams)
	if params == nil {
		params = map[string]string{}
	}
	params["search_path"] = liveSchema + ",public"
	params["default_transaction_isolation"] = "read committed"
	params["plan_cache_mode"] = "force_generic_plan"
	params["enable_seqscan"] = "off"
	params["jit"] = "off"
	config.RuntimeParams = params
}

// Page is a part of a list, and how long the whole list is in the same snapshot.
type Page[R any] struct {
	Count int64
	Rows  []R
}

// Session is who asks: a user, with the tokens of one epoch. Every query checks
// in its own statement that the user may act and that the epoch still lasts.
type Session struct {
	User  int64
	Epoch events.Position // of the user's tokens, see [User]
}

// userState is what a statement must select first for list to check the session;
// the user who asks is u there.
const userState = `u.active, u.token_epoch, `

// list runs a statement whose first columns are userState, whose first argument
// is the user who asks, and whose other columns are a record's; for one without
// records it must answer one row in which they are null, the first of them being
// one that never is null in a record.
func list[R any](ctx context.Context, q *Queries, doing string, targets func(*R) []any, sql string, session Session, args ...any) ([]R, error) {
	return collect(ctx, q, doing, targets, nil, sql, session, args...)
}

// collect is list for a statement that, where last is given, has one more column,
// a number that is the same in every row.
func collect[R any](ctx context.Context, q *Queries, doing string, targets func(*R) []any, last *int64, sql string, session Session, args ...any) ([]R, error) {
	ctx, span := startStatement(ctx, doing)
	defer span.End()
	rows, err := q.pool.Query(ctx, sql, append([]any{session.User}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, classify(err))
	}
	defer rows.Close()
	var record R
	var asker asker
	full := append([]any{&asker.active, &asker.epoch}, targets(&record)...)
	empty := make([]any, len(full))
	copy(empty, full[:2])
	if last != nil {
		full, empty = append(full, last), append(empty, last)
	}

	records := []R{}
	for rows.Next() {
		raw := rows.RawValues()
		if raw[0] == nil {
			return nil, ErrUnknownUser
		}
		into := full
		if raw[2] == nil {
			into = empty
		}
		if err := rows.Scan(into...); err != nil {
			return nil, fmt.Errorf("%s: %w", doing, classify(err))
		}
		if err := asker.check(session); err != nil {
			return nil, err
		}
		if raw[2] != nil {
			records = append(records, record)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, classify(err))
	}
	return records, nil
}

// page answers a part of the records of these tables. The arguments are the user
// who asks, the limit, the offset, and what else the tables need. Fields begin
// with the id, which is ordered by.
//
// Tables that are a part of others select it behind "offset 0": without that the
// limit would tempt Postgres to walk through everybody's records in order of id.
func page[R any](ctx context.Context, q *Queries, doing string, targets func(*R) []any, fields, tables string, session Session, args ...any) (Page[R], error) {
	var page Page[R]
	var err error
	page.Rows, err = collect(ctx, q, doing, targets, &page.Count,
		`select `+userState+`part.*, whole.count
		from (values (1)) as always
		left join users u on u.id = $1
		left join lateral (select `+fields+` from `+tables+` where u.active order by 1 limit $2 offset $3) as part on true
		cross join lateral (select count(*) from `+tables+` where u.active) as whole
		order by 3`, session, args...)
	return page, err
}
