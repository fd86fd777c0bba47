package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
)

// Keys of the advisory lock that every process on a database holds: "care" in
// ASCII, and the second of its kind.
const (
	presenceClass  int32 = 0x6361_7265
	presenceObject int32 = 2
)

// presence keeps processes apart that cannot work together: one with a NATS
// server of its own must be alone on its database, because nobody else would
// hear of what it appends. Those with a common NATS_URL share.
type presence struct {
	config *pgx.ConnConfig
	shared bool
	logger *slog.Logger
	conn   *pgx.Conn
}

var errNotAlone = errors.New("another carelog works on this database, and not both have a NATS_URL: " +
	"stop the other one, or set the same NATS_URL for all of them")

// enterWithin is how long a process waits for one that is just ending.
const enterWithin = 5 * time.Second

// enter takes the lock, or fails with errNotAlone.
func (p *presence) enter(ctx context.Context) error {
	for deadline := time.Now().Add(enterWithin); ; {
		err := p.try(ctx)
		if !errors.Is(err, errNotAlone) || time.Now().After(deadline) {
			return err
		}
		if !pause(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

func (p *presence) try(ctx context.Context) error {
	config := p.config.Copy()
	config.RuntimeParams["application_name"] = "carelog presence"
	for name, value := range map[string]string{"tcp_keepalives_idle": "2", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "3"} {
		config.RuntimeParams[name] = value // the server notices soon when this process is gone
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("%w: connect: %w", events.ErrUnavailable, err)
	}
	lock := `select pg_try_advisory_lock($1, $2)`
	if p.shared {
		lock = `select pg_try_advisory_lock_shared($1, $2)`
	}
	var got bool
	err = conn.QueryRow(ctx, lock, presenceClass, presenceObject).Scan(&got)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: ask who else works on the database: %w", events.ErrUnavailable, err)
	case !got:
		err = errNotAlone
	default:
		p.conn = conn
		return nil
	}
	return errors.Join(err, conn.Close(ctx))
}

// Run takes the lock again whenever the connection was lost, until the context
// ends. It fails with errNotAlone when somebody else has it meanwhile.
func (p *presence) Run(ctx context.Context) error {
	for {
		_, err := p.conn.WaitForNotification(ctx) // none comes: it returns when the connection ends
		if ctx.Err() != nil {
			return nil
		}
		p.logger.Warn("the connection that marks this process in the database was lost", "error", err)
		p.leave()
		for err := p.enter(ctx); err != nil; err = p.enter(ctx) {
			if errors.Is(err, errNotAlone) {
				return err
			}
			if !pause(ctx, 250*time.Millisecond) {
				return nil
			}
		}
	}
}

// leave gives the lock back.
func (p *presence) leave() {
	if p.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerIn)
	defer cancel()
	_ = p.conn.Close(ctx) // the server ends what is left of it
	p.conn = nil
}

// isServed tells whether a server works on the database.
func isServed(ctx context.Context, pool *pgxpool.Pool) (served bool, err error) {
	err = pool.QueryRow(ctx, `
		select exists (select from pg_locks
		    where locktype = 'advisory' and granted and classid = $1::bigint::oid and objid = $2::bigint::oid and objsubid = 2
		        and database = (select oid from pg_database where datname = current_database()))`,
		presenceClass, presenceObject).Scan(&served)
	if err != nil {
		return false, fmt.Errorf("%w: ask who works on the database: %w", events.ErrUnavailable, err)
	}
	return served, nil
}
