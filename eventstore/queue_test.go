package eventstore

import (
	"errors"
	"fmt"
	"testing"

	"github.com/carelog/carelog/events"
)

// queued makes a request with events of these tags that fails if one was there.
func queued(condition events.Tag, tags ...events.Tag) *request {
	r := &request{answer: make(chan answer, 1)}
	for _, tag := range tags {
		r.events = append(r.events, events.Event{Type: "a.done", Tags: []events.Tag{tag}})
	}
	if condition != "" {
		r.conditions = []events.AppendCondition{{}, {FailIfMatch: events.Query{{Types: []events.Type{"a.done"}, Tags: []events.Tag{condition}}}}}
	}
	return r
}

func sized(count, bytes int) *request {
	return &request{events: make([]events.Event, count), bytes: bytes, answer: make(chan answer, 1)}
}

func TestGroupsAreTakenInOrder(t *testing.T) {
	anything := &request{events: []events.Event{{Type: "b.done"}}, answer: make(chan answer, 1),
		conditions: []events.AppendCondition{{FailIfMatch: events.Query{{Types: []events.Type{"a.done"}}}}}}
	for name, c := range map[string]struct {
		requests []*request
		want     string // the requests of each group
	}{
		"all together":                      {[]*request{queued("", "x"), queued("y", "y"), queued("", "x")}, "[[0 1 2]]"},
		"two that exclude each other":       {[]*request{queued("x", "x"), queued("x", "x"), queued("y", "y")}, "[[0 2] [1]]"},
		"one that breaks a later condition": {[]*request{queued("", "x"), queued("x", "y"), queued("y", "z")}, "[[0 2] [1]]"},
		"own events break no condition":     {[]*request{queued("x", "x", "x")}, "[[0]]"},
		"a condition without tags":          {[]*request{queued("", "x"), anything, queued("", "y")}, "[[0 2] [1]]"},
		"as many events as fit":             {[]*request{sized(maxGroup-1, 0), sized(1, 0), sized(1, 0)}, "[[0 1] [2]]"},
		"as many bytes as fit":              {[]*request{sized(1, maxGroupBytes-1), sized(1, 1), sized(1, 1)}, "[[0 1] [2]]"},
		"a big one alone, in its turn":      {[]*request{sized(1, 0), sized(3*maxGroup, 0), sized(1, 0)}, "[[0] [1] [2]]"},
		"a big one in bytes":                {[]*request{sized(1, 0), sized(1, 2*maxGroupBytes), sized(1, 0)}, "[[0] [1] [2]]"},
	} {
		q := newQueue()
		number := map[*request]int{}
		for i, r := range c.requests {
			number[r] = i
			if err := q.add(r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		var groups [][]int
		for len(q.waiting) > 0 {
			<-q.wake // without a token nobody would come for the rest
			var group []int
			for _, r := range q.take() {
				group = append(group, number[r])
			}
			groups = append(groups, group)
		}
		if fmt.Sprint(groups) != c.want {
			t.Errorf("%s: %v, want %s", name, groups, c.want)
		}
		if q.bytes != 0 {
			t.Errorf("%s: %d bytes are left", name, q.bytes)
		}
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	q := newQueue()
	huge := sized(1, 2*maxWaitingBytes)
	if err := q.add(huge); err != nil {
		t.Fatalf("an append that comes alone: %v", err)
	}
	if err := q.add(sized(1, 0)); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("an append too much: %v", err)
	}
	if !q.withdraw(huge) || q.withdraw(huge) {
		t.Error("an append is not withdrawn once")
	}
	n := 0
	for q.add(sized(1, 0)) == nil {
		n++
	}
	if n != maxWaitingBytes/requestBytes {
		t.Errorf("%d appends wait", n)
	}
}

func TestWhoeverCannotBeServedIsRefusedAtOnce(t *testing.T) {
	q := newQueue()
	waiting := queued("", "x")
	if err := q.add(waiting); err != nil {
		t.Fatal(err)
	}
	q.refuse(errStopped)
	if a := <-waiting.answer; !errors.Is(a.err, errStopped) {
		t.Errorf("who waited is answered %v", a.err)
	}
	if err := q.add(queued("", "x")); !errors.Is(err, errStopped) {
		t.Errorf("who comes is answered %v", err)
	}
	q.admit()
	if err := q.add(queued("", "x")); err != nil {
		t.Errorf("who comes later is answered %v", err)
	}
}
