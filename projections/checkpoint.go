package projections

import (
	"context"
	"errors"
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
	_, err := conn.Exec(ctx, `
		insert into projections.checkpoints (name, schema_version, log_id, position)
		select name, version, $3, 0 from unnest($1::text[], $2::integer[]) as program (name, version)
		on conflict (name) do nothing`, config.names(), config.schemaVersions(), config.LogID)
	if err != nil {
		return nil, fmt.Errorf("load the checkpoints: %w", classify(err))
	}
	stored, err := loadStored(ctx, conn)
	if err != nil {
		return nil, err
	}
	return config.positions(stored)
}

// storedCheckpoint is how far a projection is, whatever program has run it on
// whatever log.
type storedCheckpoint struct {
	schemaVersion int
	log           uuid.UUID
	position      events.Position
}

// loadStored answers all checkpoints there are, by the names of the projections.
func loadStored(ctx context.Context, conn *pgx.Conn) (map[string]storedCheckpoint, error) {
	rows, err := conn.Query(ctx, `select name, schema_version, log_id, position from projections.checkpoints order by name`)
	if err != nil {
		return nil, fmt.Errorf("load the checkpoints: %w", classify(err))
	}
	stored := map[string]storedCheckpoint{}
	var name string
	var c storedCheckpoint
	_, err = pgx.ForEachRow(rows, []any{&name, &c.schemaVersion, &c.log, &c.position}, func() error {
		stored[name] = c
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the checkpoints: %w", classify(err))
	}
	return stored, nil
}

// positions answers how far each projection is; one that is new to the database
// is at 0. It fails as loadCheckpoints does.
func (c Config) positions(stored map[string]storedCheckpoint) ([]events.Position, error) {
	positions := make([]events.Position, len(c.Projections))
	for i, p := range c.Projections {
		at, known := stored[p.Name()]
		switch {
		case !known:
			continue
		case at.schemaVersion != p.SchemaVersion():
			return nil, &SchemaError{Projection: p.Name(), Stored: at.schemaVersion, Program: p.SchemaVersion()}
		case at.log != c.LogID:
			return nil, fmt.Errorf("%w: projection %q follows log %s, this is %s", ErrOtherLog, p.Name(), at.log, c.LogID)
		}
		positions[i] = at.position
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
		    from unnest($1::text[], $2::bigint[], $5::integer[]) as seen (name, position, schema_version)
		    where c.name = seen.name and c.position = seen.position and c.log_id = $4 and c.schema_version = seen.schema_version
		    returning 1)
		select 1 / (count(*) = cardinality($1::text[]))::integer from moved`,
		config.names(), seen, to, config.LogID, config.schemaVersions(),
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
	positions, ids := make([]events.Position, len(evs)), make([][16]byte, len(evs)) // pgx would encode a uuid.UUID by way of its text
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

// loadStopped answers what the runner is stopped at, nil for nothing: what it got
// past does not count any more.
func loadStopped(ctx context.Context, conn *pgx.Conn, config Config) (*StoppedError, error) {
	var stopped StoppedError
	var reason string
	err := conn.QueryRow(ctx, `
		select stopped_position, stopped_type, stopped_reason
		from checkpoints where name = any($1) and stopped_position > position limit 1`, config.names(),
	).Scan(&stopped.Position, &stopped.Type, &reason)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read what the runner had stopped at: %w", classify(err))
	}
	stopped.Err = errors.New(reason)
	return &stopped, nil
}

// clearStopped takes the mark away, when the event was applied.
func clearStopped(ctx context.Context, conn *pgx.Conn, config Config) error {
	_, err := conn.Exec(ctx, `
		update checkpoints set stopped_position = null, stopped_type = null, stopped_reason = null
		where name = any($1) and stopped_position is not null`, config.names())
	if err != nil {
		return fmt.Errorf("clear what the runner had stopped at: %w", classify(err))
	}
	return nil
}
