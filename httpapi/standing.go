package httpapi

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// standing is the right of a request's user to act, as [commands.Standing] has
// it. What was seen is kept with the token, so that the changes which follow with
// the same token need not ask.
type standing struct {
	api     *api
	user    projections.Session
	seen    *atomic.Pointer[sight] // the last one; nil when nobody has looked yet
	checked bool                   // by this request
	expires time.Time              // of the token
}

// sight is a look at whether a user may act.
type sight struct {
	upTo  events.Position // of the log
	epoch int64           // of the database, before it
}

// epoch is another one when the database may have gone back to an earlier state: others'
// events may have the positions that were seen before, and nothing else tells when the log
// has grown past these.
func (a *api) epoch() int64 { return a.progress.Restarts() + a.log.Reconnects() }

// Seen implements [commands.Standing]. What was seen before the database went back
// to an earlier state counts no more: other events have those positions now.
func (s *standing) Seen() events.Position {
	last := s.seen.Load()
	if last == nil || last.epoch != s.api.epoch() {
		return 0
	}
	return last.upTo
}

// Check implements [commands.Standing]. What it is told counts, be it less than
// before: the log refuses who rests on a position that it does not have.
func (s *standing) Check(ctx context.Context) error {
	epoch := s.api.epoch()
	position, err := s.api.checkUser(ctx, s.user)
	if err != nil {
		return err
	}
	s.checked = true
	s.seen.Store(&sight{position, epoch})
	return nil
}

// standing guards a handler whose command checks the user's standing. What the
// request is refused for before it gets there would tell somebody who may not
// act about the request: that comes first, as it does for the reference.
func (a *api) standing(serve handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := serve(w, r)
		if known := requestOf(r.Context()).standing; err != nil && known != nil && !known.checked && answerTo(err).status < http.StatusInternalServerError {
			if refused := known.Check(r.Context()); refused != nil {
				return refused
			}
		}
		return err
	}
}
