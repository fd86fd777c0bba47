package eventstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// maxEvents is how many events one Append may hold: a removal that ends 10,000
// mappings fits ten times over.
const maxEvents = 100_000

// Append stores the events, all or none, if the condition holds, and returns
// the position of the last one: they are durable then. It fails with
// [events.ErrConflict] when the condition does not hold, and with
// [events.ErrUnavailable] when the database cannot be reached: the events are
// not stored then. Only an error that is an [events.ErrOutcomeUnknown] leaves
// that open: the context ended, or the store stopped, while the commit was
// under way.
//
// Events need an id, a type, tags without repetition or control characters, and
// JSON in Data and Metadata.
func (s *Store) Append(ctx context.Context, evs []events.Event, condition events.AppendCondition) (events.Position, error) {
	if err := validate(evs, condition); err != nil {
		return 0, fmt.Errorf("append: %w", err)
	}
	r := &request{ctx: ctx, events: evs, condition: condition, answer: make(chan answer, 1)}
	if !s.appends.add(r) {
		return 0, errStopped
	}
	select {
	case a := <-r.answer:
		return a.last, a.err
	case <-ctx.Done():
	}
	if s.appends.withdraw(r) {
		return 0, ctx.Err()
	}
	select { // taken: prefer an answer that is just arriving
	case a := <-r.answer:
		return a.last, a.err
	default:
		return 0, errors.Join(events.ErrOutcomeUnknown, ctx.Err())
	}
}

var errStopped = fmt.Errorf("%w: the store is stopping", events.ErrUnavailable)

func validate(evs []events.Event, condition events.AppendCondition) error {
	if len(evs) == 0 {
		return errors.New("no events given")
	}
	if len(evs) > maxEvents {
		return fmt.Errorf("%d events given, at most %d go into one append", len(evs), maxEvents)
	}
	for _, e := range evs {
		if e.ID == uuid.Nil || e.Type == "" || e.SchemaVersion < 1 {
			return fmt.Errorf("event %s of type %q, schema version %d, lacks an id, a type or a version", e.ID, e.Type, e.SchemaVersion)
		}
		seen := make(map[events.Tag]bool, len(e.Tags))
		for _, tag := range e.Tags {
			if tag == "" || len(tag) > 255 || strings.ContainsFunc(string(tag), isControl) {
				return fmt.Errorf("event %s has a tag that is empty, over 255 bytes, or holds a control character", e.ID)
			}
			if seen[tag] {
				return fmt.Errorf("event %s has the tag %q twice", e.ID, tag)
			}
			seen[tag] = true
		}
	}
	return condition.FailIfMatch.Validate()
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// appendGroups commits group after group until the context ends.
func (s *Store) appendGroups(ctx context.Context) {
	a := appender{store: s}
	defer a.disconnect()
	defer s.appends.close(errStopped)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.appends.wake:
		}
		if err := a.connect(ctx); err != nil {
			s.appends.refuseWaiting(err)
			continue
		}
		if group := s.appends.take(); len(group) > 0 {
			a.commit(ctx, group)
		}
	}
}

// appender is the one writer of this process, with its connection.
type appender struct {
	store *Store
	conn  *pgx.Conn
	name  string // application_name of the connection, unlike any other's
}

// commit appends the group and answers each of its requests.
func (a *appender) commit(ctx context.Context, group []*request) {
	// A commit that was begun is awaited a moment longer when the process is
	// stopping, so that its callers learn what became of it.
	stopping := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	defer context.AfterFunc(stopping, func() {
		pause(ctx, stopTimeout)
		cancel()
	})()
	stored, err := a.insert(ctx, group)
	switch {
	case err == nil:
		a.answer(group, stored)
	case a.conn.IsClosed():
		a.settle(ctx, group, classify(err))
	case len(group) == 1:
		group[0].refuse(fmt.Errorf("append: %w", classify(err)))
	default:
		// Nothing of the group is stored: one of its events is at fault. Alone,
		// each request succeeds or gets its own error.
		for _, r := range group {
			if err := a.connect(ctx); err != nil {
				r.refuse(err)
				continue
			}
			a.commit(ctx, []*request{r})
		}
	}
}

// Bounds of one group, waiting for the lock included: at all, and once the
// process is stopping.
const (
	commitTimeout = 30 * time.Second
	stopTimeout   = time.Second
)

// result tells where the events of a group's member went; one that failed its
// condition has none.
type result struct {
	member     int
	last       events.Position
	recordedAt time.Time
}

//go:embed append.sql
var appendSQL string

// insert runs the one transaction of a group, in one round trip. The lock is a
// statement of its own: the statement after it must take its snapshot when the
// lock is already held, else it would number from a head that has moved.
func (a *appender) insert(ctx context.Context, group []*request) ([]result, error) {
	var batch pgx.Batch
	batch.Queue(`select pg_advisory_xact_lock($1)`, appendLock)
	batch.Queue(appendSQL, appendArguments(group)...)
	if a.store.config.Notify {
		batch.Queue(`select pg_notify($1, '')`, appendedChannel)
	}
	results := a.conn.SendBatch(ctx, &batch)
	if _, err := results.Exec(); err != nil {
		return nil, errors.Join(err, results.Close())
	}
	rows, err := results.Query()
	if err != nil {
		return nil, errors.Join(err, results.Close())
	}
	stored, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (result, error) {
		var r result
		err := row.Scan(&r.member, &r.last, &r.recordedAt)
		return r, err
	})
	return stored, errors.Join(err, results.Close())
}

// answer hands the events to the relay, then tells each caller.
func (a *appender) answer(group []*request, stored []result) {
	var committed []events.Recorded
	head := events.Position(0)
	for _, r := range stored {
		head = max(head, r.last)
	}
	for _, r := range stored {
		evs := group[r.member].events
		for i, e := range evs {
			committed = append(committed, events.Recorded{
				Event:      e,
				Position:   r.last - events.Position(len(evs)-1-i),
				RecordedAt: r.recordedAt,
				GroupEnd:   head,
			})
		}
	}
	if len(committed) > 0 {
		a.store.recent.add(committed)
		if a.store.config.OnAppend != nil {
			a.store.config.OnAppend(head)
		}
	}
	answers := make([]answer, len(group))
	for i := range answers {
		answers[i].err = events.ErrConflict
	}
	for _, r := range stored {
		answers[r.member] = answer{last: r.last}
	}
	for i, r := range group {
		r.answer <- answers[i]
	}
}
