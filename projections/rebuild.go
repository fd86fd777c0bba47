package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Rebuild fills the tables of config.Projections anew from the log, beside those
// that serve, and puts them in their place. Reads and writes go on all the time:
// a reader sees the old tables and then the new ones, at the same position of
// the log. Report, where set, is told of each step; it must not block. The new
// tables are made like the live ones, with all indexes and privileges; triggers,
// policies and privileges of columns, which no migration makes, are not.
//
// Until the switch nothing changes, whatever fails and wherever it is killed; what
// is left over then is removed by the next rebuild. It fails with
//   - [ErrNotOwner] when the database's role is not that of who migrates it
//   - [ErrBusy] while another rebuild or verification is under way
//   - a [StoppedError] at an event that cannot be applied
//   - a [SchemaError] when the tables are those of a newer program
//   - [ErrAltered] when the tables got another form meanwhile
//   - [ErrAhead] when the live tables contain more than the log: positions never
//     go back
//   - an error that wraps [events.ErrUnavailable] when the database cannot be
//     reached; in the switch, it is open then whether it was done
//   - an error that wraps the context's when that ended first.
//
// Tables that an older program filled, or that were made from another log, can
// be rebuilt like any others.
func Rebuild(ctx context.Context, config Config, report func(Step)) error {
	s, err := openShadow(ctx, config, rebuildSchema, report)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	if err := s.analyze(ctx); err != nil {
		return err
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		if err := s.catchUp(ctx); err != nil {
			return err
		}
		err := s.trySwitch(ctx)
		switch code := sqlState(err); {
		case err == nil:
			return nil
		case errors.Is(err, errBehind):
		case code == lockNotAvailable, code == deadlockDetected:
			s.report(Step{Stage: Waiting, Position: slices.Min(s.positions), Target: slices.Min(s.positions)})
			pause(ctx, wait)
			if ctx.Err() != nil {
				return fmt.Errorf("switch the tables: %w", ctx.Err())
			}
		default:
			return fmt.Errorf("switch the tables: %w", classify(err))
		}
	}
}

// switchSettings are those of the transaction that switches the tables. While it
// waits for a lock, whoever comes later waits, too, so it gives up soon and tries
// again: before deadlock_timeout (1 s), so that it also gives way to a reader who
// has locked the tables in another order. A process that is suspended in the
// midst of it must not keep everybody waiting.
const switchSettings = `
	set local lock_timeout = '200ms';
	set local idle_in_transaction_session_timeout = '5s';
	set local synchronous_commit = on`

// Some SQLSTATEs.
const (
	deadlockDetected      = "40P01"
	insufficientPrivilege = "42501"
)

// inSwitch is how many events may be applied within the switch, while no
// checkpoint can be moved.
const inSwitch = 500

// errBehind: more events were written than may be applied within the switch.
var errBehind = errors.New("the new tables are behind the live ones")

// catchUp fills the tables to where the live ones are, but for the few events
// that are written meanwhile.
func (s *shadow) catchUp(ctx context.Context) error {
	for {
		stored, err := loadStored(ctx, s.conn)
		if err != nil {
			return err
		}
		target, err := s.target(ctx, stored)
		if err != nil {
			return err
		}
		behind := target - slices.Min(s.positions)
		if err := s.fill(ctx, s.all(target)); err != nil {
			return fmt.Errorf("fill the tables anew: %w", err)
		}
		if behind <= inSwitch {
			return nil
		}
	}
}

// target is the position at which the new tables take the place of the live
// ones: the checkpoint, or that of the projections that are ahead. Where none has
// followed this log yet nobody was promised anything, and it is the head.
func (s *shadow) target(ctx context.Context, stored map[string]storedCheckpoint) (events.Position, error) {
	for _, p := range s.config.Projections {
		if c, known := stored[p.Name()]; known && c.schemaVersion > p.SchemaVersion() {
			return 0, &SchemaError{Projection: p.Name(), Stored: c.schemaVersion, Program: p.SchemaVersion()}
		}
	}
	var target events.Position
	followed := false
	for _, c := range stored {
		if c.log == s.config.LogID {
			target, followed = max(target, c.position), true
		}
	}
	if followed {
		return target, nil
	}
	head, err := s.config.Log.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the head of the log: %w", err)
	}
	return head, nil
}

// trySwitch puts the new tables in the place of the live ones, in one
// transaction. While it holds the checkpoints, no runner applies anything, so
// the last events can be applied to the new tables; only then it takes the
// tables from their readers.
//
// Statements that are waiting for the old tables, and plans that were made for
// them, look the names up again: Postgres tells every session of the change
// before it lets go of the locks.
func (s *shadow) trySwitch(ctx context.Context) error {
	before := slices.Clone(s.positions)
	err := pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, switchSettings+`; lock table projections.checkpoints in exclusive mode`); err != nil {
			return err
		}
		stored, err := loadStored(ctx, s.conn)
		if err != nil {
			return err
		}
		target, err := s.target(ctx, stored)
		if err != nil {
			return err
		}
		if target-slices.Min(s.positions) > inSwitch {
			return errBehind
		}
		if err := s.fill(ctx, s.all(target)); err != nil {
			return err
		}
		if err := s.replaceLive(ctx, tx); err != nil {
			return err
		}
		if err := s.storeCheckpoints(ctx, tx, target); err != nil {
			return err
		}
		s.report(Step{Stage: Switching, Position: target, Target: target})
		return nil
	})
	if err != nil {
		s.positions = before
	}
	return err
}

// replaceLive drops the live tables and moves the new ones to their schema.
// Postgres removes the old files after it has let go of the locks.
func (s *shadow) replaceLive(ctx context.Context, tx pgx.Tx) error {
	if err := s.lockLive(ctx, tx, "access exclusive"); err != nil {
		return err
	}
	var statements []string
	for _, table := range s.tables() {
		statements = append(statements,
			`drop table `+pgx.Identifier{liveSchema, table}.Sanitize(),
			`alter table `+pgx.Identifier{rebuildSchema, table}.Sanitize()+` set schema `+liveSchema)
	}
	statements = append(statements, `drop schema `+rebuildSchema)
	_, err := tx.Exec(ctx, strings.Join(statements, ";\n"))
	return err
}

// storeCheckpoints tells where the new tables are. Positions never go back.
func (s *shadow) storeCheckpoints(ctx context.Context, tx pgx.Tx, position events.Position) error {
	_, err := tx.Exec(ctx, `
		insert into projections.checkpoints as c (name, schema_version, log_id, position)
		select name, version, $3, $4 from unnest($1::text[], $2::integer[]) as program (name, version)
		on conflict (name) do update set schema_version = excluded.schema_version, log_id = excluded.log_id, position = excluded.position`,
		s.config.names(), s.config.schemaVersions(), s.config.LogID, position)
	return err
}
