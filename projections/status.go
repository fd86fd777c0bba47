package projections

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Status is the state of the read tables.
type Status struct {
	Head        events.Position // of the log
	Projections []ProjectionStatus
	FromBus     int64 // events that this process has applied from the bus
	FromLog     int64 // events that this process has applied from the log itself
}

// ProjectionStatus is the state of one projection.
type ProjectionStatus struct {
	Name          string
	SchemaVersion int // of its tables; 0 when they were never filled
	Position      events.Position
	Lag           int64         // events in the log that the tables do not contain yet
	Stopped       *StoppedError // nil, unless the runner is stopped at an event
	Unfit         error         // nil, unless the tables cannot be used: a [SchemaError], [ErrOtherLog] or [ErrAhead]
}

// Status reads the state of the read tables, whichever process applies events.
func (r *Runner) Status(ctx context.Context) (Status, error) {
	status, err := ReadStatus(ctx, r.config)
	status.FromBus, status.FromLog = r.Applied(SourceBus), r.Applied(SourceLog)
	return status, err
}

// ReadStatus is [Runner.Status] for who has no runner: it counts nothing as
// applied.
func ReadStatus(ctx context.Context, config Config) (Status, error) {
	config = config.withDefaults()
	rows, err := config.Pool.Query(ctx, `
		select program.name, program.schema_version, coalesce(c.schema_version, 0), coalesce(c.log_id, $3), coalesce(c.position, 0),
		    c.stopped_position, c.stopped_type, c.stopped_reason
		from unnest($1::text[], $2::integer[]) as program (name, schema_version)
		left join checkpoints c on c.name = program.name
		order by program.name`, config.names(), config.schemaVersions(), config.LogID)
	if err != nil {
		return Status{}, fmt.Errorf("read the checkpoints: %w", classify(err))
	}
	var status Status
	status.Projections, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (ProjectionStatus, error) {
		var (
			p          ProjectionStatus
			program    int
			log        uuid.UUID
			stoppedAt  *events.Position
			stoppedBy  *events.Type
			stoppedFor *string
		)
		err := row.Scan(&p.Name, &program, &p.SchemaVersion, &log, &p.Position, &stoppedAt, &stoppedBy, &stoppedFor)
		switch {
		case p.SchemaVersion != 0 && p.SchemaVersion != program:
			p.Unfit = &SchemaError{Projection: p.Name, Stored: p.SchemaVersion, Program: program}
		case log != config.LogID:
			p.Unfit = ErrOtherLog
		}
		if stoppedAt != nil && *stoppedAt > p.Position {
			p.Stopped = &StoppedError{Position: *stoppedAt, Type: *stoppedBy, Err: errors.New(*stoppedFor)}
		}
		return p, err
	})
	if err != nil {
		return Status{}, fmt.Errorf("read the checkpoints: %w", classify(err))
	}
	// The head is read after the checkpoints, so no lag is below 0.
	if status.Head, err = config.Log.Head(ctx); err != nil {
		return Status{}, err
	}
	for i := range status.Projections {
		p := &status.Projections[i]
		p.Lag = max(0, int64(status.Head-p.Position))
		if p.Unfit == nil && p.Position > status.Head {
			p.Unfit = ErrAhead
		}
	}
	return status, nil
}

// CountRows counts the rows of each projection's tables. That takes a second for
// some million of them.
func CountRows(ctx context.Context, config Config) (map[string]int64, error) {
	counts := map[string]int64{}
	for _, p := range config.withDefaults().Projections {
		for _, table := range p.Tables() {
			var rows int64
			err := config.Pool.QueryRow(ctx, `select count(*) from `+pgx.Identifier{table}.Sanitize()).Scan(&rows)
			if err != nil {
				return nil, fmt.Errorf("count the rows of %s: %w", table, classify(err))
			}
			counts[p.Name()] += rows
		}
	}
	return counts, nil
}
