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
	seen    *atomic.Int64 // position up to which the user may act; 0 when nobody has looked yet
	checked bool          // by this request
	expires time.Time     // of the token
}

// Seen implements [commands.Standing].
func (s *standing) Seen() events.Position { return events.Position(s.seen.Load()) }

// Check implements [commands.Standing].
func (s *standing) Check(ctx context.Context) error {
	position, err := s.api.checkUser(ctx, s.user)
	if err != nil {
		return err
	}
	s.checked = true
	for {
		before := s.seen.Load()
		if int64(position) <= before || s.seen.CompareAndSwap(before, int64(position)) {
			return nil
		}
	}
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
