package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// cutOff tells why an answer ends in the middle, and answers what to panic with, so that
// net/http ends it.
func (a *api) cutOff(r *http.Request, err error) error {
	gone := errors.Is(err, errGone) || requestOf(r.Context()).client.Err() != nil
	if !gone || errors.Is(err, errStalled) {
		a.logger.WarnContext(r.Context(), "a stream of events was cut off", "error", err.Error())
	}
	return http.ErrAbortHandler
}

// outgoing is an answer that is sent bit by bit.
type outgoing struct {
	ctx     context.Context // ends when the client is gone, the token has expired, or the feed stops
	done    []func()
	api     *api
	user    int64
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  []byte
	sent    time.Time // when something was last

	mu    sync.Mutex
	ended bool // the connection is not this answer's any more
}

// sendWithin is how long a client may take for what is sent at a time.
const sendWithin = 10 * time.Second

// maxStreams is how many answers are sent bit by bit at once.
const maxStreams = 2048

// openStreams counts the answers that are sent bit by bit now. A user may have as many as
// are left for all others: so one has at most half of them, and it takes a dozen users
// who want all they can get to leave none.
type openStreams struct {
	mu  sync.Mutex
	all int
	of  map[int64]int // by user
}

// begin counts one more, which must end. It reports false when there is no room.
func (s *openStreams) begin(user int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[user] >= maxStreams-s.all {
		return false
	}
	s.all++
	s.of[user]++
	return true
}

// count answers how many there are.
func (s *openStreams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

func (s *openStreams) end(user int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[user]--; s.of[user] == 0 {
		delete(s.of, user)
	}
}

// beginStream begins an answer that may take longer than others. It must be ended. A
// ticket is used up by it, when nothing else can refuse the request.
func (a *api) beginStream(w http.ResponseWriter, r *http.Request, contentType string) (*outgoing, error) {
	known := requestOf(r.Context())
	if !a.open.begin(known.user.User) {
		return nil, a.admissions.streams.refuse(r.Context())
	}
	if known.ticket != nil {
		if err := a.redeem(r.Context(), *known.ticket); err != nil {
			a.open.end(known.user.User)
			return nil, err
		}
	}
	known.toStream = time.Since(known.began)
	out := &outgoing{api: a, user: known.user.User, w: w, control: http.NewResponseController(w), sent: time.Now()}
	ctx, stop := a.feed.While(known.client)
	ctx, cancel := context.WithDeadlineCause(ctx, known.standing.expires, errExpired)
	hurry := context.AfterFunc(ctx, out.hurry)
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

// hurry gives a client that is slow little time, so that it holds nobody up.
func (o *outgoing) hurry() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.sendBy(lastWords)
	}
}

// end makes room for another.
func (o *outgoing) end() {
	for _, done := range o.done {
		done()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sendBy(lastWords) // what net/http sends at the end
	o.ended = true
	o.api.open.end(o.user)
}

// sendBy gives what is sent a deadline. That fails where there is no connection, as in
// tests.
func (o *outgoing) sendBy(within time.Duration) {
	_ = o.control.SetWriteDeadline(time.Now().Add(within))
}

// chunk is how many bytes of events are sent at a time, at least, while there are more.
const chunk = 32 << 10

// Why nothing more can be sent.
var (
	errStalled = errors.New("the client took nothing for too long") // for as long as sendWithin
	errGone    = errors.New("the connection is closed")
)

// flushAt sends what is in the buffer, if it holds so many bytes at least. It fails with
// errStalled or errGone.
func (o *outgoing) flushAt(least int) error {
	if len(o.buffer) < least {
		return nil
	}
	o.mu.Lock() // hurry comes before or after
	within := sendWithin
	if o.ctx.Err() != nil {
		within = lastWords
	}
	o.sendBy(within)
	o.mu.Unlock()
	began := time.Now()
	_, err := o.w.Write(o.buffer)
	if err == nil {
		err = o.control.Flush()
	}
	o.buffer = o.buffer[:0]
	switch {
	case err == nil:
		o.sent = time.Now()
	case time.Since(began) >= sendWithin: // so the time tells, as not all versions of HTTP have an error for it
		err = errStalled
	default:
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	_ = o.control.SetWriteDeadline(time.Time{}) // over HTTP/2 it would end the stream, though nothing is being sent
	return err
}
