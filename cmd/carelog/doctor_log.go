package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/bus"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/projections"
)

// theLog looks at the identity and the end of the log.
func (c *checkup) theLog(ctx context.Context, pool *pgxpool.Pool) error {
	const check = "log"
	if !c.fits {
		return nil // the schema was told
	}
	store, err := eventstore.Look(ctx, pool)
	if errors.Is(err, eventstore.ErrNoLog) {
		c.warn(check, "`carelog serve` makes it", "it has no id yet")
		return nil
	}
	if err != nil {
		return err
	}
	c.log = store
	head, err := store.Head(ctx)
	if err != nil {
		return err
	}
	if head == 0 {
		c.ok(check, "id %s, empty", store.LogID())
		return nil
	}
	last, err := store.Read(ctx, head-1, 1)
	if err != nil {
		return err
	}
	c.head = head
	var now time.Time
	if err := pool.QueryRow(ctx, `select clock_timestamp()`).Scan(&now); err != nil {
		return err
	}
	if recorded := last[0].RecordedAt; recorded.After(now) {
		c.warn(check, "the database's clock was set back; until it has come there again, all events get this time",
			"id %s, head %d, recorded at %s, which is in the future", store.LogID(), head, timeText(recorded))
		return nil
	}
	c.ok(check, "id %s, head %d, recorded at %s", store.LogID(), head, timeText(last[0].RecordedAt))
	return nil
}

// manyEvents is a lag that is told: no server applies so many within a second.
const manyEvents = 10_000

// readTables looks at the state of the projections.
func (c *checkup) readTables(ctx context.Context, pool *pgxpool.Pool) error {
	const check = "projections"
	if c.log == nil {
		return nil
	}
	status, err := projections.ReadStatus(ctx, projections.Config{Pool: pool, Log: c.log, LogID: c.log.LogID(), Registry: events.NewRegistry()})
	if err != nil {
		return err
	}
	for _, p := range status.Projections {
		switch {
		case p.Unfit != nil:
			c.fail(check, "run `carelog projections rebuild "+p.Name+"`", "%s: %v", p.Name, p.Unfit)
		case p.Stopped != nil:
			c.fail(check, "run a newer carelog if it does not know the type, else mend the reason and restart", "%s: %v", p.Name, p.Stopped)
		case p.SchemaVersion == 0 && status.Head > 0:
			c.warn(check, "`carelog serve` fills it", "%s was never filled", p.Name)
		case p.Lag > manyEvents:
			c.warn(check, "start a server, or wait; `carelog projections` tells more", "%s is %d events behind the log", p.Name, p.Lag)
		default:
			c.ok(check, "%s at position %d, %d behind the log", p.Name, p.Position, p.Lag)
		}
	}
	return nil
}

// nats looks at the NATS stream, where it is not inside the process of a server. It
// must be called before the head of the log is read: what the stream has then, the
// log must have. What it found is told later, by the function that it answers.
func (c *checkup) nats(ctx context.Context) (tell func()) {
	const check = "nats"
	if c.wrong("NATS_URL") {
		return func() {} // its setting was told
	}
	if c.config.NATSURL == "" {
		return func() { c.ok(check, "inside the process of the server") }
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := bus.Look(ctx, c.config.NATSURL)
	return func() {
		switch {
		case err != nil:
			c.fail(check, "see that NATS runs with JetStream and lets this user in, and that NATS_URL is right; without it events reach the read tables later", "%v", err)
		case !stream.Exists:
			c.ok(check, "version %s; the NATS stream %s is not there yet: a server makes it", stream.Server, bus.StreamName)
		case c.log != nil && stream.Log != "" && stream.Log != c.log.LogID().String():
			c.fail(check, "", "%v", &bus.OtherLogError{Log: c.log.LogID(), Found: stream.Log})
		case c.log != nil && stream.Last > c.head:
			c.fail(check, "", "%v", &bus.ForeignEventError{Position: stream.Last})
		default:
			c.ok(check, "version %s; the NATS stream %s has %d events, %s, the last at position %d",
				stream.Server, bus.StreamName, stream.Messages, size(stream.Bytes), stream.Last)
		}
	}
}
