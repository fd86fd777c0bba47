package projections

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carelog/carelog/events"
)

// tables stands for read tables that a bus and a watchdog fill.
type tables struct {
	mu               sync.Mutex
	head, checkpoint events.Position
	busy             bool
	caughtUp         []time.Duration // when the watchdog read the log
	failures         []error         // of the next times that it does
}

// set changes the state.
func (s *tables) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// expect fails unless the log was read at exactly these times.
func (s *tables) expect(t *testing.T, want ...time.Duration) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.caughtUp, want) {
		t.Fatalf("the log was read at %v, want %v", s.caughtUp, want)
	}
}

// watch runs a watchdog in a bubble of its own time; the test's body plays the
// bus.
func watch(t *testing.T, body func(t *testing.T, state *tables, dog *watchdog)) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		state := &tables{}
		dog := &watchdog{
			silence: 250 * time.Millisecond,
			poll:    time.Hour,
			head: func(context.Context) (head events.Position, err error) {
				state.set(func() { head = state.head })
				return head, nil
			},
			checkpoint: func() (checkpoint events.Position) {
				state.set(func() { checkpoint = state.checkpoint })
				return checkpoint
			},
			applying: func() (busy bool) {
				state.set(func() { busy = state.busy })
				return busy
			},
			catchUp: func(context.Context) (err error) {
				state.set(func() {
					state.caughtUp = append(state.caughtUp, time.Since(begin))
					if len(state.failures) > 0 {
						err, state.failures = state.failures[0], state.failures[1:]
						return
					}
					state.checkpoint = state.head
				})
				return err
			},
			failed: func(error) {},
			news:   make(chan struct{}, 1),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			dog.run(ctx)
		}()
		synctest.Wait()
		body(t, state, dog)
		cancel()
		<-done
	})
}

func TestWatchdogReadsTheLogOfASilentBus(t *testing.T) {
	watch(t, func(t *testing.T, state *tables, dog *watchdog) {
		state.set(func() { state.head = 3 })
		dog.announce(3)
		time.Sleep(249 * time.Millisecond)
		state.expect(t)
		time.Sleep(2 * time.Millisecond)
		state.expect(t, 250*time.Millisecond)
		time.Sleep(10 * time.Second) // caught up: nothing to do
		state.expect(t, 250*time.Millisecond)
	})
}

func TestWatchdogLeavesABusThatDeliversAlone(t *testing.T) {
	watch(t, func(t *testing.T, state *tables, dog *watchdog) {
		for range 100 { // always behind, but moving
			state.set(func() { state.head += 5 })
			dog.announce(state.head)
			time.Sleep(200 * time.Millisecond)
			state.set(func() { state.checkpoint = state.head - 1 })
		}
		state.set(func() { state.busy = true }) // a batch that takes long
		time.Sleep(3 * time.Second)
		state.set(func() { state.checkpoint, state.busy = state.head, false })
		time.Sleep(time.Second)
		state.expect(t)
	})
}

func TestWatchdogAsksForTheHead(t *testing.T) {
	watch(t, func(t *testing.T, state *tables, dog *watchdog) {
		state.set(func() { state.head = 1 }) // nobody announces it
		time.Sleep(time.Hour + time.Second)
		state.expect(t, time.Hour+250*time.Millisecond)
	})
}

func TestWatchdogTriesAgain(t *testing.T) {
	watch(t, func(t *testing.T, state *tables, dog *watchdog) {
		state.set(func() { state.head, state.failures = 1, []error{events.ErrUnavailable, ErrMoved} })
		dog.announce(1)
		dog.announce(0) // old news
		time.Sleep(time.Second)
		state.expect(t, 250*time.Millisecond, 500*time.Millisecond, 750*time.Millisecond)
	})
}

func TestWatchdogEndsAtAnEventThatCannotBeApplied(t *testing.T) {
	watch(t, func(t *testing.T, state *tables, dog *watchdog) {
		state.set(func() { state.head, state.failures = 1, []error{&StoppedError{Position: 1}} })
		dog.announce(1)
		time.Sleep(10 * time.Second)
		state.expect(t, 250*time.Millisecond)
	})
}
