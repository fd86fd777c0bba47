package eventstore

import (
	"context"
	"slices"
	"sync"

	"github.com/carelog/carelog/events"
)

// maxGroup is how many events one transaction appends at most, unless a single
// append holds more: that goes as a group of its own.
const maxGroup = 500

// request is one call of Append.
type request struct {
	ctx       context.Context
	events    []events.Event
	condition events.AppendCondition
	answer    chan answer // buffered: the appender never waits for a caller
}

type answer struct {
	last events.Position
	err  error
}

func (r *request) refuse(err error) { r.answer <- answer{err: err} }

// queue holds the requests that wait for the next group.
type queue struct {
	mu      *sync.Mutex
	waiting []*request
	closed  bool
	wake    chan struct{} // holds a token when waiting may have grown
}

func newQueue() queue {
	return queue{mu: new(sync.Mutex), wake: make(chan struct{}, 1)}
}

func (q *queue) add(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, r)
	q.signal()
	return true
}

// withdraw takes a request back that no group has taken yet.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// take removes and returns what the next transaction appends: as much as fits,
// in order, without the requests whose condition an earlier one of the same
// group could break. Those stay for the next group, where the database decides.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	var group []*request
	var left []*request
	members := newMembership()
	for i, r := range q.waiting {
		size := len(r.events)
		if len(group) > 0 && members.size+size > maxGroup {
			left = append(left, q.waiting[i:]...)
			break
		}
		if members.mayBreak(r.condition.FailIfMatch) {
			left = append(left, r)
			continue
		}
		group = append(group, r)
		members.add(r.events)
	}
	q.waiting = left
	if len(left) > 0 {
		q.signal()
	}
	return group
}

// close refuses everything that waits and all that comes later.
func (q *queue) close(err error) {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.refuseWaiting(err)
}

func (q *queue) refuseWaiting(err error) {
	q.mu.Lock()
	waiting := q.waiting
	q.waiting = nil
	q.mu.Unlock()
	for _, r := range waiting {
		r.refuse(err)
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// membership is what a group holds so far, indexed by tag so that a condition
// is checked without looking at every event.
type membership struct {
	events []events.Event
	tagged map[events.Tag][]int // indexes into events
	size   int
}

func newMembership() *membership {
	return &membership{tagged: map[events.Tag][]int{}}
}

func (m *membership) add(evs []events.Event) {
	for _, e := range evs {
		for _, tag := range e.Tags {
			m.tagged[tag] = append(m.tagged[tag], len(m.events))
		}
		m.events = append(m.events, e)
	}
	m.size = len(m.events)
}

// mayBreak tells whether an event of the group matches the query.
func (m *membership) mayBreak(q events.Query) bool {
	for _, item := range q {
		if len(item.Tags) == 0 {
			if slices.ContainsFunc(m.events, func(e events.Event) bool { return q.Matches(e.Type, e.Tags) }) {
				return true
			}
			continue
		}
		for _, i := range m.tagged[item.Tags[0]] {
			if q.Matches(m.events[i].Type, m.events[i].Tags) {
				return true
			}
		}
	}
	return false
}
