package projections

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// loadCheckpoints answers how far each projection is, in the order of the
// configuration; one that is new to the database begins at 0. It fails with
// [ErrOtherLog] or a [SchemaError] when the tables are not those of this log and
// program.
func loadCheckpoints(ctx context.Context, conn *pgx.Conn, config Config) ([]events.Position, error) {
	names := config.names()
	versions := make([]int, len(names))
	for i, p := range config.Projections {
		versions[i] = p.SchemaVersion()
	}
	var batch pgx.Batch
	batch.Queue(`
		insert into checkpoints (name, schema_version, log_id, position)
		select name, version, $3, 0 from unnest($1::text[], $2::integer[]) as program (name, version)
		on conflict (name) do nothing`, names, versions, config.LogID)
	positions := make([]events.Position, 0, len(names))
	batch.Queue(`
		select c.schema_version, c.log_id, c.position
		from unnest($1::text[]) with ordinality as program (name, number)
		join checkpoints c on c.name = program.name
		order by program.number`, names,
	).Query(func(rows pgx.Rows) error {
		for i := 0; rows.Next(); i++ {
			var version int
			var log uuid.UUID
			var position events.Position
			if err := rows.Scan(&version, &log, &position); err != nil {
				return err
			}
			if version != versions[i] {
				return &SchemaError{Projection: names[i], Stored: version, Program: versions[i]}
			}
			if log != config.LogID {
				return fmt.Errorf("%w: projection %q follows log %s, this is %s", ErrOtherLog, names[i], log, config.LogID)
			}
			positions = append(positions, position)
		}
		return nil
	})
	if err := conn.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("load the checkpoints: %w", classify(err))
	}
	return positions, nil
}

// divisionByZero is the SQLSTATE by which queueMove gives up.
const divisionByZero = "22012"

// queueMove queues the compare-and-set of all checkpoints from where this runner
// has seen them. Unless every one of them is there, it fails by a division by
// zero: the batch has no round trip to spare in which the program could look at
// a count and roll back. It is the first statement, so that a second runner
// waits here until the first has committed, and then finds them moved.
func queueMove(batch *pgx.Batch, config Config, seen []events.Position, to events.Position) {
	batch.Queue(`
		with moved as (
		    update checkpoints c set position = greatest(c.position, $3)
		    from unnest($1::text[], $2::bigint[]) as seen (name, position)
		    where c.name = seen.name and c.position = seen.position and c.log_id = $4
		    returning 1)
		select 1 / (count(*) = cardinality($1::text[]))::integer from moved`,
		config.names(), seen, to, config.LogID,
	).QueryRow(func(row pgx.Row) error {
		var one int
		err := row.Scan(&one)
		if sqlState(err) == divisionByZero {
			return ErrMoved
		}
		return err
	})
}

// queueProof queues the proof that the log has these events, each at its
// position: the bus is only a carrier, and one that outlived a restored database
// carries events that never happened. It fails like queueMove.
func queueProof(batch *pgx.Batch, evs []Applied) {
	positions, ids := make([]events.Position, len(evs)), make([]uuid.UUID, len(evs))
	for i, e := range evs {
		positions[i], ids[i] = e.Position, e.ID
	}
	batch.Queue(`
		select 1 / (count(*) = cardinality($1::bigint[]))::integer
		from unnest($1::bigint[], $2::uuid[]) as carried (position, id)
		join public.events e on e.position = carried.position and e.id = carried.id`,
		positions, ids,
	).QueryRow(func(row pgx.Row) error {
		var one int
		err := row.Scan(&one)
		if sqlState(err) == divisionByZero {
			return ErrNotInLog
		}
		return err
	})
}

// markStopped stores what the runner stopped at, for other processes to see,
// unless another runner has got past it.
func markStopped(ctx context.Context, conn *pgx.Conn, config Config, stopped *StoppedError) error {
	_, err := conn.Exec(ctx, `
		update checkpoints set stopped_position = $2, stopped_type = $3, stopped_reason = $4
		where name = any($1) and position < $2`,
		config.names(), stopped.Position, stopped.Type, stopped.Err.Error())
	if err != nil {
		return fmt.Errorf("store what the runner stopped at: %w", classify(err))
	}
	return nil
}

// clearStopped takes the mark away: the event is tried again.
func clearStopped(ctx context.Context, conn *pgx.Conn, config Config) error {
	_, err := conn.Exec(ctx, `
		update checkpoints set stopped_position = null, stopped_type = null, stopped_reason = null
		where name = any($1) and stopped_position is not null`, config.names())
	if err != nil {
		return fmt.Errorf("clear what the runner had stopped at: %w", classify(err))
	}
	return nil
}
