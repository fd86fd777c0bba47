package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carelog/carelog/events"
)

// classify turns what Postgres or the network say into our errors, at the edge
// of this package: whatever means "try again later" wraps
// [events.ErrUnavailable]. Of what the server says about a statement only the
// SQLSTATE and the constraint are kept: its text may quote data.
func classify(err error) error {
	if err == nil || errors.Is(err, events.ErrUnavailable) {
		return err
	}
	again := passes(err)
	var connect *pgconn.ConnectError
	var refused *pgconn.PgError
	if errors.As(err, &refused) && !errors.As(err, &connect) { // who cannot connect is told why, in full
		text := "postgres: SQLSTATE " + refused.Code
		if refused.ConstraintName != "" {
			text += ", constraint " + refused.ConstraintName
		}
		err = errors.New(text)
	}
	if again {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	return err
}

// passes tells of an error whether the same may succeed later without anybody
// changing it.
func passes(err error) bool {
	var connect *pgconn.ConnectError
	var refused *pgconn.PgError
	var network net.Error
	switch {
	case errors.As(err, &refused):
		return transient(refused.Code)
	case errors.Is(err, context.Canceled):
		return false
	}
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) || connectionLost(err)
}

// transient is passes for an SQLSTATE.
func transient(code string) bool {
	switch code[:2] {
	case "08", // connection exception
		"53", // insufficient resources: too many connections, disk full, out of memory
		"57", // operator intervention: shutdown, crash, not up yet, statement timeout
		"58": // system error: an I/O error
		return true
	}
	switch code {
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
// (Package projections has the same: neither package may import the other.)
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
