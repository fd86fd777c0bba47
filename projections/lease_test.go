package projections

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/carelog/carelog/events"
)

// holder is a process that records when it holds the lease.
type holder struct {
	lease         *Lease
	begun, ended  chan struct{}
	linger        chan struct{} // where set, work that was cancelled returns when it is closed
	mu            sync.Mutex
	cause, result error
}

func (d *database) holder(change ...func(*Config)) *holder {
	config := d.config
	for _, c := range change {
		c(&config)
	}
	h := &holder{lease: NewLease(config), begun: make(chan struct{}, 10), ended: make(chan struct{}, 10)}
	h.lease.tryEvery, h.lease.aliveFor, h.lease.answerIn = 10*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond
	h.lease.hungAfter = 10 * time.Second
	h.lease.workAgain, h.lease.giveWay = 10*time.Millisecond, time.Hour
	return h
}

func (h *holder) work(ctx context.Context) error {
	h.begun <- struct{}{}
	h.mu.Lock()
	result := h.result
	h.mu.Unlock()
	if result != nil {
		return result
	}
	<-ctx.Done()
	h.mu.Lock()
	h.cause = context.Cause(ctx)
	h.mu.Unlock()
	h.ended <- struct{}{}
	if h.linger != nil {
		<-h.linger
	}
	return nil
}

func (h *holder) run(t *testing.T) (stop func() error) {
	return background(t, func(ctx context.Context) error { return h.lease.Run(ctx, h.work) })
}

func within(t *testing.T, what string, signal <-chan struct{}) {
	t.Helper()
	select {
	case <-signal:
	case <-time.After(10 * time.Second):
		t.Fatalf("not within 10 seconds: %s", what)
	}
}

const holdersOfLease = `from pg_locks where locktype = 'advisory' and granted and classid = 1667330661 and objid = 1
	and database = (select oid from pg_database where datname = current_database())`

func TestOneHoldsTheLeaseAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	first, second := d.holder(), d.holder()
	first.linger = make(chan struct{})
	leave := sync.OnceFunc(func() { close(first.linger) })
	defer leave()
	stopFirst := first.run(t)
	within(t, "the first holds it", first.begun)
	second.run(t)
	eventually(t, "the second stands by", func() bool {
		return query[int](d, "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'carelog lease'") == 2
	})
	if len(second.begun) != 0 || !first.lease.Held() || second.lease.Held() {
		t.Fatal("both hold the lease")
	}

	// The first loses its connection: its work is cancelled, the second begins.
	d.exec("select pg_terminate_backend(pid) " + holdersOfLease)
	within(t, "the first's work is cancelled", first.ended)
	within(t, "the second takes over", second.begun)
	first.mu.Lock()
	if !errors.Is(first.cause, errLeaseLost) {
		t.Errorf("the cause is %v", first.cause)
	}
	first.mu.Unlock()
	if got := query[int](d, "select count(*) "+holdersOfLease); got != 1 {
		t.Errorf("%d hold the lock", got)
	}
	leave()
	if err := stopFirst(); err != nil {
		t.Errorf("Run answers %v", err)
	}
	if len(first.begun) != 0 {
		t.Error("the first held the lease again")
	}
}

// TestAHolderThatHangsLosesTheLease: its session lives on, as that of a process
// that was stopped does, and asks nothing.
func TestAHolderThatHangsLosesTheLease(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	hung, err := d.config.connect(t.Context(), "lease")
	if err != nil {
		t.Fatal(err)
	}
	defer disconnect(hung)
	first, second := d.holder(), d.holder()
	if got, err := first.lease.try(t.Context(), hung); err != nil || !got {
		t.Fatalf("%t, %v", got, err)
	}
	second.lease.hungAfter = 500 * time.Millisecond
	second.run(t)
	within(t, "the second takes over", second.begun)
	if _, err := hung.Exec(t.Context(), "select"); err == nil {
		t.Error("the session of the first goes on")
	}

	// One that asks keeps it, however long.
	third := d.holder()
	third.lease.hungAfter = 500 * time.Millisecond
	third.run(t)
	asked := "(select max(state_change) from pg_stat_activity where pid in (select pid " + holdersOfLease + "))"
	until := query[time.Time](d, "select clock_timestamp() + interval '1 second'").Format(time.RFC3339Nano)
	eventually(t, "the second has asked for longer than that", func() bool { return query[bool](d, "select "+asked+" > '"+until+"'") })
	if len(third.begun) != 0 || len(second.ended) != 0 {
		t.Error("one that asks has lost the lease")
	}
}

func TestTheLeaseIsGivenBackAtTheEnd(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	first, second := d.holder(), d.holder()
	stopFirst := first.run(t)
	within(t, "the first holds it", first.begun)
	second.run(t)
	if err := stopFirst(); err != nil {
		t.Errorf("Run answers %v", err)
	}
	within(t, "the first's work ended", first.ended)
	within(t, "the second takes over", second.begun)
}

func TestWorkThatFailsIsDoneAgain(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	h := d.holder()
	h.result = errors.New("broken")
	h.run(t)
	for range 3 {
		within(t, "the work is done", h.begun)
	}
}

func TestAnOlderProgramGivesWay(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	older, newer := d.holder(), d.holder()
	older.result = &StoppedError{Position: 1, Err: &events.UnknownTypeError{Type: "patient.cloned"}}
	older.run(t)
	within(t, "the older program holds it", older.begun)
	newer.run(t)
	within(t, "the newer program takes over", newer.begun)
	if len(older.begun) != 0 {
		t.Error("the older program held the lease again")
	}
}

// A connection that is silently cut does not end, and only asking shows it.
func TestAHalfOpenConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	proxy := newProxy(t, d)
	h := d.holder(func(c *Config) {
		c.Conn = c.Conn.Copy()
		c.Conn.Host, c.Conn.Port = "127.0.0.1", uint16(proxy.port())
	})
	h.run(t)
	within(t, "it holds the lease", h.begun)
	begin := time.Now()
	proxy.swallow()
	within(t, "the work is cancelled", h.ended)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// proxy passes connections on to Postgres until it swallows everything.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	silent   bool
	closed   bool
	conns    []net.Conn
	done     sync.WaitGroup
}

func newProxy(t *testing.T, d *database) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener}
	network, address := "tcp", net.JoinHostPort(d.config.Conn.Host, strconv.Itoa(int(d.config.Conn.Port)))
	if d.config.Conn.Host[0] == '/' {
		network, address = "unix", d.config.Conn.Host+"/.s.PGSQL."+strconv.Itoa(int(d.config.Conn.Port))
	}
	p.done.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, address)
			if err != nil {
				client.Close()
				continue
			}
			p.join(client, server)
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		p.closed = true
		for _, conn := range p.conns {
			conn.Close()
		}
		p.mu.Unlock()
		p.done.Wait()
	})
	return p
}

// join passes on what two connections say.
func (p *proxy) join(client, server net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		client.Close()
		server.Close()
		return
	}
	p.conns = append(p.conns, client, server)
	p.done.Go(func() { p.pass(client, server) })
	p.done.Go(func() { p.pass(server, client) })
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

func (p *proxy) swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
}

func (p *proxy) pass(from, to net.Conn) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		silent := p.silent
		p.mu.Unlock()
		if silent {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
