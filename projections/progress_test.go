package projections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carelog/carelog/events"
)

func TestWaitEndsWithThePositionTheDeadlineOrTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewProgress(Config{})
		begin := time.Now()
		wait := func(ctx context.Context, position events.Position) (after time.Duration, err error) {
			err = p.Wait(ctx, position)
			return time.Since(begin), err
		}
		if after, err := wait(t.Context(), 0); err != nil || after != 0 {
			t.Errorf("position 0: %v after %v", err, after)
		}
		go func() {
			time.Sleep(time.Second)
			p.advance(6)
			time.Sleep(time.Second)
			p.advance(7)
			p.advance(5) // never back
		}()
		if after, err := wait(t.Context(), 7); err != nil || after != 2*time.Second {
			t.Errorf("position 7: %v after %v", err, after)
		}
		if got := p.Checkpoint(); got != 7 {
			t.Errorf("checkpoint %d, want 7", got)
		}
		if after, err := wait(t.Context(), 8); !errors.Is(err, ErrPending) || after != 7*time.Second {
			t.Errorf("position 8: %v after %v", err, after)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if after, err := wait(ctx, 8); !errors.Is(err, context.DeadlineExceeded) || after != 8*time.Second {
			t.Errorf("with a context: %v after %v", err, after)
		}
		if len(p.waiters.queue) != 0 {
			t.Errorf("%d waiters are left", len(p.waiters.queue))
		}
	})
}

func TestManyWaitersAreEachWokenAtTheirPosition(t *testing.T) {
	p := NewProgress(Config{})
	const waiters, head = 5000, 500
	var done sync.WaitGroup
	var early, cancelled atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	random := rand.New(rand.NewPCG(1, 2))
	for i := range waiters {
		position := events.Position(1 + random.IntN(head))
		done.Go(func() {
			if i%10 == 0 { // some give up: those for whom it is too far
				if errors.Is(p.Wait(ctx, position+head/2), context.Canceled) {
					cancelled.Add(1)
				}
				return
			}
			if err := p.Wait(t.Context(), position); err != nil {
				t.Error(err)
			}
			if p.Checkpoint() < position {
				early.Add(1)
			}
		})
	}
	for position := range events.Position(head) {
		p.advance(position + 1)
	}
	cancel()
	done.Wait()
	if early.Load() != 0 {
		t.Errorf("%d waiters were woken early", early.Load())
	}
	if len(p.waiters.queue) != 0 {
		t.Errorf("%d waiters are left", len(p.waiters.queue))
	}
	t.Logf("%d of %d gave up", cancelled.Load(), waiters/10)
}

// Waiters are used again; a signal that arrives as one gives up must not wake
// the next.
func TestWakingAndGivingUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewProgress(Config{Wait: time.Second})
		for position := range events.Position(200) {
			go func() {
				time.Sleep(time.Second)
				p.advance(position + 1)
			}()
			err := p.Wait(t.Context(), position+1)
			if err == nil && p.Checkpoint() <= position {
				t.Fatalf("woken at %d for %d", p.Checkpoint(), position+1)
			}
			if err != nil && !errors.Is(err, ErrPending) {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := len(p.waiters.queue); n != 0 {
				t.Fatalf("%d waiters are left", n)
			}
		}
	})
}

func TestLiveFollowsTheRunnerOfThisProcess(t *testing.T) {
	p := NewProgress(Config{})
	if err := p.Live(); !errors.Is(err, ErrNoRunner) {
		t.Errorf("before it begins: %v", err)
	}
	p.lead(nil)
	if err := p.Live(); err != nil {
		t.Errorf("running: %v", err)
	}
	p.stop(&StoppedError{Position: 4})
	var stopped *StoppedError
	if err := p.Live(); !errors.As(err, &stopped) || stopped.Position != 4 {
		t.Errorf("stopped: %v", err)
	}
	p.follow()
	if err := p.Live(); !errors.As(err, &stopped) {
		t.Errorf("ended: %v", err)
	}
	p.lead(&StoppedError{Position: 4})
	p.advance(3)
	if err := p.Live(); !errors.As(err, &stopped) {
		t.Errorf("running again: %v", err)
	}
	p.advance(4)
	if err := p.Live(); err != nil {
		t.Errorf("past the event: %v", err)
	}
	p.follow()
	if err := p.Live(); !errors.Is(err, ErrNoRunner) {
		t.Errorf("ended: %v", err)
	}
}

func TestAFollowerIsWokenByTheRunnerOfAnotherProcess(t *testing.T) {
	t.Parallel()
	for name, notify := range map[string]bool{"notified": true, "by the poll alone": false} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase(t)
			leader := d.running(func(c *Config) { c.Shared = notify })
			follower := d.process(shared, wait(10*time.Second))
			background(t, follower.progress.Run)
			log := history(t, patientsOfUser1(60)...)
			leader.apply(log[:1])
			var done sync.WaitGroup
			for position := range events.Position(len(log)) {
				done.Go(func() {
					if err := follower.progress.Wait(t.Context(), position+1); err != nil {
						t.Errorf("position %d: %v", position+1, err)
					}
				})
			}
			for _, e := range log[1:] {
				leader.apply([]events.Recorded{e})
			}
			done.Wait()
		})
	}
}

