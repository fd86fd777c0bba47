package eventstore

import (
	"fmt"
	"slices"
	"sync"

	"github.com/carelog/carelog/events"
)

// maxGroup is how many events one transaction appends at most, unless a single
// append holds more: that goes as a group of its own.
const maxGroup = 500

// Bounds in bytes: of a group, unless a single append has more, and of what
// waits while the database is slow, where each request counts as a KiB more.
const (
	maxGroupBytes   = 4 << 20
	maxWaitingBytes = 64 << 20
	requestBytes    = 1 << 10
)

// request is one call of Append.
type request struct {
	events     []events.Event
	bytes      int // that the events have
	conditions []events.AppendCondition
	answer     chan answer // buffered: the appender never waits for a caller
}

type answer struct {
	last  events.Position
	err   error
	group inGroup
}

// queue holds the requests that wait for the next group.
type queue struct {
	mu      *sync.Mutex
	waiting []*request
	bytes   int           // that wait
	refusal error         // why nobody may wait, nil while they may
	wake    chan struct{} // holds a token when waiting may have grown
}

func newQueue() queue {
	return queue{mu: new(sync.Mutex), wake: make(chan struct{}, 1)}
}

// errFull says that appends come faster than the database takes them.
var errFull = fmt.Errorf("%w: too many appends are waiting", events.ErrUnavailable)

// add lets a request wait, or says why it may not.
func (q *queue) add(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refusal != nil {
		return q.refusal
	}
	bytes := r.bytes + requestBytes
	if len(q.waiting) > 0 && q.bytes+bytes > maxWaitingBytes {
		return errFull
	}
	q.waiting = append(q.waiting, r)
	q.bytes += bytes
	q.signal()
	return nil
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
	q.bytes -= r.bytes + requestBytes
	return true
}

// take removes and returns what the next transaction appends: as much as fits,
// in order, without the requests whose conditions an earlier one of the same
// group could break. Those stay for the next group, where the database decides.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	var group []*request
	var left []*request
	members := newMembership()
	for i, r := range q.waiting {
		if len(group) > 0 && (len(members.events)+len(r.events) > maxGroup || members.bytes+r.bytes > maxGroupBytes) {
			left = append(left, q.waiting[i:]...)
			break
		}
		if members.mayBreak(r.conditions) {
			left = append(left, r)
			continue
		}
		group = append(group, r)
		members.add(r)
		q.bytes -= r.bytes + requestBytes
	}
	q.waiting = left
	if len(left) > 0 {
		q.signal()
	}
	return group
}

// refuse refuses everything that waits and, until admit, all that comes later:
// none of it is stored, so nobody need wait to be told.
func (q *queue) refuse(err error) {
	q.mu.Lock()
	waiting := q.waiting
	q.waiting, q.bytes, q.refusal = nil, 0, err
	q.mu.Unlock()
	refuse(waiting, err)
}

func (q *queue) admit() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refusal = nil
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
	bytes  int
}

func newMembership() *membership {
	return &membership{tagged: map[events.Tag][]int{}}
}

func (m *membership) add(r *request) {
	for _, e := range r.events {
		for _, tag := range e.Tags {
			m.tagged[tag] = append(m.tagged[tag], len(m.events))
		}
		m.events = append(m.events, e)
	}
	m.bytes += r.bytes
}

// mayBreak tells whether an event of the group may break one of the conditions.
func (m *membership) mayBreak(conditions []events.AppendCondition) bool {
	return slices.ContainsFunc(conditions, func(c events.AppendCondition) bool { return m.matches(c.FailIfMatch) })
}

// matches tells whether an event of the group matches the query.
func (m *membership) matches(q events.Query) bool {
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
