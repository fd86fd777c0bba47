package projections

import (
	"context"
	"errors"
	"fmt"

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
	SchemaVersion int
	Position      events.Position
	Lag           int64         // events in the log that the tables do not contain yet
	Stopped       *StoppedError // nil, unless the runner is stopped at an event
}

// Status reads the state of the read tables, whichever process applies events.
func (r *Runner) Status(ctx context.Context) (Status, error) {
	status := Status{FromBus: r.Applied(SourceBus), FromLog: r.Applied(SourceLog)}
	rows, err := r.config.Pool.Query(ctx, `
		select name, schema_version, position, stopped_position, stopped_type, stopped_reason
		from checkpoints where name = any($1) order by name`, r.config.names())
	if err != nil {
		return Status{}, fmt.Errorf("read the checkpoints: %w", classify(err))
	}
	status.Projections, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (ProjectionStatus, error) {
		var (
			p          ProjectionStatus
			stoppedAt  *events.Position
			stoppedBy  *events.Type
			stoppedFor *string
		)
		err := row.Scan(&p.Name, &p.SchemaVersion, &p.Position, &stoppedAt, &stoppedBy, &stoppedFor)
		if stoppedAt != nil {
			p.Stopped = &StoppedError{Position: *stoppedAt, Type: *stoppedBy, Err: errors.New(*stoppedFor)}
		}
		return p, err
	})
	if err != nil {
		return Status{}, fmt.Errorf("read the checkpoints: %w", classify(err))
	}
	// The head is read after the checkpoints, so no lag is below 0.
	if status.Head, err = r.config.Log.Head(ctx); err != nil {
		return Status{}, err
	}
	for i := range status.Projections {
		p := &status.Projections[i]
		p.Lag = max(0, int64(status.Head-p.Position))
	}
	return status, nil
}
