package eventstore

import (
	"context"
	"fmt"
	"iter"
	"slices"
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

// Read answers at most limit events that follow a position, in order. It reads by
// keyset: the cost does not grow with the position.
func (s *Store) Read(ctx context.Context, after events.Position, limit int) ([]events.Recorded, error) {
	found, err := s.collect(ctx, `select `+columns+` from events where position > $1 order by position limit $2`, []any{int64(after), limit})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", classify(err))
	}
	return found, nil
}

// Stream answers the events of a selection, in order and in constant memory: no
// statement and no connection is held while the caller works. It ends at the head
// of the log, or with an error.
func (s *Store) Stream(ctx context.Context, selected events.Selection) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		if err := selected.Validate(); err != nil {
			yield(events.Recorded{}, fmt.Errorf("read events: %w", err))
			return
		}
		read := s.streamAll
		switch {
		case len(selected.Query) > 0 || selected.Kind != "":
			read = s.streamFound
		case selected.Actor != events.Actor{}:
			read = s.streamActor
		}
		for e, err := range read(ctx, selected) {
			if err != nil {
				err = fmt.Errorf("read events: %w", classify(err))
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// streamAll walks along the log.
func (s *Store) streamAll(ctx context.Context, selected events.Selection) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for {
			var args arguments
			sql := `select ` + columns + ` from events where position > ` + args.add(int64(selected.After)) + upTo(selected.Until, &args) +
				` order by position limit ` + args.add(pageSize)
			page, err := s.collect(ctx, sql, args)
			if !hand(page, err, yield) || len(page) < pageSize {
				return
			}
			selected.After = page[len(page)-1].Position
		}
	}
}

// streamActor walks along the log, of which little may be the actor's: each
// statement looks at a part of the log that takes it not too long.
func (s *Store) streamActor(ctx context.Context, selected events.Selection) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		end := selected.Until
		if end == 0 {
			var err error
			if end, err = s.Head(ctx); err != nil {
				yield(events.Recorded{}, err)
				return
			}
		}
		for selected.After < end {
			part := min(selected.After+foundAtOnce, end)
			args := arguments{int64(selected.After), int64(part)}
			sql := `select ` + columns + ` from events where position > $1 and position <= $2` + byActor(selected.Actor, &args) +
				` order by position limit ` + args.add(pageSize)
			page, err := s.collect(ctx, sql, args)
			if !hand(page, err, yield) {
				return
			}
			if selected.After = part; len(page) == pageSize {
				selected.After = page[pageSize-1].Position
			}
		}
	}
}

// foundAtOnce is how many positions a stream looks up at a time: 8 bytes each.
const foundAtOnce = 100_000

// streamFound looks up which events are selected, many at a time, and reads those
// a page at a time. Looking them up for each page would walk through all that
// come after it, again and again.
func (s *Store) streamFound(ctx context.Context, selected events.Selection) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for {
			var args arguments
			var positions string
			if len(selected.Query) > 0 {
				positions = selection(selected.Query, selected.After, selected.Until, &args)
			} else {
				positions = ofKind(selected, &args)
			}
			rows, err := s.config.Pool.Query(ctx, `select position from (`+positions+`) as found order by position limit `+args.add(foundAtOnce), args...)
			var found []int64
			if err == nil {
				found, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			}
			if err != nil {
				yield(events.Recorded{}, err)
				return
			}
			for some := range slices.Chunk(found, pageSize) {
				args := arguments{some}
				sql := `select ` + columns + ` from events where position = any($1)` + byActor(selected.Actor, &args) + ` order by position`
				if page, err := s.collect(ctx, sql, args); !hand(page, err, yield) {
					return
				}
			}
			if len(found) < foundAtOnce {
				return
			}
			selected.After = events.Position(found[len(found)-1])
		}
	}
}

// hand yields a page, or the error. It reports false when that was all.
func hand(page []events.Recorded, err error, yield func(events.Recorded, error) bool) bool {
	if err != nil {
		yield(events.Recorded{}, err)
		return false
	}
	for _, e := range page {
		if !yield(e, nil) {
			return false
		}
	}
	return true
}

