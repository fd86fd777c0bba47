package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/feed"
)

// heartbeat is how often something is sent at least, so that a client, and whatever
// is between, knows that the other is there; and how often the user's right to see is
// looked at again.
const heartbeat = 15 * time.Second

// endOfStream is why a stream of events ended, as the client is told.
type endOfStream struct{ reason, detail string }

var (
	endExpired   = endOfStream{"token_expired", "The access token has expired: follow on with a new one."}
	endForbidden = endOfStream{"not_allowed", "The user may not follow any more."}
	endChanged   = endOfStream{"changed", "The user may see something else now: follow on."}
	endSlow      = endOfStream{"too_slow", "The events came faster than they were read: follow on from the last one."}
	endWentBack  = endOfStream{"went_back", "The log was put back to an earlier state: start over from the first event."}
	endStopping  = endOfStream{"stopping", "The server is stopping: follow on."}
	endFailed    = endOfStream{"unavailable", "The log cannot be read now: follow on later."}

	// Nobody is told these.
	endGone    = endOfStream{reason: "gone"}    // by the client
	endStalled = endOfStream{reason: "stalled"} // the client took nothing for as long as sendWithin
)

var endsOfStreams = []endOfStream{endExpired, endForbidden, endChanged, endSlow, endWentBack, endStopping, endFailed, endGone, endStalled}

// streamEvents answers with Server-Sent Events (the HTML standard, 9.2): first what
// there is after the position that is asked for, then what happens, until the
// client goes, or with a last event "end" that tells why. The id of an event is its
// position, so that a browser resumes by itself.
func (a *api) streamEvents(w http.ResponseWriter, r *http.Request, asked eventsAsked) error {
	out, err := a.beginStream(w, r, streamType)
	if err != nil {
		return err
	}
	defer out.end()
	out.buffer = append(out.buffer, "retry: 1000\n\n"...)
	why := endOf(out.ctx, a.follow(out.ctx, out, asked))
	if why != endStalled && requestOf(r.Context()).client.Err() != nil {
		why = endGone
	}
	a.metrics.ended.WithLabelValues(why.reason).Inc()
	switch why {
	case endGone:
		return nil
	case endStalled:
		a.logger.InfoContext(r.Context(), "a stream of events is cut off: the client took nothing for too long", "within", sendWithin)
		return nil
	}
	out.buffer = append(out.buffer, "event: end\ndata: "...)
	out.buffer = appendTexts(out.buffer, "reason", why.reason, "detail", why.detail)
	out.buffer = append(out.buffer, "\n\n"...)
	_ = out.flushAt(1)
	return nil
}

// follow sends events until there is a reason to end, which it answers.
func (a *api) follow(ctx context.Context, out *outgoing, asked eventsAsked) error {
	follower := a.feed.Follow(asked.after.position)
	defer follower.Close()
	sent, live := asked.after.position, false
	for {
		if !live { // what there is in the log
			head, err := a.log.Head(ctx)
			if err == nil && head < sent {
				err = feed.ErrWentBack
			}
			if err == nil {
				err = a.sendFromLog(ctx, out, &asked, sent, head)
			}
			if err == nil {
				err = out.flushAt(1)
			}
			if err != nil {
				return err
			}
			sent = head
			follower.Skip(head)
		}
		waiting, cancel := context.WithTimeout(ctx, heartbeat)
		news, err := follower.Next(waiting)
		cancel()
		switch {
		case errors.Is(err, feed.ErrSlow) && !live:
			continue // more has happened while the log was read
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		live = true
		for _, e := range news {
			if err := a.sendNew(ctx, out, &asked, e); err != nil {
				return err
			}
		}
		if len(news) == 0 {
			out.buffer = append(out.buffer, ": still there\n\n"...)
		}
		if err := out.flushAt(1); err != nil {
			return err
		}
		if time.Since(asked.looked) > heartbeat {
			if err := a.look(ctx, &asked); err != nil {
				return err
			}
		}
	}
}

// sendNew sends an event that has just happened, if it is asked for. What the user may
// see may end with it: what came before is seen then, and what follows only if it does not.
func (a *api) sendNew(ctx context.Context, out *outgoing, asked *eventsAsked, e feed.Event) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e.Type.Entity() == events.User && slices.Contains(e.Tags, events.UserTag(asked.user.User)) {
		err := out.flushAt(1)
		if err == nil {
			err = a.progress.Wait(ctx, e.Position)
		}
		if err == nil {
			err = a.look(ctx, asked)
		}
		if err != nil {
			return err
		}
	}
	if !asked.filter.Matches(e.Recorded) {
		return nil
	}
	out.buffer = appendServerSent(out.buffer, e)
	return out.flushAt(chunk)
}

// Why a stream ends whose user may see something else than when it began.
var (
	errSeesLess = errors.New("the user does not see all any more")
	errSeesMore = errors.New("the user sees all now")
)

// look makes sure that the user may still see what was asked for, and no more.
func (a *api) look(ctx context.Context, asked *eventsAsked) error {
	viewer, err := a.viewer(ctx, asked.user)
	asked.looked = time.Now()
	switch {
	case err != nil || viewer == asked.filter.Viewer:
		return err
	case viewer.All:
		return errSeesMore
	}
	return errSeesLess
}

// lookNowAndThen is look once a second, while much is sent.
func (a *api) lookNowAndThen(ctx context.Context, asked *eventsAsked) error {
	if time.Since(asked.looked) < time.Second {
		return nil
	}
	return a.look(ctx, asked)
}

func (a *api) sendFromLog(ctx context.Context, out *outgoing, asked *eventsAsked, after, until events.Position) error {
	for e, err := range a.feed.Read(ctx, asked.filter, after, until) {
		if err == nil {
			err = a.lookNowAndThen(ctx, asked)
		}
		if err != nil {
			return err
		}
		out.buffer = appendServerSent(out.buffer, e)
		if err := out.flushAt(chunk); err != nil {
			return err
		}
	}
	return nil
}

func appendServerSent(dst []byte, e feed.Event) []byte {
	dst = append(dst, "id: "...)
	dst = strconv.AppendInt(dst, int64(e.Position), 10)
	dst = append(dst, "\ndata: "...)
	dst = append(dst, e.Document...)
	return append(dst, "\n\n"...)
}

// endOf turns an error into what the client is told.
func endOf(ctx context.Context, err error) endOfStream {
	switch {
	case errors.Is(context.Cause(ctx), errExpired):
		return endExpired
	case errors.Is(err, feed.ErrStopped), errors.Is(context.Cause(ctx), feed.ErrStopped):
		return endStopping
	case errors.Is(err, errStalled):
		return endStalled
	case errors.Is(err, errGone):
		return endGone
	case errors.Is(err, feed.ErrSlow):
		return endSlow
	case errors.Is(err, feed.ErrWentBack), errors.Is(err, projections.ErrWentBack):
		return endWentBack
	case errors.Is(err, errSeesMore):
		return endChanged
	case errors.Is(err, errSeesLess), answerTo(err).status == http.StatusUnauthorized:
		return endForbidden
	}
	return endFailed
}
