package main

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// proxy is the network between a process and PostgreSQL, which can be hurt.
type proxy struct {
	listener net.Listener
	dial     func() (net.Conn, error)

	mu      sync.Mutex
	changed *sync.Cond
	conns   map[net.Conn]bool
	stalled bool          // nothing gets through, in either direction
	deaf    bool          // what PostgreSQL answers to appenders is lost
	lost    int           // so many pieces of it were
	delay   time.Duration // of every piece of data
	closed  bool
	running sync.WaitGroup
}

// newProxy puts a proxy in front of a database. It answers the URL that leads
// through it.
func newProxy(t *testing.T, database string) (p *proxy, through string) {
	t.Helper()
	config, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	p = &proxy{conns: map[net.Conn]bool{}, dial: func() (net.Conn, error) { return net.Dial(network, address) }}
	p.changed = sync.NewCond(&p.mu)
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		p.listener.Close()
		p.cut(func() { p.closed, p.stalled = true, false })
		p.running.Wait()
	})
	parsed := url.URL{
		Scheme: "postgres", User: url.UserPassword(config.User, config.Password), Host: p.listener.Addr().String(),
		Path: "/" + config.Database, RawQuery: "sslmode=disable",
	}
	return p, parsed.String()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := p.dial()
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		closed := p.closed
		p.mu.Unlock()
		if closed {
			client.Close()
			server.Close()
		}
		var appender atomic.Bool
		p.running.Go(func() {
			p.forward(client, server, func(data []byte) bool {
				if bytes.Contains(data, []byte("carelog appender ")) { // the first that is sent tells whose it is
					appender.Store(true)
				}
				return false
			})
		})
		p.running.Go(func() {
			p.forward(server, client, func([]byte) bool {
				if p.deaf && appender.Load() {
					p.lost++
				}
				return p.deaf && appender.Load()
			})
		})
	}
}

// forward moves data, but for what is lost, from one side to the other until
// either ends, and then ends both.
func (p *proxy) forward(from, to net.Conn, lost func([]byte) bool) {
	defer func() {
		from.Close()
		to.Close()
		p.mu.Lock()
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		for p.stalled {
			p.changed.Wait()
		}
		drop, delay := lost(buffer[:n]), p.delay
		p.mu.Unlock()
		if delay > 0 {
			time.Sleep(delay) // the slow network itself
		}
		if n > 0 && !drop {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

// cut ends all connections, and changes something at the same moment.
func (p *proxy) cut(change func()) {
	p.set(func() {
		change()
		for conn := range p.conns {
			conn.Close()
		}
	})
}

// networkFaults are those of the network between the processes and PostgreSQL.
var networkFaults = []fault{
	{"connections to PostgreSQL cut", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		for _, p := range s.proxies {
			p.cut(func() {})
		}
		return time.Now()
	}},
	{"answers of PostgreSQL lost, then all cut", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		lost := 0
		for _, p := range s.proxies {
			p.set(func() { p.deaf, p.lost = true, 0 })
		}
		eventually(t, "an answer is lost", 20*time.Second, func() bool {
			for _, p := range s.proxies {
				p.set(func() { lost += p.lost })
			}
			return lost > 0
		})
		for _, p := range s.proxies {
			p.cut(func() { p.deaf = false }) // else the rest of a lost answer would be taken for another
		}
		return time.Now()
	}},
	{"the process that runs the projections without PostgreSQL", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		held := s.holder(t)
		p := s.proxies[held]
		p.set(func() { p.stalled = true })
		defer p.set(func() { p.stalled = false }) // then all that was held back arrives
		s.awaitWrites(t, "take-over after a partition", time.Now(), 1-held)
		return time.Now()
	}},
	{"a slow network", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		for _, p := range s.proxies {
			p.set(func() { p.delay = 20 * time.Millisecond })
		}
		s.mustWrite(t, "the network is slow")
		for _, p := range s.proxies {
			p.set(func() { p.delay = 0 })
		}
		return time.Now()
	}},
}

// TestTheNetworkMayBreak between the processes and PostgreSQL: whatever commit
// had no answer, the log tells, and nobody is told a lie.
func TestTheNetworkMayBreak(t *testing.T) {
	t.Parallel()
	newSite(t, false).sufferAll(t, networkFaults)
}
