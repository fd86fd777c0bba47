package httpapi

import (
	"context"
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
	gone          bool // closed to make room
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
	switch state {
	case http.StateNew:
		added := &connection{conn: conn}
		c.known[conn] = added
		if len(c.known) > c.most {
			longest := c.quiet.after
			if longest == &c.quiet {
				return conn
			}
			longest.leave()
			longest.gone = true
			victim = longest.conn
		}
		c.quiet.add(added)
	case http.StateIdle:
		c.quiet.add(c.known[conn])
	case http.StateActive:
		c.known[conn].leave()
	case http.StateClosed, http.StateHijacked:
		c.known[conn].leave()
		delete(c.known, conn)
	}
	return victim
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

// awaitBody counts the connection of a request as without one, until the function
// is called that it answers. That answers false when the connection was closed
// meanwhile.
func awaitBody(ctx context.Context) (came func() bool) {
	of, ok := ctx.Value(clientKey{}).(client)
	if !ok {
		return func() bool { return true }
	}
	c := of.all
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := c.known[of.conn]
	c.quiet.add(waiting)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		waiting.leave()
		return !waiting.gone
	}
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
