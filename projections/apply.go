package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Apply applies consecutive events in one transaction and returns nil when the
// read tables contain them; those that they contained before are dropped, and
// nothing else tells duplicates. It waits for Run to be running.
//
// It fails with
//   - a [GapError] for events that do not follow each other or the checkpoint;
//     nothing was applied
//   - [ErrNotInLog] for events from the bus that the log does not have; nothing
//     was applied
//   - [ErrMoved] when another runner has applied events meanwhile; nothing was
//     applied
//   - a [StoppedError] at an event that cannot be applied; what is before it was
//     applied. From then on every call fails with it, until Run is run again
//   - an error that wraps [events.ErrUnavailable] when the database cannot be
//     reached; the same events can be given again
//   - an error that wraps the context's when that ended first; likewise.
func (r *Runner) Apply(ctx context.Context, source Source, evs []events.Recorded) error {
	if err := r.take(ctx); err != nil {
		return err
	}
	defer r.give()
	if r.stopped != nil {
		return r.stopped
	}
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	if err := r.connect(ctx); err != nil {
		return err
	}
	for len(evs) > 0 && evs[0].Position <= r.checkpoint() {
		evs = evs[1:]
	}
	want := r.checkpoint() + 1
	for i, e := range evs {
		if e.Position != want+events.Position(i) {
			return &GapError{Want: want + events.Position(i), Got: e.Position}
		}
	}
	if len(evs) == 0 {
		return nil
	}

	spans := r.startApplying(source, evs)
	decoded, bad := decode(r.config.Registry, evs)
	err := r.applyDecoded(ctx, source, evs, decoded)
	spans.End(cmp.Or(err, bad))
	if err != nil {
		return err
	}
	if bad != nil {
		return r.stop(ctx, evs[len(decoded)], bad)
	}
	return nil
}

// decode returns the payloads up to the first event that cannot be decoded.
func decode(registry Registry, evs []events.Recorded) (decoded []Applied, bad error) {
	decoded = make([]Applied, 0, len(evs))
	bad = guard("decoding", func() error {
		for _, e := range evs {
			payload, err := registry.Decode(e.Event)
			if err != nil {
				return err
			}
			decoded = append(decoded, Applied{Position: e.Position, ID: e.ID, Payload: payload})
		}
		return nil
	})
	return decoded, bad
}

// applyDecoded commits a batch. When one of its events is at fault it commits
// them one by one, up to that one, and stops there.
func (r *Runner) applyDecoded(ctx context.Context, source Source, evs []events.Recorded, decoded []Applied) error {
	if len(decoded) == 0 {
		return nil
	}
	var fault *faultError
	err := r.commit(ctx, source, decoded)
	if !errors.As(err, &fault) {
		return err
	}
	for i := range decoded {
		err := r.commit(ctx, source, decoded[i:i+1])
		switch {
		case errors.As(err, &fault):
			return r.stop(ctx, evs[i], err)
		case err != nil:
			return err
		}
	}
	return nil
}

// faultError is an error of commit for which one of the events is to blame, not
// the database or another runner.
type faultError struct{ cause error }

func (e *faultError) Error() string { return "apply events: " + e.cause.Error() }
func (e *faultError) Unwrap() error { return e.cause }

