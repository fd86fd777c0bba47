package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carelog/carelog/events"
)

// Errors of queries and of waiting.
var (
	// ErrNotFound: there is no such record, or it is another user's.
	ErrNotFound = errors.New("no such record")

	// ErrUnknownUser: the read tables do not hold the user who asks. A user who
	// has just registered may be in the log all the same.
	ErrUnknownUser = errors.New("no such user")

	// ErrInactiveUser: the account of the user who asks is not active.
	ErrInactiveUser = errors.New("the user is not active")

	// ErrSessionEnded: the password of the user who asks was changed since the
	// session began.
	ErrSessionEnded = errors.New("the user's password was changed after the session began")

	// ErrPending: the read tables did not reach the position in time. They will.
	ErrPending = errors.New("the read tables have not reached the position yet")

	// ErrWentBack: the database was put back to an earlier state, as by a failover
	// that lost commits. What was stored last may not be there any more.
	ErrWentBack = errors.New("the database went back to an earlier state")

	// ErrNoRunner: no process is known to apply events now.
	ErrNoRunner = errors.New("no process applies events to the read tables")

	// ErrMoved: another runner has applied events meanwhile. Nothing was applied;
	// go on from the checkpoint.
	ErrMoved = errors.New("another runner has moved the checkpoint")

	// ErrNotInLog: the bus carries events that are not in the log, or stand at
	// other positions there. Nothing was applied; go on from the log.
	ErrNotInLog = errors.New("the bus carries events that are not in the log")

	// ErrAhead: the read tables contain more than the log holds.
	ErrAhead = errors.New("the read tables contain events that are not in the log: " +
		"the database was put together from two states, restore it whole")

	// ErrOtherLog: the read tables were made from another log.
	ErrOtherLog = errors.New("the read tables were made from another log: they must be rebuilt, " + howToRebuild)

	// ErrBusy: a rebuild or a verification is under way on this database.
	ErrBusy = errors.New("another rebuild or verification is under way")

	// ErrAltered: while tables were filled beside them, the live ones got another
	// form, as by the migrations of a newer program. Begin again.
	ErrAltered = errors.New("the read tables were altered meanwhile: begin again")
)

// howToRebuild is what operators do.
const howToRebuild = "by `carelog projections rebuild` with DATABASE_URL of the database's owner"

// ErrNotOwner: the role may not make tables ([Rebuild], [Verify]).
var ErrNotOwner = errors.New("this role may not make tables: set DATABASE_URL to that of the database's owner, who migrates it")

// GapError is answered for events that do not continue at the checkpoint.
// Nothing was applied.
type GapError struct {
	Want, Got events.Position
}

func (e *GapError) Error() string {
	return fmt.Sprintf("the event at position %d must be applied next, got %d", e.Want, e.Got)
}

// StoppedError tells that an event cannot be applied. Nothing after it is
// applied until the runner is started again. Err holds no data of the event.
type StoppedError struct {
	Position events.Position
	Type     events.Type
	Err      error // an [events.UnknownTypeError] for an event that a newer program wrote
}

func (e *StoppedError) Error() string {
	return fmt.Sprintf("stopped at position %d, %s: %v", e.Position, e.Type, e.Err)
}

func (e *StoppedError) Unwrap() error { return e.Err }

// SchemaError tells that the tables of a projection are not those of this
// program.
type SchemaError struct {
	Projection      string
	Stored, Program int // schema versions
}

func (e *SchemaError) Error() string {
	remedy := "they must be rebuilt, " + howToRebuild
	if e.Stored > e.Program {
		remedy = "run the newer carelog"
	}
	return fmt.Sprintf("the tables of projection %q have schema version %d, this program's have %d: %s",
		e.Projection, e.Stored, e.Program, remedy)
}

// classify turns what Postgres or the network say into our errors, at the edge
// of this package: whatever means "try again later" wraps
// [events.ErrUnavailable]. Of a server's error only the SQLSTATE and the name of
// the constraint stay: its text may quote data.
func classify(err error) error {
	var refused *pgconn.PgError
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case err == nil, errors.Is(err, events.ErrUnavailable), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &connect): // before the server's errors: this text quotes no data
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	case errors.As(err, &refused):
		stripped := &sqlError{code: refused.Code, constraint: refused.ConstraintName}
		if transient(refused) {
			return fmt.Errorf("%w: %w", events.ErrUnavailable, stripped)
		}
		return stripped
	case errors.As(err, &network), pgconn.Timeout(err), pgconn.SafeToRetry(err),
		errors.Is(err, context.DeadlineExceeded), connectionLost(err):
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	return err
}

// sqlState is the SQLSTATE of an error of the server, else empty.
func sqlState(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// sqlError is what may be told of an error of the server.
type sqlError struct {
	code, constraint string
}

func (e *sqlError) Error() string {
	if e.constraint == "" {
		return "SQLSTATE " + e.code
	}
	return fmt.Sprintf("SQLSTATE %s, constraint %s", e.code, e.constraint)
}

// transient tells whether the same statement may succeed later without anybody
// changing it.
func transient(err *pgconn.PgError) bool {
	if err.SeverityUnlocalized == "FATAL" { // the connection is gone
		return true
	}
	switch err.Code[:min(2, len(err.Code))] {
	case "08", // connection exception
		"53", // insufficient resources: too many connections, disk full, out of memory
		"57", // operator intervention: shutdown, crash, not up yet, statement timeout
		"58": // system error: an I/O error
		return true
	}
	switch err.Code {
	case "55P03", // lock not available within lock_timeout
		"40001", "40P01", // serialization failure, deadlock
		"25006": // read only: a standby after a failover
		return true
	}
	return false
}

// connectionLost tells whether the connection ended under a statement. pgx
// answers such errors untyped.
func connectionLost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// lostMeanwhile tells whether the connection ended under a statement, or before it
// was sent, where it was neither refused nor out of time: nothing is known to be
// wrong with the statement or the database. Postgres says FATAL as it ends a session.
func lostMeanwhile(err error) bool {
	var connect *pgconn.ConnectError
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &connect): // there is no database to be had
		return false
	case errors.As(err, &refused):
		return refused.SeverityUnlocalized == "FATAL"
	}
	return pgconn.SafeToRetry(err) || connectionLost(err)
}

// reason is what may be told about why an event cannot be applied: errors of
// decoding and encoding quote the values they choke on.
func reason(err error) error {
	var unknown *events.UnknownTypeError
	var refused *sqlError
	var crashed *panicError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &unknown):
		return unknown
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &crashed):
		return crashed
	case errors.As(err, &mismatch):
		return fmt.Errorf("field %q does not hold a value of type %s", mismatch.Field, mismatch.Type)
	}
	return errors.New("its data cannot be turned into rows")
}
