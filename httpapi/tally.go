package httpapi

import (
	"sync"
	"time"
)

// tellEvery is how often a tally is told in the log, at most.
const tellEvery = 5 * time.Second

// tally counts what happens too often for a line in the log each time.
type tally struct {
	mu     sync.Mutex
	n      int64
	told   int64
	toldAt time.Time
}

// add counts one more. It answers how many have not been told, and whether it is
// time to.
func (t *tally) add() (untold int64, tell bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	untold = t.n - t.told
	if now := time.Now(); now.Sub(t.toldAt) >= tellEvery {
		t.told, t.toldAt = t.n, now
		return untold, true
	}
	return untold, false
}

// total is how many there were.
func (t *tally) total() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}
