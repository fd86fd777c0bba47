package projections

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carelog/carelog/events"
)

// tables stands for read tables that a bus and a watchdog fill.
type tables struct {
	head, checkpoint events.Position
	busy             bool
	caughtUp         []time.Duration // when the watchdog caught up
	failures         []error         // of the next catching up, and those told of
}

// watch runs a watchdog in a bubble of its own time; the test body plays the bus.
func watch(t *testing.T, body func(state *tables, dog *watchdog)) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		state := &tables{}
		dog := &watchdog{
			silence:    250 * time.Millisecond,
			poll:       time.Hour,
			head:       func(context.Context) (events.Position, error) { return state.head, nil },
			checkpoint: func() events.Position { return state.checkpoint },
			applying:   func() bool { return state.busy },
			failed:     func(err error) {},
			news:       make(chan struct{}, 1),
		}
		dog.catchUp = func(context.Context) error {
			state.caughtUp = append(state.caughtUp, time.Since(begin))
			if len(state.failures) > 0 {
				err := state.failures[0]
				state.failures = state.failures[1:]
				return err
			}
			state.checkpoint = state.head
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			dog.run(ctx)
		}()
		synctest.Wait()
		body(state, dog)
		cancel()
		<-done
	})
}

func expect(t *testing.T, state *tables, want ...time.Duration) {
	t.Helper()
	if len(state.caughtUp) != len(want) {
		t.Fatalf("the log was read at %v, want %v", state.caughtUp, want)
	}
	for i := range want {
		if state.caughtUp[i] != want[i] {
			t.Fatalf("the log was read at %v, want %v", state.caughtUp, want)
		}
	}
}

func TestWatchdogReadsTheLogOfASilentBus(t *testing.T) {
	watch(t, func(state *tables, dog *watchdog) {
		state.head = 3
		dog.announce(3)
		time.Sleep(249 * time.Millisecond)
		expect(t, state)
		time.Sleep(2 * time.Millisecond)
		expect(t, state, 250*time.Millisecond)
		time.Sleep(10 * time.Second) // caught up: nothing to do
		expect(t, state, 250*time.Millisecond)
	})
}

func TestWatchdogLeavesABusThatDeliversAlone(t *testing.T) {
	watch(t, func(state *tables, dog *watchdog) {
		for range 100 { // always behind, but moving
			state.head += 5
			dog.announce(state.head)
			time.Sleep(200 * time.Millisecond)
			state.checkpoint = state.head - 1
		}
		state.busy = true // a batch that takes long
		time.Sleep(3 * time.Second)
		state.checkpoint, state.busy = state.head, false
		time.Sleep(time.Second)
		expect(t, state)
	})
}

func TestWatchdogAsksForTheHead(t *testing.T) {
	watch(t, func(state *tables, dog *watchdog) {
		state.head = 1 // nobody announces it
		time.Sleep(time.Hour + time.Second)
		expect(t, state, time.Hour+250*time.Millisecond)
	})
}

func TestWatchdogTriesAgain(t *testing.T) {
	watch(t, func(state *tables, dog *watchdog) {
		state.head, state.failures = 1, []error{errors.New("no database"), ErrMoved}
		dog.announce(1)
		dog.announce(0) // old news
		time.Sleep(time.Second)
		expect(t, state, 250*time.Millisecond, 500*time.Millisecond, 750*time.Millisecond)
	})
}

func TestWatchdogEndsAtAnEventThatCannotBeApplied(t *testing.T) {
	watch(t, func(state *tables, dog *watchdog) {
		state.head, state.failures = 1, []error{&StoppedError{Position: 1}}
		dog.announce(1)
		time.Sleep(10 * time.Second)
		expect(t, state, 250*time.Millisecond)
	})
}
