package httpapi

import (
	chain "container/list"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// connections bounds how many there are, for each takes memory and a file, be it
// ever so quiet: some 25 KiB while it waits for another request. When one more
// comes than may be, the one is closed that has been without a request for
// longest; where there is none of that sort, the new one.
//
// So nobody keeps others out by connections that do nothing, or that send the
// headers of a request slowly. A client whose connection was closed opens
// another, as it does after IdleTimeout.
type connections struct {
	most   int
	closed tally
	logger *slog.Logger

	mu    sync.Mutex
	open  int
	quiet chain.List // of net.Conn: those without a request, in the order in which they became so
	known map[net.Conn]*chain.Element
}

func newConnections(most int, logger *slog.Logger) *connections {
	return &connections{most: most, logger: logger, known: map[net.Conn]*chain.Element{}}
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
		c.open++
		if c.open > c.most {
			if victim = c.longestQuiet(); victim == nil {
				return conn
			}
		}
		c.known[conn] = c.quiet.PushBack(conn)
	case http.StateIdle:
		c.known[conn] = c.quiet.PushBack(conn)
	case http.StateActive:
		c.forget(conn)
	case http.StateClosed, http.StateHijacked:
		c.open--
		c.forget(conn)
	}
	return victim
}

func (c *connections) longestQuiet() net.Conn {
	first := c.quiet.Front()
	if first == nil {
		return nil
	}
	conn := first.Value.(net.Conn)
	c.forget(conn)
	return conn
}

func (c *connections) forget(conn net.Conn) {
	if element, ok := c.known[conn]; ok {
		c.quiet.Remove(element)
		delete(c.known, conn)
	}
}
