package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/carelog/carelog/events/bus"
	"github.com/carelog/carelog/httpapi"
)

// lastFeed is the feed that this process ran last, if it ever held the lease.
type lastFeed struct{ feed atomic.Pointer[bus.Feed] }

func (f *lastFeed) set(feed *bus.Feed) { f.feed.Store(feed) }

func (f *lastFeed) Err() error {
	if feed := f.feed.Load(); feed != nil {
		return feed.Err()
	}
	return nil
}

// readiness is what /readyz tells. NATS does not count: while it is away events
// reach the read tables from the log, only later.
//
// Anybody may ask, so a reason is told in words of ours: errors name addresses
// and users. They are in the log.
func (l *pipeline) readiness(ctx context.Context) httpapi.Readiness {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	status, databaseErr := l.runner.Status(ctx)
	live := l.progress.Live()
	answer := httpapi.Readiness{
		Ready: databaseErr == nil && live == nil,
		Reads: databaseErr == nil,
		Dependencies: []httpapi.Dependency{
			dependency("postgres", databaseErr, "cannot be reached"),
			dependency("nats", l.conn.Err(), "cannot be reached"),
			dependency("projections", live, "no process applies events, or an event cannot be applied"),
		},
		Projections: []httpapi.Projection{},
		Applied:     httpapi.Applied{FromBus: status.FromBus, FromLog: status.FromLog},
	}
	if l.lease.Held() {
		answer.Dependencies = append(answer.Dependencies,
			dependency("relay", l.relay.Err(), "cannot publish"),
			dependency("feed", l.feed.Err(), "events do not come over NATS"))
	}
	for _, p := range status.Projections {
		one := httpapi.Projection{Name: p.Name, Position: int64(p.Position), Lag: p.Lag}
		switch {
		case p.Unfit != nil:
			one.Error = p.Unfit.Error()
		case p.Stopped != nil:
			one.Error = fmt.Sprintf("stopped at position %d, an event of type %s", p.Stopped.Position, p.Stopped.Type)
		}
		answer.Projections = append(answer.Projections, one)
	}
	return answer
}

func dependency(name string, err error, trouble string) httpapi.Dependency {
	d := httpapi.Dependency{Name: name, OK: err == nil}
	if err != nil {
		d.Error = trouble
	}
	return d
}
