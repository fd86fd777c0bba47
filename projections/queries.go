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
	pool *pgxpool.Pool
}

// NewQueries reads through the pool, whose connections must have been
// configured by [Configure]. The pool is lent.
func NewQueries(pool *pgxpool.Pool) *Queries { return &Queries{pool: pool} }

// Configure sets on the configuration of a connection what this package's
// statements rely on: the search path that finds the read tables, and plans
// that keep to the indexes. A plan made while the tables were small would
// otherwise stay a scan of a table that has grown, until it is analysed.
func Configure(config *pgx.ConnConfig) {
	params := maps.Clone(config.RuntimeParams)
	if params == nil {
		params = map[string]string{}
	}
	params["search_path"] = "projections,public"
	params["plan_cache_mode"] = "force_generic_plan"
	params["enable_seqscan"] = "off"
	params["jit"] = "off"
	config.RuntimeParams = params
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
	rows, err := q.pool.Query(ctx, sql, append([]any{session.User}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, classify(err))
	}
	defer rows.Close()
	var record R
	var active bool
	var epoch events.Position
	full := append([]any{&active, &epoch}, targets(&record)...)
	empty := make([]any, len(full))
	empty[0], empty[1] = &active, &epoch

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
		if !active {
			return nil, ErrInactiveUser
		}
		if epoch != session.Epoch {
			return nil, ErrSessionEnded
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

// one is list for a statement that answers at most one record.
func one[R any](ctx context.Context, q *Queries, doing string, targets func(*R) []any, sql string, session Session, args ...any) (R, error) {
	var none R
	records, err := list(ctx, q, doing, targets, sql, session, args...)
	if err != nil {
		return none, err
	}
	if len(records) == 0 {
		return none, ErrNotFound
	}
	return records[0], nil
}
