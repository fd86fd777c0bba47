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
	follower := a.feed.Follow(asked.after)
	defer follower.Close()
	sent, live := asked.after, false
	for {
		if !live { // what there is in the log
			head, err := a.sendFromLog(ctx, out, &asked, sent)
			if err != nil {
				return err
			}
			sent = head
			follower.Skip(head)
		}
		waiting, cancel := context.WithDeadline(ctx, out.sent.Add(heartbeat))
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
		if len(out.buffer) == 0 && time.Since(out.sent) >= heartbeat { // there may be news that others ask for
			out.buffer = append(out.buffer, ": still there\n\n"...)
		}
		if err := out.flushAt(1); err != nil {
			return err
		}
		if time.Since(asked.checked) > heartbeat {
			if err := a.recheck(ctx, &asked); err != nil {
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
			err = a.recheck(ctx, asked)
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

// errSeesOthers: the user may see something else than when the stream began.
var errSeesOthers = errors.New("what the user may see has changed")

// recheck makes sure that the user may still see what was asked for, and no more.
func (a *api) recheck(ctx context.Context, asked *eventsAsked) error {
	viewer, err := a.viewer(ctx, asked.user)
	if err == nil && viewer != asked.filter.Viewer {
		err = errSeesOthers
	}
	asked.checked = time.Now()
	return err
}

// recheckEachSecond is recheck once a second, while much is sent.
func (a *api) recheckEachSecond(ctx context.Context, asked *eventsAsked) error {
	if time.Since(asked.checked) < time.Second {
		return nil
	}
	return a.recheck(ctx, asked)
}

// sendFromLog sends what the log has after an event, and answers its last one.
func (a *api) sendFromLog(ctx context.Context, out *outgoing, asked *eventsAsked, after feed.Place) (head feed.Place, err error) {
	if head, err = a.feed.Head(ctx); err != nil {
		return head, err
	}
	for e, err := range a.feed.Read(ctx, asked.filter, after.Position, head.Position) {
		if err == nil {
			err = a.recheckEachSecond(ctx, asked)
		}
		if err != nil {
			return head, err
		}
		out.buffer = appendServerSent(out.buffer, e)
		if err := out.flushAt(chunk); err != nil {
			return head, err
		}
	}
	if head.Position < after.Position {
		return head, feed.ErrWentBack
	}
	for _, event := range []feed.Place{after, head} { // or else the log went back meanwhile
		if err := a.feed.Check(ctx, event); err != nil {
			return head, err
		}
	}
	return head, out.flushAt(1)
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
	cause := context.Cause(ctx)
	switch {
	case errors.Is(err, errStalled):
		return endStalled
	case errors.Is(err, errGone), errors.Is(cause, context.Canceled):
		return endGone
	case errors.Is(cause, errExpired):
		return endExpired
	case errors.Is(err, feed.ErrStopped), errors.Is(cause, feed.ErrStopped):
		return endStopping
	case errors.Is(err, feed.ErrSlow):
		return endSlow
	case errors.Is(err, feed.ErrWentBack), errors.Is(err, projections.ErrWentBack):
		return endWentBack
	case errors.Is(err, errSeesOthers):
		return endChanged
	case answerTo(err).status == http.StatusUnauthorized:
		return endForbidden
	}
	return endFailed
}
