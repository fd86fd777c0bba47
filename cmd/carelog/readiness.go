package main

import (
	"context"
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
func (l *pipeline) readiness(ctx context.Context) httpapi.Readiness {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	dependency := func(name string, err error) httpapi.Dependency {
		d := httpapi.Dependency{Name: name, OK: err == nil}
		if err != nil {
			d.Error = err.Error()
		}
		return d
	}
	status, err := l.runner.Status(ctx)
	live := l.progress.Live()
	answer := httpapi.Readiness{
		Ready:        err == nil && live == nil,
		Dependencies: []httpapi.Dependency{dependency("postgres", err), dependency("nats", l.conn.Err())},
		Projections:  []httpapi.Projection{},
		Applied:      httpapi.Applied{FromBus: status.FromBus, FromLog: status.FromLog},
	}
	answer.Dependencies = append(answer.Dependencies, dependency("projections", live))
	if l.lease.Held() {
		answer.Dependencies = append(answer.Dependencies, dependency("relay", l.relay.Err()), dependency("feed", l.feed.Err()))
	}
	for _, p := range status.Projections {
		one := httpapi.Projection{Name: p.Name, Position: int64(p.Position), Lag: p.Lag}
		if p.Stopped != nil {
			one.Error = p.Stopped.Error()
		}
		answer.Projections = append(answer.Projections, one)
	}
	return answer
}
