package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// phase is where a run is.
type phase = int32

const (
	warmingUp phase = iota
	measuring
	finished
)

// generator drives one connection in a goroutine each. They share one thread,
// so sharing costs nothing.
type generator struct {
	job      job
	row      row
	phase    atomic.Int32
	sent     atomic.Int64
	failed   atomic.Int64
	failure  atomic.Pointer[string]
	measured atomic.Bool // at least one answer
	deadline time.Time
}

// generate runs a job; mark is called when the measured interval begins and
// when it ends.
func generate(ctx context.Context, j job, r row, mark func(string)) (load, error) {
	g := &generator{job: j, row: r, deadline: time.Now().Add(j.Warmup + j.Duration + 30*time.Second)}
	latencies := make([][]time.Duration, j.Connections)
	var workers sync.WaitGroup
	for i := range latencies {
		latencies[i] = make([]time.Duration, 0, 1<<20/j.Connections)
		workers.Go(func() {
			if err := g.work(&latencies[i]); err != nil {
				g.fail(err)
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		workers.Wait()
		close(ended)
	}()
	// A run whose connections are all lost is over before its time.
	wait := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ended:
		case <-ctx.Done():
		}
	}
	wait(j.Warmup)
	mark(intervalBegins)
	begin, before := time.Now(), cpuTime()
	g.phase.Store(measuring)
	wait(j.Duration)
	for range 500 { // a machine that stands still for the whole interval is given 5 seconds more
		if g.measured.Load() {
			break
		}
		wait(10 * time.Millisecond)
	}
	g.phase.Store(finished)
	result := load{Elapsed: time.Since(begin), CPU: cpuTime() - before}
	mark(intervalEnds)
	<-ended
	result.Sent, result.Failed = g.sent.Load(), g.failed.Load()
	if failure := g.failure.Load(); failure != nil {
		result.Failure = *failure
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	result.Requests = int64(len(all))
	result.P50, result.P99, result.Longest = percentile(all, 50), percentile(all, 99), percentile(all, 100)
	return result, ctx.Err()
}

// work sends one request after the other until the run is finished.
func (g *generator) work(latencies *[]time.Duration) error {
	c, err := dial(g.job.Addr, g.deadline)
	if err != nil {
		return err
	}
	defer c.socket.Close()
	var request []byte
	for g.phase.Load() != finished {
		serial := g.job.First + g.sent.Add(1) - 1
		request, err = g.row.append(request[:0], &g.job, serial)
		if err != nil {
			return err
		}
		begin := time.Now()
		answer, err := c.do(request)
		took := time.Since(begin)
		if errors.Is(err, io.EOF) {
			return errors.New("the server closed the connection")
		}
		if err != nil {
			return err
		}
		if err := answer.check(); err != nil {
			g.fail(err)
			continue
		}
		if g.phase.Load() == measuring {
			*latencies = append(*latencies, took)
			g.measured.Store(true)
		}
	}
	return nil
}

func (g *generator) fail(err error) {
	g.failed.Add(1)
	text := err.Error()
	g.failure.CompareAndSwap(nil, &text)
}

// percentile of sorted values: the least that p % of them do not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// cpuTime is what this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
