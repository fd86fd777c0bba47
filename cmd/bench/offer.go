package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// offer is what the open-loop load generator is told: requests are sent at a
// fixed rate, whatever becomes of those before.
type offer struct {
	Addr        string
	Row         string
	Stock       stock
	First       int64   // serial number of the first request
	Rate        float64 // requests per second
	Connections int
	Duration    time.Duration
}

// offered is what it reports. Latencies count from the time that a request was
// due by the schedule, not from when it was sent.
type offered struct {
	Elapsed  time.Duration
	Sent     int64 // of which each was accepted, shed or failed
	Unsent   int64 // that no connection was free for in time
	Accepted int64 // 2xx
	Shed     int64 // 503 with Retry-After
	Failed   int64 // all else
	Failure  string
	P50, P99 time.Duration // of those accepted
	Longest  time.Duration
	ShedP99  time.Duration // until a request was shed
	CPU      time.Duration // of the load generator
}

// tooLate is how long after its time a request is not sent any more: with a
// generator that has fallen behind for good, latencies would tell of nothing else.
const tooLate = 20 * time.Millisecond

// tickOffer is how often the generator looks what is due.
const tickOffer = time.Millisecond

// runOffer is the open-loop load generator, a process of its own with one thread:
// it reads an offer and writes what came of it.
func runOffer(ctx context.Context, in io.Reader, out io.Writer) error {
	runtime.GOMAXPROCS(1)
	var o offer
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("read the offer: %w", err)
	}
	row, err := rowNamed(o.Row)
	if err != nil {
		return err
	}
	result, err := makeOffer(ctx, o, row)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// startOffer runs the open-loop load generator.
func startOffer(ctx context.Context, o offer, stderr io.Writer) (offered, error) {
	self, err := os.Executable()
	if err != nil {
		return offered{}, err
	}
	cmd := exec.CommandContext(ctx, self, "offer")
	in, err := cmd.StdinPipe()
	if err != nil {
		return offered{}, err
	}
	go func() {
		json.NewEncoder(in).Encode(o)
		in.Close()
	}()
	cmd.Stderr = stderr
	text, err := cmd.Output()
	if err != nil {
		return offered{}, err
	}
	var result offered
	return result, json.Unmarshal(text, &result)
}

// client is one of the connections. It sends a request whenever it is given one.
type client struct {
	connection
	due      chan time.Time // of the next request
	accepted []time.Duration
	shed     []time.Duration
}

// offering is an offer that is being made.
type offering struct {
	offer  offer
	row    row
	free   chan *client // in the order in which they became free
	mu     sync.Mutex
	serial int64
	result offered
}

func makeOffer(ctx context.Context, o offer, r row) (offered, error) {
	g := &offering{offer: o, row: r, free: make(chan *client, o.Connections), serial: o.First}
	clients, err := connectAll(ctx, o)
	if err != nil {
		return offered{}, err
	}
	var working sync.WaitGroup
	for _, c := range clients {
		g.free <- c
		working.Go(func() { g.work(c) })
	}
	begin, before := time.Now(), cpuTime()
	g.dispatch(ctx, begin)
	g.result.Elapsed, g.result.CPU = time.Since(begin), cpuTime()-before
	for _, c := range clients {
		close(c.due)
	}
	working.Wait()

	var accepted, shed []time.Duration
	for _, c := range clients {
		c.socket.Close()
		accepted, shed = append(accepted, c.accepted...), append(shed, c.shed...)
	}
	slices.Sort(accepted)
	slices.Sort(shed)
	g.result.Accepted, g.result.Shed = int64(len(accepted)), int64(len(shed))
	g.result.P50, g.result.P99, g.result.Longest = percentile(accepted, 50), percentile(accepted, 99), percentile(accepted, 100)
	g.result.ShedP99 = percentile(shed, 99)
	return g.result, ctx.Err()
}

// connectAll opens the connections before the schedule begins, a few at a time.
func connectAll(ctx context.Context, o offer) ([]*client, error) {
	clients := make([]*client, o.Connections)
	var dialer net.Dialer
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for i := range clients {
		group.Go(func() error {
			socket, err := dialer.DialContext(ctx, "tcp", o.Addr)
			if err != nil {
				return err
			}
			socket.SetDeadline(time.Now().Add(o.Duration + time.Minute))
			clients[i] = &client{due: make(chan time.Time, 1),
				connection: connection{socket: socket, reader: bufio.NewReaderSize(socket, 2<<10)}}
			return nil
		})
	}
	return clients, group.Wait()
}

// dispatch gives each request that is due to a connection that is free.
func (g *offering) dispatch(ctx context.Context, begin time.Time) {
	ticks := time.NewTicker(tickOffer)
	defer ticks.Stop()
	total := int64(g.offer.Rate * g.offer.Duration.Seconds())
	for next := int64(0); next < total; {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		for ; next < total; next++ {
			due := begin.Add(time.Duration(float64(next) / g.offer.Rate * float64(time.Second)))
			if due.After(now) {
				break
			}
			select {
			case c := <-g.free:
				g.result.Sent++
				c.due <- due
				continue
			default:
			}
			if now.Sub(due) < tooLate {
				break
			}
			g.result.Unsent++
		}
	}
}

func (g *offering) work(c *client) {
	var request []byte
	for due := range c.due {
		g.mu.Lock()
		serial := g.serial
		g.serial++
		g.mu.Unlock()
		var err error
		if request, err = g.row.append(request[:0], &job{Addr: g.offer.Addr, Stock: g.offer.Stock}, serial); err == nil {
			err = c.ask(request, due)
		}
		if err != nil {
			g.fail(err)
			if lost := (*answerError)(nil); !errors.As(err, &lost) {
				return // the connection cannot be used any more
			}
		}
		g.free <- c
	}
}

// answerError is an answer that is neither good nor a refusal as it should be.
type answerError struct{ error }

// ask sends a request and notes how long after its time it was answered.
func (c *client) ask(request []byte, due time.Time) error {
	answer, err := c.do(request)
	if err != nil {
		return err
	}
	took := time.Since(due)
	if answer.status == http.StatusServiceUnavailable && answer.retryAfter {
		c.shed = append(c.shed, took)
		return nil
	}
	if err := answer.check(); err != nil {
		return &answerError{err}
	}
	c.accepted = append(c.accepted, took)
	return nil
}

func (g *offering) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.result.Failed++
	if g.result.Failure == "" {
		g.result.Failure = err.Error()
	}
}
