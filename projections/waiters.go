package projections

import (
	"container/heap"
	"sync"

	"github.com/carelog/carelog/events"
)

// waiters are those who wait for a position, the lowest first.
type waiters struct {
	queue waiterHeap
	spare sync.Pool // of *waiter, whose channels are empty
}

type waiter struct {
	position events.Position
	index    int        // in the queue, -1 when woken
	woken    chan error // holds one signal, so that waking never blocks: nil, or that it waits in vain
}

// add queues a waiter.
func (w *waiters) add(position events.Position) *waiter {
	one, ok := w.spare.Get().(*waiter)
	if !ok {
		one = &waiter{woken: make(chan error, 1)}
	}
	one.position = position
	heap.Push(&w.queue, one)
	return one
}

// wake signals everybody who waits for this position or an earlier one.
func (w *waiters) wake(position events.Position) {
	for len(w.queue) > 0 && w.queue[0].position <= position {
		heap.Pop(&w.queue).(*waiter).woken <- nil
	}
}

// fail signals everybody that there is nothing to wait for.
func (w *waiters) fail(err error) {
	for len(w.queue) > 0 {
		heap.Pop(&w.queue).(*waiter).woken <- err
	}
}

// withdraw takes a waiter out who waits no longer. It reports false for one that
// has been woken, whose signal is to be taken.
func (w *waiters) withdraw(one *waiter) bool {
	if one.index < 0 {
		return false
	}
	heap.Remove(&w.queue, one.index)
	return true
}

// free takes back a waiter that is neither queued nor signalled.
func (w *waiters) free(one *waiter) { w.spare.Put(one) }

// waiterHeap implements [heap.Interface].
type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].position < h[j].position }
func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *waiterHeap) Push(x any) {
	one := x.(*waiter)
	one.index = len(*h)
	*h = append(*h, one)
}

// Pop implements [heap.Interface].
func (h *waiterHeap) Pop() any {
	last := len(*h) - 1
	one := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	one.index = -1
	return one
}
