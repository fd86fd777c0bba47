package eventstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// behindProxy runs a store whose appender goes through a proxy.
// The appender has a session, with its statements prepared.
func behindProxy(t *testing.T, url string) (*eventstore.Store, *proxy, *history) {
	t.Helper()
	p, through := newProxy(t, url)
	s, h := open(t, url, through), &history{faults: true}
	if _, err := h.append(t.Context(), s, events.AppendCondition{}, event("a.done")); err != nil {
		t.Fatal(err)
	}
	return s, p, h
}

// TestACommitWhoseReplyIsLostIsAnswered: the server has committed, the
// connection breaks in place of the reply, and again while the appender asks
// what became of the commit. The caller gets the position all the same.
func TestACommitWhoseReplyIsLostIsAnswered(t *testing.T) {
	t.Parallel()
	s, p, h := behindProxy(t, pgtest.New(t))
	for round := range times(6) {
		more := make([]fault, round%3)
		for i := range more {
			more[i] = []fault{cutReply, cutRequest}[i%2]
		}
		p.inject(cutReply, more...)
		if _, err := h.append(t.Context(), s, none(0, "b.done", events.PatientTag(int64(round))), event("b.done", events.PatientTag(int64(round))), event("c.done")); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
	h.check(t, s)
}

// TestALostReplyOnALivingConnectionIsMissed: the reply never comes, and nothing
// tells that the connection is broken.
func TestALostReplyOnALivingConnectionIsMissed(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, p, h := behindProxy(t, url)
	for range times(1) {
		p.inject(loseReplies)
		started := time.Now()
		if _, err := h.append(t.Context(), s, events.AppendCondition{}, event("b.done")); err != nil {
			t.Error(err)
		}
		t.Logf("answered after %v", time.Since(started))
	}
	if _, err := h.append(t.Context(), open(t, url), events.AppendCondition{}, event("c.done")); err != nil {
		t.Error(err)
	}
	h.check(t, s)
}

// TestARequestThatDoesNotArriveIsRefused: nothing is stored then, and that is
// what callers are told.
func TestARequestThatDoesNotArriveIsRefused(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{"cut": cutRequest, "half-open": freeze} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p, h := behindProxy(t, pgtest.New(t))
			for range times(1) {
				p.inject(f)
				if _, err := h.append(t.Context(), s, events.AppendCondition{}, event("b.done")); !errors.Is(err, events.ErrUnavailable) || errors.Is(err, events.ErrOutcomeUnknown) {
					t.Errorf("answered with %v", err)
				}
				if _, err := h.append(t.Context(), s, events.AppendCondition{}, event("c.done")); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			}
			h.check(t, s)
		})
	}
}

// TestAnswersUnderRandomFaultsOfTheNetwork: many writers, one fault after the
// other.
func TestAnswersUnderRandomFaultsOfTheNetwork(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, p, h := behindProxy(t, url)
	other := open(t, url)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writing errgroup.Group
	for i := range 16 {
		writing.Go(func() error {
			store := s
			if i%4 == 0 {
				store = other
			}
			for ctx.Err() == nil {
				if _, err := h.append(t.Context(), store, events.AppendCondition{}, event("b.done"), event("c.done")); errors.Is(err, events.ErrUnavailable) {
					_, _ = store.Head(ctx) // rather than spin
				}
			}
			return nil
		})
	}
	faults := []fault{cutReply, cutRequest, cutReply, cutReply, cutRequest}
	for round := range times(20) {
		next := h.answered.Load() + 50
		for h.answered.Load() < next {
			if _, err := other.Head(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		p.inject(faults[round%5], faults[:round%4]...)
	}
	p.inject(noFault)
	stop()
	_ = writing.Wait()
	h.check(t, s)
}

// TestAnOutcomeThatCannotBeFoundOut: the reply is lost and the server cannot be
// reached. Callers wait as long as their contexts allow and are then told that it
// is unknown; others are refused at once. When the server is back, so is the store.
func TestAnOutcomeThatCannotBeFoundOut(t *testing.T) {
	t.Parallel()
	s, p, h := behindProxy(t, pgtest.New(t))
	p.setAway(true)
	p.inject(cutReply)
	patient, leave := context.WithCancel(t.Context())
	defer leave()
	answered := make(chan error, 1)
	go func() {
		_, err := h.append(patient, s, events.AppendCondition{}, event("b.done"))
		answered <- err
	}()
	for head := events.Position(0); head < 2; { // until it is committed
		var err error
		if head, err = s.Head(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refused := 0
	for deadline := time.Now().Add(30 * time.Second); refused < 1000; {
		started := time.Now()
		_, err := h.append(t.Context(), s, events.AppendCondition{}, event("c.done"))
		switch {
		case err == nil || errors.Is(err, events.ErrOutcomeUnknown):
			t.Fatalf("without a server: %v", err)
		case time.Since(started) < 100*time.Millisecond:
			refused++
		}
		if time.Now().After(deadline) {
			t.Fatalf("only %d were refused at once", refused)
		}
	}
	leave()
	if err := <-answered; !errors.Is(err, events.ErrOutcomeUnknown) {
		t.Errorf("who waited for the outcome is answered %v", err)
	}
	p.setAway(false)
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := h.append(t.Context(), s, events.AppendCondition{}, event("d.done"))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		if _, err := s.Head(t.Context()); err != nil { // rather than spin
			t.Fatal(err)
		}
	}
	if h.check(t, s); len(readLog(t, s)) != 3 {
		t.Error("what was committed is not there once")
	}
}

// TestAHolderOfTheLockThatIsKilled: its group is not stored and told so, and
// nobody else notices.
func TestAHolderOfTheLockThatIsKilled(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, other, h := open(t, url), open(t, url), &history{faults: true}
	release := hold(t, h, s, url)
	answers := make(chan error, 1)
	go func() {
		_, err := h.append(t.Context(), s, events.AppendCondition{}, event("a.done"))
		answers <- err
	}()
	waitForSession(t, url)
	killer := connect(t, url)
	execute(t, killer, `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted
		and database = (select oid from pg_database where datname = current_database())`)
	release()
	if err := <-answers; !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("answered with %v", err)
	}
	for _, s := range []*eventstore.Store{s, other} {
		if _, err := h.append(t.Context(), s, events.AppendCondition{}, event("b.done")); err != nil {
			t.Error(err)
		}
	}
	h.check(t, s)
}

// TestAHolderOfTheLockThatFallsSilent: its process was stopped in the midst of
// sending, so its session has the lock and waits for the rest. Others go on.
func TestAHolderOfTheLockThatFallsSilent(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, h := open(t, url), &history{faults: true}
	silent, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close(context.Background()) })
	pipeline := silent.StartPipeline(context.Background())
	pipeline.SendQueryParams(eventstore.LockStatement, nil, nil, nil, nil)
	pipeline.SendFlushRequest()
	if err := pipeline.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.GetResults(); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	for {
		_, err := h.append(t.Context(), s, events.AppendCondition{}, event("a.done"))
		if err == nil {
			break
		}
		if !errors.Is(err, events.ErrUnavailable) || time.Since(started) > time.Minute {
			t.Fatal(err)
		}
	}
	t.Logf("appended after %v", time.Since(started))
	h.check(t, s)
}
