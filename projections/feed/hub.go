package feed

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/cloudevent"
	"github.com/carelog/carelog/projections"
)

// Why a follower, or who goes on after an event, gets no more.
var (
	// ErrSlow: the follower has fallen behind what is kept of new events.
	ErrSlow = errors.New("the follower is too slow")

	// ErrWentBack: the log went back to an earlier state, as by a failover that lost
	// commits. What was got may not be in it any more.
	ErrWentBack = errors.New("the log went back to an earlier state")

	// ErrStopped: the hub has stopped.
	ErrStopped = errors.New("the server is stopping")
)

// Progress tells when there is something new. [projections.Progress] is one.
type Progress interface {
	// Wait returns nil when the read tables contain the position.
	Wait(context.Context, events.Position) error

	// Restarts counts how often they were found at an earlier position than before.
	Restarts() int64
}

const (
	kept      = 8192 // events, at least, for those who are a little behind
	readLimit = 500  // events at a time
)

// Event is a recorded event, without its data and metadata, and its CloudEvent, which has
// them and must not be changed.
type Event struct {
	events.Recorded
	Document []byte
}

// Place is where the event stands.
func (e Event) Place() Place { return Place{e.Position, e.ID} }

// Hub gives out what was, and hands what is new to all who follow. Make it by
// [NewHub].
type Hub struct {
	log      Log
	progress Progress
	logID    uuid.UUID
	logger   *slog.Logger

	mu        sync.Mutex
	followers int
	came      chan struct{} // holds a signal when the first follower has come
	news      chan struct{} // closed, and made anew, when something is new
	noticed   int64         // times that the log had another event than before, which the progress did not see
	backs     int64         // as goneBack answered when recent was begun
	live      bool          // recent is of the log as it is
	base      Place         // of the event before the first of recent
	recent    []Event       // consecutive

	running context.Context // ends with ErrStopped
	end     context.CancelCauseFunc
}

// NewHub returns a hub that hands nothing out until it runs. Its metrics are
// registered, unless the registerer is nil.
func NewHub(log Log, logID uuid.UUID, progress Progress, registerer prometheus.Registerer, logger *slog.Logger) *Hub {
	h := &Hub{log: log, logID: logID, progress: progress, logger: logger, came: make(chan struct{}, 1), news: make(chan struct{})}
	h.running, h.end = context.WithCancelCause(context.Background())
	h.register(registerer)
	return h
}

// Source names the log, as in each of its events.
func (h *Hub) Source() string { return cloudevent.Source(h.logID) }

// While returns a context that ends also when the hub stops, with the cause
// [ErrStopped]. Done must be called.
func (h *Hub) While(ctx context.Context) (while context.Context, done func()) {
	while, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.running, func() { cancel(ErrStopped) })
	return while, func() {
		stop()
		cancel(context.Canceled)
	}
}

// Run reads new events while somebody follows, until the context ends; then it
// returns nil.
func (h *Hub) Run(ctx context.Context) error {
	defer h.Stop()
	for failing := false; ctx.Err() == nil; {
		if !h.followed() {
			select {
			case <-h.came:
			case <-ctx.Done():
			}
			continue
		}
		err := h.advance(ctx)
		if err != nil && ctx.Err() == nil {
			if !failing {
				h.logger.Warn("the feed of events cannot read the log, trying again", "error", err)
			}
			pause(ctx, time.Second)
		}
		failing = err != nil
	}
	return nil
}

// Stop ends all who follow with [ErrStopped].
func (h *Hub) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end(ErrStopped)
	h.tell()
}

// tell wakes all who wait. The lock is held.
func (h *Hub) tell() {
	close(h.news)
	h.news = make(chan struct{})
}

// followed tells whether somebody does. If nobody, what is kept is let go.
func (h *Hub) followed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.followers == 0 {
		h.recent, h.live = nil, false
	}
	return h.followers > 0
}

