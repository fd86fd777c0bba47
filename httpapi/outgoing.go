package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// cutOff ends an answer in the middle.
func (a *api) cutOff(r *http.Request, err error) {
	if requestOf(r.Context()).client.Err() == nil {
		a.logger.Warn("a stream of events was cut off", "request_id", requestOf(r.Context()).id, "error", err.Error())
	}
	panic(http.ErrAbortHandler)
}

// outgoing is an answer that is sent bit by bit.
type outgoing struct {
	ctx     context.Context // ends when the client is gone, the token has expired, or the feed stops
	done    []func()
	api     *api
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  []byte
}

// sendWithin is how long a client may take for what is sent at a time.
const sendWithin = 10 * time.Second

// maxStreams is how many answers are sent bit by bit at once.
const maxStreams = 2048

// beginStream begins an answer that may take longer than others. It must be ended.
func (a *api) beginStream(w http.ResponseWriter, r *http.Request, contentType string) (*outgoing, error) {
	if a.streams.Add(1) > maxStreams {
		a.streams.Add(-1)
		return nil, a.admissions.streams.refuse()
	}
	known := requestOf(r.Context())
	known.begun = time.Since(known.began)
	out := &outgoing{api: a, w: w, control: http.NewResponseController(w)}
	ctx, stop := a.feed.While(known.client)
	ctx, cancel := context.WithDeadlineCause(ctx, known.standing.expires, errExpired)
	hurry := context.AfterFunc(ctx, func() { out.sendBy(lastWords) }) // a client that is slow holds nobody up
	out.ctx, out.done = ctx, []func(){func() { hurry() }, cancel, stop}
	_ = out.control.SetReadDeadline(time.Time{}) // the client need not send anything
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy passes on what there is
	w.WriteHeader(http.StatusOK)
	return out, nil
}

// errExpired is the cause of the end of a stream's context.
var errExpired = errors.New("the token has expired")

// lastWords is how long a client may take for what is sent at the end.
const lastWords = time.Second

// end makes room for another.
func (o *outgoing) end() {
	for _, done := range o.done {
		done()
	}
	o.api.streams.Add(-1)
}

// sendBy gives what is sent a deadline. That fails where there is no connection, as in
// tests.
func (o *outgoing) sendBy(within time.Duration) {
	_ = o.control.SetWriteDeadline(time.Now().Add(within))
}

// flushAt sends what is in the buffer, if that is so much.
func (o *outgoing) flushAt(least int) error {
	if len(o.buffer) < least {
		return nil
	}
	if o.ctx.Err() == nil {
		o.sendBy(sendWithin)
	} else {
		o.sendBy(lastWords)
	}
	if _, err := o.w.Write(o.buffer); err != nil {
		return err
	}
	o.buffer = o.buffer[:0]
	return o.control.Flush()
}
