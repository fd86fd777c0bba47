package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carelog/carelog/events"
)

// Times of the appender's doubts.
const (
	overdue       = 2 * time.Second // then it looks after an answer that does not come
	settleTimeout = time.Minute     // for finding out what became of a commit
)

// watch breaks an append off when the server has done with it but the answer
// got lost on the way, on a connection that seems to live: its outcome is asked
// for then. It ends when what it returns is called.
func (a *appender) watch(ctx context.Context, breakOff context.CancelFunc) (end func()) {
	ended := make(chan struct{})
	watching := time.AfterFunc(overdue, func() {
		defer close(ended)
		if a.answerIsLost(ctx) {
			breakOff()
		}
	})
	return func() {
		if !watching.Stop() {
			breakOff()
			<-ended
		}
	}
}

// answerIsLost asks the server, by another connection, whether the appender's
// session still works on a group. It returns true when it rests, false when the
// context ends. While the server cannot be asked nobody else need wait for it.
func (a *appender) answerIsLost(ctx context.Context) bool {
	for ctx.Err() == nil {
		works, err := a.sessionWorks(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			a.store.appends.refuse(err)
		case !works:
			return true
		default:
			a.store.appends.admit()
		}
		pause(ctx, patience)
	}
	return false
}

// sessionWorks tells whether the appender's session is at work, waiting for the
// lock included.
func (a *appender) sessionWorks(ctx context.Context) (works bool, err error) {
	err = a.aside(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `select exists (select from pg_stat_activity where application_name = $1 and state is distinct from 'idle')`,
			a.name).Scan(&works)
	})
	if err != nil {
		return false, fmt.Errorf("look after an append: %w", classify(err))
	}
	return works, nil
}

// endSilentHolder ends the session that holds the append lock and waits for its
// client to send more. No timeout of the server ends it, because a statement that
// is sent together with others is not idle between two of them: a process that
// was stopped in the midst of sending would stop every writer for as long. What
// it wanted to append is not stored, as it will find out.
func (a *appender) endSilentHolder(ctx context.Context) {
	err := a.aside(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `
			select pg_terminate_backend(pid) from pg_locks join pg_stat_activity using (pid)
			where locktype = 'advisory' and granted and objsubid = 1 and classid::bigint << 32 | objid::bigint = $1
			    and database = (select oid from pg_database where datname = current_database())
			    and wait_event = 'ClientRead' and clock_timestamp() - query_start > $2::interval`,
			appendLock, appenderSettings["lock_timeout"])
		return err
	})
	if err != nil {
		a.store.config.Logger.Warn("whoever holds the append lock cannot be looked after", "error", classify(err))
	}
}

// aside does something by a connection of its own, within connectTimeout.
func (a *appender) aside(ctx context.Context, do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, a.store.config.Appender)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return do(ctx, conn)
}

func isLockTimeout(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "55P03"
}

// settle finds out what became of a group whose connection was lost during its
// transaction, before anybody is answered. The old session may still be alive,
// even waiting for the lock, so it is ended first: after that the events are
// stored or never will be.
func (a *appender) settle(stopping context.Context, group []*request, cause error) {
	ctx, cancel := outlasting(stopping, settleTimeout)
	defer cancel()
	cause = classify(cause)
	if !errors.Is(cause, events.ErrUnavailable) {
		cause = fmt.Errorf("%w: %w", events.ErrUnavailable, cause)
	}
	a.disconnect()
	lost, since := a.name, time.Now()
	for try := 0; ; try++ {
		stored, err := a.outcome(ctx, lost, group)
		if err == nil {
			a.answerSettled(group, stored, cause)
			return
		}
		if ctx.Err() != nil {
			a.store.metrics.unsettled.Inc()
			refuse(group, fmt.Errorf("%w: %w", events.ErrOutcomeUnknown, cause))
			return
		}
		a.refuseAfter(since, err)
		pause(ctx, backoff(try))
	}
}

// outcome answers the positions of the group's last events, by event id.
func (a *appender) outcome(ctx context.Context, lost string, group []*request) (map[uuid.UUID]events.Position, error) {
	if err := a.connect(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for {
		var alive int
		err := a.conn.QueryRow(ctx, `select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1`, lost).Scan(&alive)
		if err != nil {
			return nil, fmt.Errorf("end the lost session: %w", classify(err))
		}
		if alive == 0 {
			break
		}
		pause(ctx, backoff(0))
	}
	ids := make([]uuid.UUID, len(group))
	for i, r := range group {
		ids[i] = r.events[len(r.events)-1].ID
	}
	rows, err := a.conn.Query(ctx, `select id, position from events where id = any($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("ask for the outcome of a commit: %w", classify(err))
	}
	stored := map[uuid.UUID]events.Position{}
	var id uuid.UUID
	var position events.Position
	_, err = pgx.ForEachRow(rows, []any{&id, &position}, func() error {
		stored[id] = position
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the outcome of a commit: %w", classify(err))
	}
	return stored, nil
}

func (a *appender) answerSettled(group []*request, stored map[uuid.UUID]events.Position, cause error) {
	head := events.Position(0)
	var missing []*request
	for _, r := range group {
		position, found := stored[r.events[len(r.events)-1].ID]
		if !found {
			missing = append(missing, r)
			continue
		}
		head = max(head, position)
		r.answer <- answer{last: position}
	}
	refuse(missing, cause)
	if head == 0 {
		a.store.metrics.missing.Inc()
	} else {
		a.store.metrics.stored.Inc()
		a.store.recent.look()
		if a.store.config.OnAppend != nil {
			a.store.config.OnAppend(head)
		}
	}
}