// PositionAt answers the position of the last event that was recorded at a time
// or before, 0 for none. That is final: an append that is under way is awaited,
// and later ones are recorded later. A time that the database's clock has not
// passed yet is [events.ErrFuture].
func (s *Store) PositionAt(ctx context.Context, at time.Time) (events.Position, error) {
	var position *events.Position
	var passed bool
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock_shared($1)`, appendLock); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `select clock_timestamp() > $1,
			(select position from events where recorded_at <= $1 order by recorded_at desc, position desc limit 1)`, at).Scan(&passed, &position)
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("find the position of a time: %w", classify(err))
	case !passed:
		return 0, events.ErrFuture
	case position == nil:
		return 0, nil
	}
	return *position, nil
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
		left join (select ` + columns + ` from events where position in (` + selection(q, after, 0, &args) + `)) as e on true
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

// collect runs a statement that answers events.
func (s *Store) collect(ctx context.Context, sql string, args []any) ([]events.Recorded, error) {
	rows, err := s.config.Pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (events.Recorded, error) {
		var e events.Recorded
		err := row.Scan(targets(&e)...)
		return e, err
	})
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

// selection is a subquery for the positions of the events that match the query,
// after a position and, unless until is 0, up to another. Tags are looked up in
// event_tags, whose primary key begins with them: the first tag of an item, which
// should be the rarest, and for each event that has it, whether it has the others.
// (That is a scalar subquery because those are always index probes: an intersection
// read all events of an owner to find a patient's.) It is a union, because an OR of
// lookups would be planned as a scan of the whole log.
func selection(q events.Query, after, until events.Position, args *arguments) string {
	if len(q) == 0 {
		return "select null::bigint where false"
	}
	within := `position > ` + args.add(int64(after)) + upTo(until, args)
	items := make([]string, len(q))
	for i, item := range q {
		ofType := ""
		if len(item.Types) > 0 {
			ofType = ` and type = any(` + args.add(typeNames(item.Types)) + `)`
		}
		if len(item.Tags) == 0 {
			items[i] = `(select position from events where ` + within + ofType + `)`
			continue
		}
		lookup := `select position from event_tags t where tag = ` + args.add(string(item.Tags[0])) + ` and ` + within + ofType
		for _, tag := range item.Tags[1:] {
			lookup += ` and (select true from event_tags f where f.tag = ` + args.add(string(tag)) + ` and f.type = t.type and f.position = t.position)`
		}
		items[i] = "(" + lookup + ")"
	}
	return strings.Join(items, " union ")
}

// ofKind is a subquery for the positions of the events of a kind. Each has the tag
// of its record, so they are found in event_tags, and the log is not read: ';'
// and '/' are what follows ':' and '.'.
func ofKind(selected events.Selection, args *arguments) string {
	kind := string(selected.Kind)
	ofType := ""
	if len(selected.Types) > 0 {
		ofType = ` and type = any(` + args.add(typeNames(selected.Types)) + `)`
	}
	return `select position from event_tags where tag >= ` + args.add(kind+":") + ` and tag < ` + args.add(kind+";") +
		` and type >= ` + args.add(kind+".") + ` and type < ` + args.add(kind+"/") +
		ofType + ` and position > ` + args.add(int64(selected.After)) + upTo(selected.Until, args)
}

func upTo(until events.Position, args *arguments) string {
	if until == 0 {
		return ""
	}
	return ` and position <= ` + args.add(int64(until))
}

// byActor restricts a statement on events, which reads each to find out.
func byActor(actor events.Actor, args *arguments) string {
	sql := ""
	if actor.UserID != 0 {
		sql += ` and metadata->'actor'->>'user_id' = ` + args.add(strconv.FormatInt(actor.UserID, 10))
	}
	if actor.Tool != "" {
		sql += ` and metadata->'actor'->>'tool' = ` + args.add(actor.Tool)
	}
	if actor.Operator != "" {
		sql += ` and metadata->'actor'->>'operator' = ` + args.add(actor.Operator)
	}
	return sql
}

func typeNames(types []events.Type) []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return names
}