// advance waits for something new, for as long as the progress waits, and reads it.
func (h *Hub) advance(ctx context.Context) error {
	head, live := h.known()
	if !live {
		now, err := h.Head(ctx)
		if err != nil {
			return err
		}
		h.add(now, nil)
		return nil
	}
	err := h.progress.Wait(ctx, head.Position+1)
	switch {
	case errors.Is(err, projections.ErrPending), errors.Is(err, projections.ErrWentBack):
		return nil // nothing happens
	case err != nil:
		return err
	}
	found, err := h.log.Read(ctx, max(head.Position-1, 0), readLimit+1)
	if err != nil {
		return err
	}
	if head.Position > 0 && len(found) > 0 {
		if found[0].ID != head.ID {
			h.notice()
			return nil
		}
		found = found[1:]
	}
	if len(found) == 0 { // the log has gone back, which the progress is about to find out
		pause(ctx, 100*time.Millisecond)
		return nil
	}
	news := make([]Event, len(found))
	for i, e := range found {
		news[i] = h.event(e)
	}
	h.add(head, news)
	return nil
}

// goneBack counts how often the log went back. The lock is held.
func (h *Hub) goneBack() int64 { return h.progress.Restarts() + h.noticed }

// notice that the log has another event where a known one stood: it went back, and has
// grown past that before the progress has seen it.
func (h *Hub) notice() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.noticed++
	h.tell()
}

// known answers up to where events are. When the log went back they are let go: other
// events will have their positions.
func (h *Hub) known() (head Place, live bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if backs := h.goneBack(); backs != h.backs {
		h.backs, h.recent, h.live = backs, nil, false
		h.tell()
	}
	return h.before(len(h.recent)), h.live
}

// before is the place of the event before the i-th of recent. The lock is held.
func (h *Hub) before(i int) Place {
	if i == 0 {
		return h.base
	}
	return h.recent[i-1].Place()
}

// event makes the document of an event, without line breaks, which end it on the
// way to followers; in JSON they are nothing but white space.
func (h *Hub) event(e events.Recorded) Event {
	document := cloudevent.Append(nil, h.logID, e)
	for i, c := range document {
		if c == '\n' || c == '\r' {
			document[i] = ' '
		}
	}
	e.Data, e.Metadata = nil, nil // many are kept, and the document has them
	return Event{e, document}
}

// add makes events known that follow the last one. While nothing is known, after is the
// place before the first that will be.
func (h *Hub) add(after Place, news []Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.live {
		h.base, h.recent, h.live = after, nil, true
	}
	if old := len(h.recent) - kept; old >= kept { // the others into memory of their own, so that these are freed
		h.base = h.before(old)
		h.recent = append(make([]Event, 0, 3*kept), h.recent[old:]...)
	}
	h.recent = append(h.recent, news...)
	h.tell()
}

// Follower is one who follows. It must be closed.
type Follower struct {
	hub   *Hub
	at    Place
	backs int64 // of the log when it began
}

// Follow begins after a place. Until [Follower.Next] answers, nothing is kept for
// the follower.
func (h *Hub) Follow(after Place) *Follower {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.followers++
	select {
	case h.came <- struct{}{}:
	default:
	}
	return &Follower{hub: h, at: after, backs: h.goneBack()}
}

// Close ends it.
func (f *Follower) Close() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.hub.followers--
}

// Next answers the events that follow the last that it has answered, 500 at most, as
// soon as there are some, in order and without a gap; none when the context ends. It fails with
// [ErrSlow] when they are kept no more (they are in the log), [ErrWentBack] and
// [ErrStopped].
func (f *Follower) Next(ctx context.Context) ([]Event, error) {
	for {
		found, news, err := f.take()
		if len(found) > 0 || err != nil {
			return found, err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// take answers what is there, or what to wait for.
func (f *Follower) take() (found []Event, news <-chan struct{}, err error) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	backs := h.goneBack()
	switch {
	case h.running.Err() != nil:
		return nil, nil, ErrStopped
	case f.backs != backs:
		return nil, nil, ErrWentBack
	case !h.live || h.backs != backs:
		return nil, h.news, nil
	}
	behind := int(h.before(len(h.recent)).Position - f.at.Position)
	switch {
	case behind < 0:
		return nil, h.news, nil
	case behind > len(h.recent):
		return nil, nil, ErrSlow
	}
	first := len(h.recent) - behind
	switch known := h.before(first); {
	case f.at.ID != uuid.Nil && f.at != known: // it went back before the first event was known
		return nil, nil, ErrWentBack
	case behind == 0:
		return nil, h.news, nil
	}
	// A copy of a part: what is kept for all is not held by one who is slow.
	found = slices.Clone(h.recent[first:][:min(behind, readLimit)])
	f.at = found[len(found)-1].Place()
	return found, nil, nil
}

// Skip goes on after a place, when what was before has been read from the log.
func (f *Follower) Skip(to Place) { f.at = to }

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
