package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/carelog/carelog/events"
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
	endSlow      = endOfStream{"too_slow", "The events came faster than they were read: follow on from the last one."}
	endStopping  = endOfStream{"stopping", "The server is stopping: follow on."}
	endFailed    = endOfStream{"unavailable", "The log cannot be read now: follow on later."}
)

// streamEvents answers with Server-Sent Events (the HTML standard, 9.2): first what
// there is after the position that is asked for, then what happens, until the
// client goes, or with a last event "end" that tells why. The id of an event is its
// position, so that a browser resumes by itself.
func (a *api) streamEvents(w http.ResponseWriter, r *http.Request, asked eventsAsked, head events.Position) error {
	if asked.after > head { // as of another log
		return newDetail(http.StatusBadRequest, "The position to follow after is beyond the end of the log.")
	}
	out, err := a.beginStream(w, r, streamType)
	if err != nil {
		return err
	}
	defer out.end()
	known := requestOf(r.Context())
	out.buffer = append(out.buffer, "retry: 1000\n\n"...)
	why := a.follow(out.ctx, out, asked)
	if known.client.Err() != nil || why == (endOfStream{}) {
		return nil // the client is gone
	}
	out.buffer = append(out.buffer, "event: end\ndata: "...)
	out.buffer = appendTexts(out.buffer, "reason", why.reason, "detail", why.detail)
	out.buffer = append(out.buffer, "\n\n"...)
	_ = out.flushAt(1)
	return nil
}

// follow sends events until there is a reason to end; none when the client takes
// nothing any more.
func (a *api) follow(ctx context.Context, out *outgoing, asked eventsAsked) endOfStream {
	follower := a.feed.Follow(asked.after)
	defer follower.Close()
	sent, live := asked.after, false
	for {
		if !live { // what there is in the log
			head, err := a.log.Head(ctx)
			if err == nil {
				err = a.sendFromLog(ctx, out, &asked, sent, head)
			}
			if err != nil {
				return whyEnded(ctx, err)
			}
			if err := out.flushAt(1); err != nil {
				return endOfStream{}
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
			return whyEnded(ctx, err)
		case ctx.Err() != nil:
			return whyEnded(ctx, ctx.Err())
		}
		live = true
		for _, e := range news {
			if ctx.Err() != nil {
				return whyEnded(ctx, ctx.Err())
			}
			if e.Type.Entity() == events.User && slices.Contains(e.Tags, events.UserTag(asked.user.User)) {
				// What the user may see may end here: what came before is seen, and what
				// follows only if it does not.
				if err := out.flushAt(1); err != nil {
					return endOfStream{}
				}
				err := a.progress.Wait(ctx, e.Position)
				if err == nil {
					err = a.look(ctx, &asked)
				}
				if err != nil {
					return whyEnded(ctx, err)
				}
			}
			if asked.filter.Matches(e.Recorded) {
				out.buffer = appendServerSent(out.buffer, e)
				if err := out.flushAt(chunk); err != nil {
					return endOfStream{}
				}
			}
		}
		if len(news) == 0 {
			out.buffer = append(out.buffer, ": still there\n\n"...)
		}
		if err := out.flushAt(1); err != nil {
			return endOfStream{}
		}
		if time.Since(asked.looked) > heartbeat {
			if err := a.look(ctx, &asked); err != nil {
				return whyEnded(ctx, err)
			}
		}
	}
}

// errSeesOthers: the user may see something else than when the stream began.
var errSeesOthers = errors.New("what the user may see has changed")

// look makes sure that the user may still see what was asked for.
func (a *api) look(ctx context.Context, asked *eventsAsked) error {
	viewer, err := a.viewer(ctx, asked.user)
	if err == nil && viewer != asked.filter.Viewer {
		err = errSeesOthers
	}
	asked.looked = time.Now()
	return err
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

// whyEnded turns an error, or that the user may see something else now, into what
// the client is told.
func whyEnded(ctx context.Context, err error) endOfStream {
	switch {
	case errors.Is(context.Cause(ctx), errExpired):
		return endExpired
	case errors.Is(err, feed.ErrSlow):
		return endSlow
	case errors.Is(err, feed.ErrStopped), errors.Is(context.Cause(ctx), feed.ErrStopped):
		return endStopping
	case errors.Is(err, errSeesOthers), answerTo(err).status == http.StatusUnauthorized:
		return endForbidden
	}
	return endFailed
}
