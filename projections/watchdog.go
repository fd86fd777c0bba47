package projections

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/carelog/carelog/events"
)

// watchdog has the log read while the bus is silent: when for the time silence
// nothing was applied and nothing was being applied, although the log was ahead
// all that time.
type watchdog struct {
	silence time.Duration
	poll    time.Duration // how often the head is asked for while nothing is announced

	head       func(context.Context) (events.Position, error)
	checkpoint func() events.Position
	applying   func() bool
	catchUp    func(context.Context) error // applies the rest of the log
	failed     func(error)                 // is told of the first of failures in a row

	announced atomic.Int64  // the highest head heard of
	news      chan struct{} // holds one signal, that announced has grown
}

// announce is told of the head of the log. It does not block.
func (w *watchdog) announce(head events.Position) {
	for {
		known := w.announced.Load()
		if int64(head) <= known {
			return
		}
		if w.announced.CompareAndSwap(known, int64(head)) {
			break
		}
	}
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// run watches until the context ends or an event cannot be applied.
func (w *watchdog) run(ctx context.Context) {
	w.ask(ctx)
	for failing := false; ctx.Err() == nil; {
		checkpoint := w.checkpoint()
		if checkpoint >= events.Position(w.announced.Load()) {
			w.sleep(ctx)
			continue
		}
		began := time.Now()
		pause(ctx, w.silence)
		if w.checkpoint() != checkpoint || w.applying() || ctx.Err() != nil {
			continue
		}
		if time.Since(began) > w.silence*3/2 {
			continue // on a machine this busy the bus had no time to speak either
		}
		err := w.catchUp(ctx)
		var stopped *StoppedError
		if ctx.Err() != nil || errors.As(err, &stopped) {
			return
		}
		if err != nil && !failing {
			w.failed(err)
		}
		failing = err != nil
	}
}

// sleep waits for news of the head, and asks for it after a while without any.
func (w *watchdog) sleep(ctx context.Context) {
	timer := time.NewTimer(w.poll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-w.news:
	case <-timer.C:
		w.ask(ctx)
	}
}

// ask finds out the head. A failure needs no care: it is asked for again.
func (w *watchdog) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if head, err := w.head(ctx); err == nil {
		w.announce(head)
	}
}