func TestAFollowerKnowsWhetherAnybodyApplies(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	follower := d.process(shared)
	background(t, follower.progress.Run)
	live := func(what string, holds func(error) bool) {
		t.Helper()
		eventually(t, what, func() bool { return holds(follower.progress.Live()) })
	}
	live("nobody applies", func(err error) bool { return errors.Is(err, ErrNoRunner) })

	leader := d.process(shared)
	lease := NewLease(leader.config)
	stop := background(t, func(ctx context.Context) error { return lease.Run(ctx, leader.runner.Run) })
	live("the leader applies", func(err error) bool { return err == nil })

	log := history(t, patientsOfUser1(3)...)
	log[2].Data = []byte("{")
	if err := leader.deliver(t.Context(), log); err == nil {
		t.Fatal("broken data was applied")
	}
	live("the leader has stopped", func(err error) bool {
		var stopped *StoppedError
		return errors.As(err, &stopped) && stopped.Position == 3 && stopped.Type == events.PatientRegisteredType
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	d.exec("update checkpoints set stopped_position = null, stopped_type = null, stopped_reason = null")
	live("the leader has gone", func(err error) bool { return errors.Is(err, ErrNoRunner) })

	// The follower takes over, and its own runner counts from then on.
	stop = background(t, func(ctx context.Context) error { return lease.Run(ctx, follower.runner.Run) })
	live("the follower leads", func(err error) bool { return err == nil && follower.progress.isLeading() })
	eventually(t, "it listens no longer", func() bool {
		return query[int](d, "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'carelog progress'") == 0
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	live("nobody applies again", func(err error) bool { return errors.Is(err, ErrNoRunner) })
}

func TestAFollowerListensAgainAfterALostConnection(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	leader := d.running(shared)
	follower := d.process(shared, wait(10*time.Second))
	background(t, follower.progress.Run)
	for i, e := range history(t, patientsOfUser1(4)...) {
		const listening = "from pg_stat_activity where datname = current_database() and application_name = 'carelog progress'"
		eventually(t, "it listens", func() bool { return query[int](d, "select count(*) "+listening) == 1 })
		d.exec("select pg_terminate_backend(pid) " + listening)
		leader.apply([]events.Recorded{e})
		if err := follower.progress.Wait(t.Context(), events.Position(i+1)); err != nil {
			t.Errorf("position %d: %v", i+1, err)
		}
	}
}

// TestADatabaseThatGoesBackTakesPositionsWithIt: who waits for one of them is told,
// and is not woken by another event that gets the position.
func TestADatabaseThatGoesBackTakesPositionsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewProgress(Config{Wait: time.Second})
		p.advance(7)
		told := make(chan error)
		go func() { told <- p.Wait(t.Context(), 9) }()
		synctest.Wait()

		p.restart(8) // a runner that begins has found more
		p.looked(7, 7)
		if p.Checkpoint() != 8 || p.Restarts() != 0 {
			t.Errorf("a look that a notification has overtaken: checkpoint %d, %d restarts", p.Checkpoint(), p.Restarts())
		}
		synctest.Wait()
		select {
		case err := <-told:
			t.Fatalf("told too early: %v", err)
		default:
		}

		p.looked(8, 5)
		if err := <-told; !errors.Is(err, ErrWentBack) {
			t.Errorf("who waits is told %v", err)
		}
		if p.Checkpoint() != 5 || p.Restarts() != 1 {
			t.Errorf("after it went back: checkpoint %d, %d restarts", p.Checkpoint(), p.Restarts())
		}
		p.advance(9)
		if err := p.Wait(t.Context(), 9); err != nil {
			t.Errorf("who waits afterwards: %v", err)
		}
		p.restart(10)
		p.restart(9) // this process's runner, which is about to lead
		p.looked(10, 6)
		if p.Checkpoint() != 9 || p.Restarts() != 2 {
			t.Errorf("about to lead: checkpoint %d, %d restarts", p.Checkpoint(), p.Restarts())
		}
		p.lead(nil)
		p.looked(9, 6) // the runner of this process knows better
		if p.Checkpoint() != 9 || p.Restarts() != 2 {
			t.Errorf("leading: checkpoint %d, %d restarts", p.Checkpoint(), p.Restarts())
		}
	})
}

func TestWhoIsToldThatItWentBackSeesWhere(t *testing.T) {
	t.Parallel()
	p := NewProgress(Config{Wait: time.Minute})
	for range 5000 {
		p.advance(5)
		seen := make(chan string)
		go func() {
			err := p.Wait(t.Context(), 6)
			seen <- fmt.Sprint(err, p.Checkpoint())
		}()
		for p.pollEvery() != pollWaiting {
			runtime.Gosched()
		}
		p.restart(3)
		if got, want := <-seen, fmt.Sprint(ErrWentBack, 3); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func TestAFollowerSeesThatTheDatabaseWentBack(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	leader := d.running(shared)
	follower := d.process(shared, wait(10*time.Second))
	background(t, follower.progress.Run)
	leader.apply(history(t, patientsOfUser1(4)...))
	if err := follower.progress.Wait(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	told := make(chan error)
	go func() { told <- follower.progress.Wait(t.Context(), 6) }()
	eventually(t, "somebody waits", func() bool { return follower.progress.pollEvery() == pollWaiting })
	d.exec(`update checkpoints set log_id = gen_random_uuid(), position = 1`) // of another log: says nothing
	looked := func() time.Time {
		follower.progress.mu.Lock()
		defer follower.progress.mu.Unlock()
		return follower.progress.elsewhere.at
	}
	for now := time.Now(); looked().Before(now); {
		pause(t.Context(), time.Millisecond)
	}
	if got := follower.progress.Checkpoint(); got != 5 {
		t.Errorf("another log's checkpoint counts: %d", got)
	}
	d.exec(`update checkpoints set log_id = $1, position = 3`, d.config.LogID)
	if err := <-told; !errors.Is(err, ErrWentBack) {
		t.Errorf("who waits is told %v", err)
	}
	if got := follower.progress.Checkpoint(); got != 3 {
		t.Errorf("checkpoint %d, want 3", got)
	}
}
