package projections

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// appliedChannel is where a runner in shared mode announces, in the transaction
// of each batch, the position that the read tables contain from then on.
const appliedChannel = "carelog_applied"

// How often the checkpoints are read as a net below the notifications: often
// while somebody waits, else as often as the lease must be looked at.
const (
	pollWaiting = 100 * time.Millisecond
	pollIdle    = 500 * time.Millisecond
)

// Run follows the runner of another process until the context ends; then it
// returns nil. It has nothing to do, and no connection, while the runner of this
// process is running or when no other process shares the database.
func (p *Progress) Run(ctx context.Context) error {
	if !p.config.Shared {
		<-ctx.Done()
		return nil
	}
	for failing := false; ctx.Err() == nil; {
		err := p.followRunner(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			if !failing {
				p.config.Logger.Warn("projections: the runner cannot be followed, trying again", "error", err)
			}
			p.see(elsewhere{at: time.Now(), err: err})
		}
		failing = err != nil
		rest, done := p.rest(ctx, pollIdle)
		<-rest.Done()
		done()
	}
	return nil
}

// followRunner looks and listens until this process's runner begins, then it
// returns nil, or an error occurs.
func (p *Progress) followRunner(ctx context.Context) error {
	if p.isLeading() {
		return nil
	}
	conn, err := p.config.connect(ctx, "progress")
	if err != nil {
		return err
	}
	defer disconnect(conn)
	if _, err := conn.Exec(ctx, "listen "+appliedChannel); err != nil {
		return fmt.Errorf("listen for applied events: %w", classify(err))
	}
	for lastLook := (time.Time{}); !p.isLeading(); {
		every := p.pollEvery()
		if time.Since(lastLook) >= every {
			if err := p.look(ctx, conn); err != nil {
				return err
			}
			lastLook = time.Now()
		}
		rest, done := p.rest(ctx, every)
		heard, err := conn.WaitForNotification(rest)
		over := rest.Err() != nil
		done()
		switch {
		case err == nil:
			position, _ := strconv.ParseInt(heard.Payload, 10, 64) // 0 moves nothing
			p.advance(events.Position(position))
		case ctx.Err() != nil:
			return ctx.Err()
		case !over || conn.IsClosed():
			return fmt.Errorf("wait for applied events: %w", classify(err))
		}
	}
	return nil
}

// look reads checkpoints, stop marks and the lease. Where a checkpoint is missing
// or another log's, nothing is learnt of positions.
func (p *Progress) look(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	known := p.Checkpoint()
	var (
		position      *events.Position
		stoppedAt     *events.Position
		stoppedType   *events.Type
		stoppedReason *string
		seen          elsewhere
	)
	err := conn.QueryRow(ctx, `
		select checkpoint.position, stop.stopped_position, stop.stopped_type, stop.stopped_reason,
		    exists (select from pg_locks
		        where locktype = 'advisory' and granted and classid = $3::bigint::oid and objid = $4::bigint::oid and objsubid = 2
		            and database = (select oid from pg_database where datname = current_database()))
		from (select case when count(*) = cardinality($1::text[]) then min(position) end as position
		    from checkpoints where name = any($1) and log_id = $2) as checkpoint
		left join (select * from checkpoints where name = any($1) and stopped_position > position limit 1) as stop on true`,
		p.config.names(), p.config.LogID, leaseClass, leaseObject,
	).Scan(&position, &stoppedAt, &stoppedType, &stoppedReason, &seen.held)
	if err != nil {
		return fmt.Errorf("look at the checkpoints: %w", classify(err))
	}
	if position != nil {
		p.looked(known, *position)
	}
	if stoppedAt != nil {
		seen.stopped = &StoppedError{Position: *stoppedAt, Type: *stoppedType, Err: errors.New(*stoppedReason)}
	}
	seen.at = time.Now()
	p.see(seen)
	return nil
}

func (p *Progress) see(seen elsewhere) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.elsewhere = seen
}

func (p *Progress) isLeading() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leading
}

func (p *Progress) pollEvery() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiters.queue) > 0 {
		return pollWaiting
	}
	return pollIdle
}

// rest returns a context that ends after d, or earlier when there is reason to
// look at once. Done must be called.
func (p *Progress) rest(ctx context.Context, d time.Duration) (rest context.Context, done func()) {
	rest, cancel := context.WithTimeout(ctx, d)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupt = cancel
	return rest, cancel
}
