package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// sharedRead answers questions of one kind, those that are asked at the same time by
// one statement.
//
// Who finds a statement free runs it at once, for itself and for all who wait;
// who does not waits for the next one. So a statement takes as many as the load
// brings, there is no timer, and one who is alone loses nothing. A statement
// begins after everybody in it has asked, so sharing it keeps reads linearizable.
type sharedRead[Q, A any] struct {
	doing string // for errors

	// run answers the questions of a group, or fails for all of it. It only reads, so
	// it may be called again for those it has answered in part.
	run func(ctx context.Context, group []*asking[Q, A]) error

	mu      sync.Mutex
	running int             // statements
	waiting []*asking[Q, A] // in the order of arrival, while all statements are running
}

// Bounds of sharing: two statements run at once, so that one is under way while
// the other's answers are handed out; more at once make groups smaller and cost
// more. (BenchmarkPatient, 32 at a time.)
const (
	sharedStatements = 2
	maxSharing       = 256 // questions in one statement
)

// asking is one who asks.
type asking[Q, A any] struct {
	question Q
	answer   A
	err      error
	wake     chan struct{} // holds a signal: done, or it is this one's turn to run a statement
	leads    bool
}

// ask answers a question, within connectTimeout.
func (s *sharedRead[Q, A]) ask(ctx context.Context, question Q) (A, error) {
	var none A
	if ctx.Err() != nil {
		return none, fmt.Errorf("%s: %w", s.doing, ctx.Err())
	}
	ctx, span := startStatement(ctx, s.doing)
	defer span.End()
	mine := &asking[Q, A]{question: question}
	if s.join(mine) {
		s.lead(ctx, mine)
		return mine.answer, mine.err
	}
	select {
	case <-mine.wake:
	case <-ctx.Done():
		if s.leave(mine) {
			return none, fmt.Errorf("%s: %w", s.doing, ctx.Err())
		}
		<-mine.wake
	}
	if mine.leads {
		s.lead(ctx, mine)
	}
	return mine.answer, mine.err
}

// join lets one wait, unless a statement is free: then it has to lead.
func (s *sharedRead[Q, A]) join(mine *asking[Q, A]) (leads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running < sharedStatements {
		s.running++
		return true
	}
	mine.wake = make(chan struct{}, 1)
	s.waiting = append(s.waiting, mine)
	return false
}

// leave withdraws one who waits. It reports false for one who is in a statement
// or has to run one.
func (s *sharedRead[Q, A]) leave(mine *asking[Q, A]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, mine)
	if i < 0 {
		return false
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return true
}

// lead runs a statement for this one and for those who wait, and then leaves the
// next to the first who has come meanwhile. Who leads may go away, the others
// stay: the statement has a time of its own.
func (s *sharedRead[Q, A]) lead(ctx context.Context, first *asking[Q, A]) {
	s.mu.Lock()
	n := min(len(s.waiting), maxSharing-1)
	group := append([]*asking[Q, A]{first}, s.waiting[:n]...)
	s.waiting = s.waiting[n:]
	s.mu.Unlock()

	err := errUnanswered
	defer func() { s.finish(group, err) }() // also when a panic is on its way
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	err = s.run(ctx, group)
	if lostMeanwhile(err) && ctx.Err() == nil {
		err = s.runAgain(ctx, group)
	}
}

// runAgain runs a statement once more, whose connection was lost: one lost
// connection must not fail everybody who shares it.
func (s *sharedRead[Q, A]) runAgain(ctx context.Context, group []*asking[Q, A]) error {
	var none A
	for _, one := range group {
		one.answer, one.err = none, nil // of the part that arrived
	}
	return s.run(ctx, group)
}

var errUnanswered = errors.New("the statement was given up")

// finish hands out what became of a group, the first of whom has led it.
func (s *sharedRead[Q, A]) finish(group []*asking[Q, A], err error) {
	for i, one := range group {
		if err != nil {
			one.err = fmt.Errorf("%s: %w", s.doing, classify(err))
		}
		if i > 0 {
			one.wake <- struct{}{}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		s.running--
		return
	}
	next := s.waiting[0]
	s.waiting = s.waiting[1:]
	next.leads = true
	next.wake <- struct{}{}
}
