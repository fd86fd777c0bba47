package projections

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carelog/carelog/events"
)

// Progress tells how far the read tables are, and lets requests wait for them.
// There is one in a process. The runner of this process moves it; while another
// process runs the runner, [Progress.Run] follows that one through the database.
type Progress struct {
	config   Config
	position atomic.Int64 // the read tables contain every event up to here
	restarts atomic.Int64

	mu        sync.Mutex
	waiters   waiters
	leading   bool          // this process's runner is running
	stopped   *StoppedError // of this process's runner, until it gets past the event
	elsewhere elsewhere
	interrupt context.CancelFunc // ends the present pause of Run
}

// elsewhere is what Run last saw in the database.
type elsewhere struct {
	at      time.Time // zero before the first look
	held    bool      // somebody holds the lease
	stopped *StoppedError
	err     error
}

// followStale is how long what was seen in the database is believed.
const followStale = 3 * time.Second

// NewProgress returns the progress of a process, still without a runner.
func NewProgress(config Config) *Progress {
	p := &Progress{config: config.withDefaults(), interrupt: func() {}}
	p.register(config.Metrics)
	return p
}

// Checkpoint is the position that the read tables are known to contain.
func (p *Progress) Checkpoint() events.Position { return events.Position(p.position.Load()) }

// Restarts counts how often the read tables were found at an earlier position than
// before. What was known of positions until then means nothing afterwards.
func (p *Progress) Restarts() int64 { return p.restarts.Load() }

// Wait returns nil as soon as the read tables contain the position, and
// [ErrPending] when they do not within Config.Wait; [ErrWentBack] when the
// database goes back meanwhile. It fails when the context ends.
func (p *Progress) Wait(ctx context.Context, position events.Position) error {
	if p.Checkpoint() >= position {
		return nil
	}
	w := p.queue(position)
	if w == nil {
		return nil
	}
	defer p.waiters.free(w)
	timer := time.NewTimer(p.config.Wait)
	defer timer.Stop()
	var err error
	select {
	case err := <-w.woken:
		return err
	case <-timer.C:
		err = ErrPending
	case <-ctx.Done():
		err = fmt.Errorf("wait for the read tables: %w", ctx.Err())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiters.withdraw(w) {
		return err
	}
	return <-w.woken
}

// queue adds a waiter, or answers nil when the position has just been reached.
func (p *Progress) queue(position events.Position) *waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Checkpoint() >= position {
		return nil
	}
	if len(p.waiters.queue) == 0 {
		p.interrupt() // now somebody waits: look more often
	}
	return p.waiters.add(position)
}

// Live returns nil while what is appended will reach the read tables: a runner
// is running in this process or, in shared mode, in some process, be it that it
// still catches up. Else it is a [StoppedError] or [ErrNoRunner], and no command
// may be taken.
func (p *Progress) Live() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.elsewhere
	switch {
	case p.leading && p.stopped == nil:
		return nil
	case p.leading || !p.config.Shared:
		if p.stopped != nil {
			return p.stopped
		}
		return ErrNoRunner
	case seen.err != nil:
		return fmt.Errorf("%w: %w", ErrNoRunner, seen.err)
	case seen.stopped != nil:
		return seen.stopped
	case !seen.held || time.Since(seen.at) > followStale:
		return ErrNoRunner
	}
	return nil
}

// advance is told that the read tables contain a position.
func (p *Progress) advance(position events.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advanceTo(position)
}

func (p *Progress) advanceTo(position events.Position) {
	if p.Checkpoint() < position {
		p.position.Store(int64(position))
		p.waiters.wake(position)
		if p.stopped != nil && p.stopped.Position <= position {
			p.stopped = nil
		}
	}
}

// restart is told what the database says the read tables contain. That is less
// than was known when the database was put back to an earlier state: then the
// positions that are waited for may have been lost with it, and others' events
// will stand there.
func (p *Progress) restart(position events.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.restartAt(position)
}

// restartAt wakes those who wait last: they see at once where it went.
func (p *Progress) restartAt(position events.Position) {
	if p.position.Swap(int64(position)) > int64(position) {
		p.restarts.Add(1)
		p.waiters.fail(ErrWentBack)
	}
	p.waiters.wake(position)
}

// looked is told what a look at the database has found, and what was known before
// the look began. Less than that is news of an earlier state. Less than is known by
// now need not be: a notification may have overtaken the look.
func (p *Progress) looked(known, found events.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found < known && p.Checkpoint() == known && !p.leading { // else the runner of this process has found out more
		p.restartAt(found)
	}
	p.advanceTo(found)
}

// lead is told that this process's runner begins, and what some runner was
// stopped at before and this one will try again; nil for nothing. No command is
// taken until it got past that.
func (p *Progress) lead(stopped *StoppedError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leading, p.stopped = true, stopped
	p.interrupt()
}

// stop is told that this process's runner cannot apply an event.
func (p *Progress) stop(stopped *StoppedError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = stopped
}

// follow is told that this process's runner has ended.
func (p *Progress) follow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leading = false
	p.elsewhere = elsewhere{} // what was seen before is long past
	p.interrupt()
}
