package httpapi

import (
	"context"
	"sync"
)

// What is not counted: there are no more of them than connections.
const (
	smallBody   = 4 << 10  // bytes; ten times what a change of a record needs
	shortAnswer = 64 << 10 // bytes; the kernel takes that, whether the client reads or not
)

// room is memory that requests share: one for bodies, which are kept until their
// requests end (and take a few times as much while they are decoded), one for
// answers, which are kept until their clients have read them.
type room struct {
	size int

	mu    sync.Mutex
	taken int
}

// take takes n bytes, which must be given back, unless others have too many
// already. Who is alone gets any number.
func (r *room) take(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken > 0 && r.taken+n > r.size {
		return false
	}
	r.taken += n
	return true
}

func (r *room) give(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken -= n
}

// keep takes room for the request's body.
func (known *request) keep(ctx context.Context, n int) error {
	if known.bodies == nil {
		return nil
	}
	if !known.bodies.take(n) {
		return known.admission.refuse(ctx)
	}
	known.kept = n
	return nil
}

// drop gives it back.
func (known *request) drop() {
	if known.kept > 0 {
		known.bodies.give(known.kept)
		known.kept = 0
	}
}
