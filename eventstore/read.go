package eventstore

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// connectTimeout bounds the making of a connection and small statements, so
// that a database that does not answer is an error and not a hang.
const connectTimeout = 5 * time.Second

// pageSize is how many events a stream of events holds at a time.
const pageSize = 1000

const columns = `position, id, type, schema_version, tags, data, metadata, recorded_at`

// Head is the position of the log's last event, 0 while it is empty.
func (s *Store) Head(ctx context.Context) (events.Position, error) {
	var head events.Position
	err := s.config.Pool.QueryRow(ctx, `select coalesce(max(position), 0) from events`).Scan(&head)
	if err != nil {
		return 0, fmt.Errorf("read the head of the log: %w", classify(err))
	}
	return head, nil
}

// Read answers at most limit events that follow a position, in order.
func (s *Store) Read(ctx context.Context, after events.Position, limit int) ([]events.Recorded, error) {
	return s.page(ctx, nil, after, limit)
}

// Stream answers the events that follow a position and match the query, or all
// where the query has no items, in order and in constant memory. It ends at the
// head of the log, or with an error.
func (s *Store) Stream(ctx context.Context, q events.Query, after events.Position) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for {
			page, err := s.page(ctx, q, after, pageSize)
			if err != nil {
				yield(events.Recorded{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after = e.Position
			}
			if len(page) < pageSize {
				return
			}
		}
	}
}

// Load answers all events that follow a position and match the query, in order,
// and the head of the log in the same snapshot: the position to make an append
// conditional on.
func (s *Store) Load(ctx context.Context, q events.Query, after events.Position) ([]events.Recorded, events.Position, error) {
	if err := q.Validate(); err != nil {
		return nil, 0, fmt.Errorf("load events: %w", err)
	}
	var args arguments
	sql := `select head.position as head, e.* from (select coalesce(max(position), 0) as position from events) as head
		left join (select ` + columns + ` from events where position in (` + selection(q, after, &args) + `)) as e on true
		order by e.position`
	rows, err := s.config.Pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, 0, fmt.Errorf("load events: %w", classify(err))
	}
	defer rows.Close()
	var found []events.Recorded
	var head events.Position
	for rows.Next() {
		if rows.RawValues()[1] == nil { // the left join found no event
			if err := rows.Scan(&head, nil, nil, nil, nil, nil, nil, nil, nil); err != nil {
				return nil, 0, fmt.Errorf("load events: %w", classify(err))
			}
			continue
		}
		var e events.Recorded
		if err := rows.Scan(append([]any{&head}, targets(&e)...)...); err != nil {
			return nil, 0, fmt.Errorf("load events: %w", classify(err))
		}
		found = append(found, e)
	}
	if err := rows.Err(); err != nil {
		return nil, 0, fmt.Errorf("load events: %w", classify(err))
	}
	return found, head, nil
}

// page reads one page by keyset: the cost does not grow with the position.
func (s *Store) page(ctx context.Context, q events.Query, after events.Position, limit int) ([]events.Recorded, error) {
	if err := q.Validate(); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	var args arguments
	sql := `select ` + columns + ` from events where `
	if len(q) > 0 {
		sql += `position in (` + selection(q, after, &args) + `)`
	} else {
		sql += `position > ` + args.add(int64(after))
	}
	sql += ` order by position limit ` + args.add(limit)
	rows, err := s.config.Pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", classify(err))
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (events.Recorded, error) {
		var e events.Recorded
		err := row.Scan(targets(&e)...)
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", classify(err))
	}
	return found, nil
}

func targets(e *events.Recorded) []any {
	return []any{&e.Position, &e.ID, &e.Type, &e.SchemaVersion, &e.Tags, (*[]byte)(&e.Data), (*[]byte)(&e.Metadata), &e.RecordedAt}
}

// arguments collects the parameters of a statement.
type arguments []any

func (a *arguments) add(value any) string {
	*a = append(*a, value)
	return "$" + strconv.Itoa(len(*a))
}

// selection is a subquery for the positions of the events after a position that
// match the query. Tags are looked up in event_tags, whose primary key begins
// with them. It is a union, because an OR of lookups would be planned as a scan
// of the whole log.
func selection(q events.Query, after events.Position, args *arguments) string {
	if len(q) == 0 {
		return "select null::bigint where false"
	}
	from := args.add(int64(after))
	items := make([]string, len(q))
	for i, item := range q {
		ofType := ""
		if len(item.Types) > 0 {
			ofType = ` and type = any(` + args.add(typeNames(item.Types)) + `)`
		}
		if len(item.Tags) == 0 {
			items[i] = `(select position from events where position > ` + from + ofType + `)`
			continue
		}
		lookups := make([]string, len(item.Tags))
		for j, tag := range item.Tags {
			lookups[j] = `select position from event_tags where tag = ` + args.add(string(tag)) + ` and position > ` + from + ofType
		}
		items[i] = "(" + strings.Join(lookups, " intersect ") + ")"
	}
	return strings.Join(items, " union ")
}

func typeNames(types []events.Type) []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return names
}