// commit runs the transaction of a batch, in one round trip: statements that are
// sent together without begin and commit are one transaction.
func (r *Runner) commit(ctx context.Context, source Source, evs []Applied) error {
	if err := r.connect(ctx); err != nil {
		return err
	}
	if r.checkpoint()+1 < evs[0].Position {
		return ErrMoved // back, which was found out just now
	}
	last := evs[len(evs)-1].Position
	var batch pgx.Batch
	queueMove(&batch, r.config, r.positions, last)
	if source != SourceLog {
		queueProof(&batch, evs)
	}
	for i, p := range r.config.Projections {
		// Projections differ in position while one is new and catches up.
		ahead := min(max(r.positions[i]+1-evs[0].Position, 0), events.Position(len(evs)))
		err := guard("projection "+p.Name(), func() error { return p.Apply(&batch, evs[ahead:]) })
		if err != nil {
			return &faultError{err}
		}
	}
	if r.config.Shared {
		batch.Queue(`select pg_notify($1, $2)`, appliedChannel, strconv.FormatInt(int64(last), 10))
	}
	began := time.Now()
	if err := r.conn.SendBatch(ctx, &batch).Close(); err != nil {
		return r.failedCommit(ctx, err)
	}
	r.metrics.applied(began, len(evs))
	for i := range r.positions {
		r.positions[i] = max(r.positions[i], last)
	}
	r.counts[source].Add(int64(len(evs)))
	r.progress.advance(last)
	if r.retried != nil && r.retried.Position <= last {
		r.retried = nil
		if err := clearStopped(ctx, r.conn, r.config); err != nil { // it counts no more, but is seen by who looks
			r.config.Logger.Warn("projections: the mark of a stop that was got past stays", "error", err)
		}
	}
	return nil
}

// failedCommit tells what an error of the transaction means. After one that has
// cost the connection it is open whether the transaction was committed: the
// checkpoints will tell when they are loaded again.
func (r *Runner) failedCommit(ctx context.Context, err error) error {
	if errors.Is(err, ErrMoved) {
		return errors.Join(err, r.load(ctx))
	}
	if errors.Is(err, ErrNotInLog) {
		return err
	}
	return failedApply(r.conn, err)
}

// failedApply tells what an error of statements of [Projection.Apply] means: a
// faultError, unless the database was away.
func failedApply(conn *pgx.Conn, err error) error {
	var unfit pgx.ErrPreprocessingBatch // a value that does not fit its column: pgx closes the connection, too
	unsent := errors.As(err, &unfit)
	err = classify(err)
	switch {
	case errors.Is(err, events.ErrUnavailable), errors.Is(err, context.Canceled):
		return fmt.Errorf("apply events: %w", err)
	case conn.IsClosed() && !unsent:
		return fmt.Errorf("apply events: %w: %w", events.ErrUnavailable, err)
	}
	return &faultError{err}
}

// stop stops loudly at an event that cannot be applied.
func (r *Runner) stop(ctx context.Context, at events.Recorded, cause error) error {
	r.stopped = &StoppedError{Position: at.Position, Type: at.Type, Err: reason(cause)}
	r.config.Logger.Error("projections: stopped, an event cannot be applied; nothing after it will be",
		"position", at.Position, "type", at.Type, "event", at.ID, "reason", r.stopped.Err)
	r.progress.stop(r.stopped)
	r.mark(ctx)
	r.halt()
	return r.stopped
}

// mark stores the stop in the database.
func (r *Runner) mark(ctx context.Context) {
	if r.marked {
		return
	}
	err := r.connect(ctx)
	if err == nil {
		err = markStopped(ctx, r.conn, r.config, r.stopped)
	}
	if err != nil {
		r.config.Logger.Warn("projections: other processes cannot be told of the stop, trying again", "error", err)
		return
	}
	r.marked = true
}

// remember answers what has stopped the runner. It stores a stop at an event,
// unless that has been done.
func (r *Runner) remember(ctx context.Context) (stopped error, marked bool) {
	if err := r.take(ctx); err != nil {
		return err, false
	}
	defer r.give()
	if r.foreign != nil {
		return r.foreign, true
	}
	r.mark(ctx)
	return r.stopped, r.marked
}

// guard turns a panic into an error: an event that makes code panic must stop
// the runner and not the program.
func guard(doing string, do func() error) (err error) {
	defer func() {
		if thrown := recover(); thrown != nil {
			crashed := &panicError{doing: doing}
			crashed.cause, _ = thrown.(runtime.Error)
			err = crashed
		}
	}()
	return do()
}

// panicError stands for a panic. It keeps errors of the Go runtime only, whose
// texts quote no data.
type panicError struct {
	doing string
	cause runtime.Error
}

func (e *panicError) Error() string {
	if e.cause == nil {
		return e.doing + " panicked"
	}
	return fmt.Sprintf("%s panicked: %v", e.doing, e.cause)
}
