package eventstore_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carelog/carelog/eventstore"
)

// fault is what a proxy does to a connection, once a session was opened on it.
type fault int32

const (
	noFault     fault = iota
	cutRequest        // closes it in place of passing on the next request
	cutReply          // passes requests on, and closes it in place of passing on the reply
	loseReplies       // passes requests on, and keeps the replies
	freeze            // passes nothing on
)

// proxy stands between an appender and Postgres.
type proxy struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	pumps    sync.WaitGroup

	mu    sync.Mutex
	links []*link
	next  []fault // of the connections to come
	away  bool    // nobody can connect
}

// link is a connection through a proxy.
type link struct {
	client, server net.Conn
	ready          atomic.Bool // the session is open
	fault          atomic.Int32
}

// newProxy returns a proxy to the database and the change to a store's
// configuration that sends its appender through it.
func newProxy(t *testing.T, url string) (p *proxy, through func(*eventstore.Config)) {
	t.Helper()
	config, err := pgconn.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &proxy{listener: listener, dial: func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, network, address) }}
	p.pumps.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		p.away = true
		p.mu.Unlock()
		for _, l := range p.all() {
			l.close()
		}
		p.pumps.Wait()
	})
	return p, func(c *eventstore.Config) {
		c.Appender = c.Appender.Copy()
		c.Appender.Fallbacks, c.Appender.TLSConfig = nil, nil // requests are seen in plain
		c.Appender.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", listener.Addr().String())
		}
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		l := p.connect(client)
		if l == nil {
			client.Close()
			continue
		}
		p.pumps.Go(l.pumpRequests)
		p.pumps.Go(l.pumpReplies)
	}
}

func (p *proxy) connect(client net.Conn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return nil
	}
	server, err := p.dial(context.Background())
	if err != nil {
		return nil
	}
	l := &link{client: client, server: server}
	if len(p.next) > 0 {
		l.fault.Store(int32(p.next[0]))
		p.next = p.next[1:]
	}
	p.links = append(p.links, l)
	return l
}

func (p *proxy) all() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.links
}

// inject does something to the connections that are there, and more to those
// that will be made.
func (p *proxy) inject(now fault, next ...fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		l.fault.Store(int32(now))
	}
	p.next = next
}

// setAway makes the database unreachable, or reachable again.
func (p *proxy) setAway(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
}

func (l *link) close() {
	l.client.Close()
	l.server.Close()
}

func (l *link) suffers(faults ...fault) bool {
	if !l.ready.Load() {
		return false
	}
	now := fault(l.fault.Load())
	for _, f := range faults {
		if f == now {
			return true
		}
	}
	return false
}

func (l *link) pumpRequests() {
	defer l.close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.client.Read(buffer)
		if err != nil || l.suffers(cutRequest) {
			return
		}
		if l.suffers(freeze) {
			continue
		}
		if _, err := l.server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// readyForQuery is the message that opens a session, and ends each reply.
var readyForQuery = []byte{'Z', 0, 0, 0, 5, 'I'}

func (l *link) pumpReplies() {
	defer l.close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.server.Read(buffer)
		// The server sends what a small group yields at once, after the commit.
		if err != nil || l.suffers(cutReply) {
			return
		}
		if l.suffers(loseReplies, freeze) {
			continue
		}
		if bytes.HasSuffix(buffer[:n], readyForQuery) {
			l.ready.Store(true)
		}
		if _, err := l.client.Write(buffer[:n]); err != nil {
			return
		}
	}
}
