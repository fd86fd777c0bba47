package eventstore

import (
	"sync"

	"github.com/carelog/carelog/events"
)

// maxRecent is how many events wait in memory for the relay. When it falls
// behind further it reads the log.
const maxRecent = 4096

// recent hands what was just committed to the relay of the same process, which
// saves reading it back. It holds consecutive events only: where another
// process appended in between, or the relay fell behind, it starts anew.
type recent struct {
	mu       *sync.Mutex
	events   []events.Recorded
	stale    bool          // the log may hold what is not here
	followed bool          // a relay is running; else nothing is kept
	wake     chan struct{} // holds a token when there may be something new
}

func newRecent() recent {
	return recent{mu: new(sync.Mutex), wake: make(chan struct{}, 1)}
}

// follow says whether a relay is there to take what is added.
func (r *recent) follow(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.followed, r.stale, r.events = on, true, nil
}

// add keeps what was just committed.
func (r *recent) add(committed []events.Recorded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.followed {
		return
	}
	n := len(r.events)
	if n+len(committed) > maxRecent || n > 0 && r.events[n-1].Position+1 != committed[0].Position {
		r.events = nil
	}
	r.events = append(r.events, committed...)
	r.signal()
}

// look makes the relay read the log.
func (r *recent) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stale = true
	r.signal()
}

// takeAfter takes the events that follow a position. Where it has none, it says
// whether to look for them in the log, and forgets that it was asked to.
func (r *recent) takeAfter(position events.Position) (held []events.Recorded, look bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.wake:
	default:
	}
	if len(r.events) > 0 && r.events[0].Position > position+1 {
		return nil, true
	}
	held, r.events = r.events, nil
	for len(held) > 0 && held[0].Position <= position {
		held = held[1:]
	}
	if len(held) == 0 {
		look, r.stale = r.stale, false
	}
	return held, look
}

func (r *recent) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
