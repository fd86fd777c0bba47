package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// What Carelog adds to the headers of the reference.
const (
	positionHeader    = "Carelog-Position"     // the position a write was decided on
	projectedHeader   = "Carelog-Projected"    // "pending": stored, but not to be read yet
	minPositionHeader = "Carelog-Min-Position" // what a read wants the read tables to contain
)

var (
	notAPosition  = newDetail(http.StatusBadRequest, minPositionHeader+" is not a position.")
	beyondTheHead = newDetail(http.StatusBadRequest, minPositionHeader+" is beyond the end of the log.")
)

// command guards a handler that changes something: nothing is begun that could
// not be seen afterwards.
func (a *api) command(serve handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := a.progress.Live(); err != nil {
			return err
		}
		return serve(w, r)
	}
}

// settle makes the answer to a command true for every later read: it waits
// until the read tables contain the position that the command decided on. It
// answers the command's own error, if any, or why that cannot be vouched for. A
// change that is stored stays stored whatever becomes of the wait, so then the
// answer is a success that is marked as pending; unless the database itself has gone
// back to before it.
func (a *api) settle(ctx context.Context, w http.ResponseWriter, pos events.Position, refusal error) error {
	if pos == 0 {
		return refusal // nothing was read: the log could not be reached, or it is empty
	}
	w.Header().Set(positionHeader, strconv.FormatInt(int64(pos), 10))
	began := time.Now()
	err := a.wait(ctx, pos)
	a.metrics.waits.Observe(time.Since(began).Seconds())
	switch {
	case errors.Is(err, projections.ErrWentBack):
		return err
	case refusal == nil && err != nil:
		w.Header().Set(projectedHeader, "pending")
		a.metrics.pending.Inc()
		a.logger.LogAttrs(ctx, slog.LevelWarn, "a change is stored and cannot be read yet",
			slog.Int64("position", int64(pos)),
			slog.String("error", err.Error()))
	case refusal != nil && err != nil:
		return err
	}
	return refusal
}

// query guards a handler that reads: with Carelog-Min-Position it waits until
// the read tables contain that position.
func (a *api) query(serve handler) handler {
	return a.admitted(a.admissions.reads, a.atPosition(serve))
}

// list is query for a handler that reads a list.
func (a *api) list(serve handler) handler {
	return a.admitted(a.admissions.lists, a.atPosition(serve))
}

func (a *api) atPosition(serve handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if wanted := r.Header.Get(minPositionHeader); wanted != "" {
			// Who may not act learns nothing about the log, and does not wait.
			if _, err := a.checkUser(r.Context(), userOf(r)); err != nil {
				return err
			}
			if err := a.awaitPosition(r.Context(), wanted); err != nil {
				return err
			}
		}
		return serve(w, r)
	}
}

func (a *api) awaitPosition(ctx context.Context, wanted string) error {
	pos, err := strconv.ParseUint(wanted, 10, 63)
	if err != nil {
		return notAPosition
	}
	head, err := a.log.Head(ctx)
	if err != nil {
		return err
	}
	if events.Position(pos) > head {
		return beyondTheHead
	}
	return a.await(ctx, events.Position(pos))
}

// await waits until the read tables contain the position, for who is about to
// read them. That may take as long as nobody applies events, and reads that need
// not wait go on meanwhile: they get the places of those who do.
func (a *api) await(ctx context.Context, pos events.Position) error {
	known := requestOf(ctx)
	placed := known.placed
	known.leave()
	if err := a.wait(ctx, pos); err != nil || !placed {
		return err
	}
	return known.enter(ctx)
}
