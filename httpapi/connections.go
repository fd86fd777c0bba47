package httpapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// connections bounds how many there are, for each takes memory and a file, be it
// ever so quiet: some 25 KiB while it waits for another request. When one more
// comes than may be, the one is closed that has been without a request for
// longest; where there is none of that sort, the new one. One whose request's body
// has not come yet counts as without a request: nothing was begun.
//
// Over HTTP/2 a connection has several requests at once, and counts so when the bodies
// of all of them have not come.
//
// So nobody keeps others out by connections that do nothing, or that send requests
// slowly. A client whose connection was closed opens another, as it does after
// IdleTimeout.
type connections struct {
	most   int
	closed tally
	logger *slog.Logger

	mu    sync.Mutex
	known map[net.Conn]*connection // all that are open
	quiet connection               // a ring of those without a request, from this one on in the order in which they became so
}

// connection is one of them, with its neighbours in the ring while it is in it.
type connection struct {
	conn          net.Conn
	before, after *connection
	gone          bool // closed

	idle     bool // without a request
	requests int  // that are under way over HTTP/2; of HTTP/1 there is one when it is not idle
	waiting  int  // for their bodies
}

func newConnections(most int, logger *slog.Logger) *connections {
	c := &connections{most: most, logger: logger, known: map[net.Conn]*connection{}}
	c.quiet.before, c.quiet.after = &c.quiet, &c.quiet
	return c
}

// change is a hook for [http.Server.ConnState]. A connection is active from the
// end of a request's headers on.
func (c *connections) change(conn net.Conn, state http.ConnState) {
	if victim := c.note(conn, state); victim != nil {
		if secured, ok := victim.(*tls.Conn); ok {
			victim = secured.NetConn() // to say good-bye could take long
		}
		_ = victim.Close()
		if n, tell := c.closed.add(); tell {
			c.logger.Warn("connections were closed to make room for others", "closed", n, "most", c.most)
		}
	}
}

// note answers the connection that has to be closed now, if any.
func (c *connections) note(conn net.Conn, state http.ConnState) (victim net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch known := c.known[conn]; state {
	case http.StateNew:
		added := &connection{conn: conn, idle: true}
		c.known[conn] = added
		if len(c.known) > c.most {
			longest := c.quiet.after
			if longest == &c.quiet {
				return conn
			}
			longest.gone = true
			c.sort(longest)
			victim = longest.conn
		}
		c.sort(added)
	case http.StateIdle, http.StateActive:
		known.idle = state == http.StateIdle
		c.sort(known)
	case http.StateClosed, http.StateHijacked:
		known.gone = true
		c.sort(known)
		delete(c.known, conn)
	}
	return victim
}

// sort puts a connection into the ring, or takes it out.
func (c *connections) sort(known *connection) {
	quiet := !known.gone && (known.idle || known.waiting > 0 && known.waiting == max(known.requests, 1))
	switch isIn := known.after != nil; {
	case quiet && !isIn:
		c.quiet.add(known)
	case isIn && !quiet:
		known.leave()
	}
}

// client is the connection that a request came over.
type client struct {
	all  *connections
	conn net.Conn
}

type clientKey struct{}

// tell is a hook for [http.Server.ConnContext].
func (c *connections) tell(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, clientKey{}, client{c, conn})
}

// change changes what is known of the connection, and answers whether it is still open.
// Over HTTP/2 requests may outlive it.
func (of client) change(by func(*connection)) (open bool) {
	of.all.mu.Lock()
	defer of.all.mu.Unlock()
	known := of.all.known[of.conn]
	if known == nil {
		return false
	}
	by(known)
	of.all.sort(known)
	return !known.gone
}

// count counts the requests of connections that may have several.
func count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if of, ok := r.Context().Value(clientKey{}).(client); ok && r.ProtoMajor >= 2 {
			of.change(func(c *connection) { c.requests++ })
			defer of.change(func(c *connection) { c.requests-- })
		}
		next.ServeHTTP(w, r)
	})
}

// awaitBody counts a request as none, until the function is called that it answers.
// That answers false when the connection was closed meanwhile.
func awaitBody(ctx context.Context) (came func() bool) {
	of, ok := ctx.Value(clientKey{}).(client)
	if !ok {
		return func() bool { return true }
	}
	of.change(func(c *connection) { c.waiting++ })
	return sync.OnceValue(func() bool { return of.change(func(c *connection) { c.waiting-- }) })
}

// add puts another one at the end of the ring that begins after this one.
func (c *connection) add(other *connection) {
	other.before, other.after = c.before, c
	c.before.after, c.before = other, other
}

// leave leaves the ring, if it is in it.
func (c *connection) leave() {
	if c.after != nil {
		c.before.after, c.after.before = c.after, c.before
		c.before, c.after = nil, nil
	}
}
