package commands

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
)

// Log is what commands need of the event log.
type Log interface {
	// Load answers all events that follow a position and match the query, in
	// order, and the log's head in the same snapshot.
	Load(ctx context.Context, q events.Query, after events.Position) ([]events.Recorded, events.Position, error)

	// Append stores the events, all or none, and answers the last one's position;
	// events.ErrConflict when one of the conditions does not hold.
	Append(context.Context, []events.Event, ...events.AppendCondition) (events.Position, error)

	// NextID draws the id of a new record.
	NextID(context.Context, events.Kind) (int64, error)
}

// Records is what commands need of the read tables.
type Records interface {
	// Snapshots answers those of the subjects that are there, and a position: all
	// events up to there, and none after, have made them so. Position 0 says that
	// nothing is known.
	Snapshots(context.Context, events.Subjects) ([]events.Snapshot, events.Position, error)
}

// Credentials keeps the hashes of passwords, which are never in the log.
type Credentials interface {
	Add(ctx context.Context, userID int64, passwordHash string) error
	Change(ctx context.Context, userID int64, passwordHash string) error
	Remove(ctx context.Context, userID int64) error
}

// Service takes the commands of users. It must not be copied.
type Service struct {
	Log         Log
	Records     Records       // of the same log; nil: only the log is read
	TagKey      events.TagKey // the log's
	Registry    *events.Registry
	Credentials Credentials
	Now         func() time.Time
	NewID       func() (uuid.UUID, error) // of events: UUIDv7
	Metrics     *Metrics                  // nil: nothing is counted

	turns turns
}

// Caller is who sends a command, and in the course of what.
type Caller struct {
	UserID        int64  // 0 for somebody who registers, and for a tool
	Tool          string // the command of an operator, like "carelog users"
	Operator      string // who runs the tool: a user of the operating system
	CorrelationID string
	RequestID     string
	TraceParent   string      // the trace that the request belongs to, valid as in W3C Trace Context; empty: none
	Idempotency   Idempotency // the zero value for a request that is not sent again
	Role          events.Role // that the command needs: no append once it was revoked; empty: none
	Standing      Standing    // nil for one whose right to act needs no asking: a tool, somebody who registers
}

// now is the time of an event as the API shows it, in whole microseconds: a
// read table keeps no more.
func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
