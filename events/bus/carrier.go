package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/carelog/carelog/events"
)

// CarrierConfig configures a [Carrier].
type CarrierConfig struct {
	Conn   *Conn
	LogID  uuid.UUID
	Log    Log // the log itself, which tells whether it has the last event of the NATS stream
	Stream StreamConfig

	// Own: the NATS stream is this process's alone, and so is the server. One that is
	// of no use is made anew without asking; else that is an error, since others may
	// rely on it. And what was asked of the server is awaited, also by a stop.
	Own bool

	// AckWait bounds the wait for each reply of the NATS server; default 5 seconds.
	AckWait time.Duration

	Tracer trace.Tracer // of events that are published; nil: tracing is off
	Logger *slog.Logger // default: slog.Default()
}

// Carrier puts the log's events onto the NATS stream, in order, each behind
// the last. It makes the NATS stream where there is none. It is what a relay
// publishes to, and is for one goroutine.
type Carrier struct {
	cfg       CarrierConfig
	publisher *Publisher
	resumed   bool
	last      events.Position // on the NATS stream while resumed; 0: none
	sequence  uint64          // that it ends with, while resumed
	tail      tail
	failed    attempt // the Publish that failed since
	failures  int     // of Resume and Publish in a row
	failure   error   // the last of them
}

// tail is the last event that is known to have been put on a NATS stream.
type tail struct {
	created  time.Time // when that stream was
	position events.Position
	id       string
}

// maxFailures is how many failures in a row mean that the NATS stream is broken:
// its store was removed, or the disk was full when it wrote. It does not mend
// by itself then.
const maxFailures = 3

// attempt is a Publish: so many events behind a position were to be stored
// behind a sequence.
type attempt struct {
	position events.Position
	sequence uint64
	events   int
}

// NewCarrier returns a Carrier; nothing is sent before [Carrier.Resume].
func NewCarrier(cfg CarrierConfig) *Carrier {
	cfg.Stream.setDefaults()
	if cfg.AckWait == 0 {
		cfg.AckWait = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	publisher := NewPublisher(PublisherConfig{Conn: cfg.Conn, Fence: true, AckWait: cfg.AckWait})
	return &Carrier{cfg: cfg, publisher: publisher}
}

// Resume reads the end of the NATS stream and answers the position of its last
// event, behind which [Carrier.Publish] goes on. 0 says that there is none: the
// NATS stream is new or was purged, or its last message is not one of
// Carelog's; then Publish may begin at any position.
//
// A NATS stream of another log is refused with *[OtherLogError], and one that
// ends with an event that is not in the log with *[ForeignEventError]. Where the
// stream is our own it is made anew instead, as when it is broken.
func (c *Carrier) Resume(ctx context.Context) (events.Position, error) {
	c.resumed = false
	if err := errors.Join(ctx.Err(), c.cfg.Conn.Err()); err != nil {
		return 0, err
	}
	if c.cfg.Own {
		// The server that makes it is about to be stopped together with us, and would
		// leave a half made NATS stream open. AckWait bounds this all the same.
		ctx = context.WithoutCancel(ctx)
	}
	position, err := c.resume(ctx)
	_, otherLog := errors.AsType[*OtherLogError](err)
	_, foreign := errors.AsType[*ForeignEventError](err)
	switch {
	case c.cfg.Own && (otherLog || foreign || c.failures >= maxFailures):
		return c.renew(ctx, cmp.Or(err, c.failure))
	case err != nil && !errors.Is(err, events.ErrUnavailable):
		c.failures++
		c.failure = err
	}
	return position, err
}

// renew makes the NATS stream anew.
func (c *Carrier) renew(ctx context.Context, cause error) (events.Position, error) {
	c.cfg.Logger.Warn("the NATS stream is of no use and is made anew", "stream", StreamName, "failures", c.failures, "error", cause)
	c.failures, c.failure = 0, nil
	c.resumed = false
	ctx, cancel := context.WithTimeout(ctx, c.cfg.AckWait)
	defer cancel()
	err := c.cfg.Conn.js.DeleteStream(ctx, StreamName)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("remove the NATS stream %s: %w", StreamName, err)
	}
	return c.resume(ctx)
}

func (c *Carrier) resume(ctx context.Context) (events.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.AckWait)
	defer cancel()
	defer c.cfg.Conn.untilLost(cancel)()
	stream, err := ensureStream(ctx, c.cfg.Conn.js, c.cfg.Stream, c.cfg.LogID)
	if err != nil {
		return 0, err
	}
	if created := stream.CachedInfo().Created; !created.Equal(c.tail.created) {
		c.tail = tail{created: created}
	}
	position, err := c.lastPosition(ctx, stream)
	if err != nil {
		return 0, err
	}
	c.sequence = stream.CachedInfo().State.LastSeq
	c.publisher.Expect(c.sequence)
	c.last, c.resumed = position, true
	c.failed = attempt{}
	return position, nil
}

// lastPosition is that of the message at the last sequence that the stream's
// information tells. Both must be of one moment: a publisher that knew a later
// position than its fence would break into the middle of another's chain.
func (c *Carrier) lastPosition(ctx context.Context, stream jetstream.Stream) (events.Position, error) {
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return 0, c.comparePurged(ctx)
	}
	msg, err := stream.GetMsg(ctx, state.LastSeq)
	if errors.Is(err, jetstream.ErrMsgNotFound) { // somebody deleted it
		msg, err = stream.GetLastMsgForSubject(ctx, AllSubjects)
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the last message of the NATS stream %s: %w", StreamName, err)
	}
	if msg.Sequence > state.LastSeq {
		return 0, fmt.Errorf("the NATS stream %s went on while its end was read", StreamName)
	}
	position := parsePosition(msg.Header.Get(HeaderPosition))
	found := msg.Header.Get(HeaderLog)
	if position == 0 || found == "" {
		c.cfg.Logger.Warn("the last message of the NATS stream was published by something else than Carelog; starting over behind it",
			"stream", StreamName, "sequence", msg.Sequence, "subject", msg.Subject)
		return 0, nil
	}
	if found != c.cfg.LogID.String() {
		return 0, &OtherLogError{Log: c.cfg.LogID, Found: found}
	}
	id := msg.Header.Get(HeaderUUID)
	if err := c.compare(ctx, id, position); err != nil {
		return 0, err
	}
	c.tail.position, c.tail.id = position, id
	return c.unbroken(ctx, stream, position)
}

// compare makes sure that the last event of the NATS stream is in the log, at
// its position. It is not after the database was restored to an older state:
// then other events have, or will have, these positions.
func (c *Carrier) compare(ctx context.Context, id string, position events.Position) error {
	if c.cfg.Log == nil {
		return nil
	}
	inLog, err := c.cfg.Log.Read(ctx, position-1, 1)
	if err != nil {
		return fmt.Errorf("look for the last event of the NATS stream %s: %w", StreamName, err)
	}
	if len(inLog) == 0 || inLog[0].Position != position || inLog[0].ID.String() != id {
		return &ForeignEventError{Position: position}
	}
	return nil
}

// comparePurged is compare for a NATS stream that holds nothing any more. Its consumers
// have got what it held, and would take other events at these positions for the same.
func (c *Carrier) comparePurged(ctx context.Context) error {
	if c.tail.position == 0 {
		return nil
	}
	return c.compare(ctx, c.tail.id, c.tail.position)
}

// unbroken answers the last position, up to the given one, before which nothing
// is missing on the NATS stream. An event that a failed Publish could not store may be
// missing before others that it did: each had a sequence of its own, and
// somebody else's message may have come to stand at one of these. That is no matter
// where it is the same event, published by another process.
func (c *Carrier) unbroken(ctx context.Context, stream jetstream.Stream, position events.Position) (events.Position, error) {
	for i := range c.failed.events {
		sequence := c.failed.sequence + uint64(i) + 1
		if sequence > stream.CachedInfo().State.LastSeq {
			break
		}
		before := c.failed.position + events.Position(i)
		msg, err := stream.GetMsg(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return min(position, before), nil
		}
		if err != nil {
			return 0, fmt.Errorf("read message %d of the NATS stream %s: %w", sequence, StreamName, err)
		}
		if parsePosition(msg.Header.Get(HeaderPosition)) != before+1 {
			return min(position, before), nil
		}
	}
	return position, nil
}

// Publish puts events of consecutive positions onto the NATS stream, behind the
// last one there. After a failure it is unknown which of them are on it, and
// Resume is needed before the next Publish.
func (c *Carrier) Publish(ctx context.Context, evs []events.Recorded) error {
	if len(evs) == 0 {
		return nil
	}
	if !c.resumed {
		return errors.New("publish events: the end of the NATS stream is unknown, resume first")
	}
	msgs := make([]*message.Message, len(evs))
	for i, e := range evs {
		if i > 0 && e.Position != evs[i-1].Position+1 || i == 0 && c.last != 0 && e.Position != c.last+1 {
			return fmt.Errorf("publish events: position %d does not follow the one before", e.Position)
		}
		msgs[i] = Encode(c.cfg.LogID, e)
		msgs[i].SetContext(ctx)
	}
	spans, began := c.startPublishing(evs), time.Now()
	err := c.publisher.Publish(SubjectPrefix, msgs...)
	c.cfg.Conn.metrics.publishing.Observe(time.Since(began).Seconds())
	spans.End(err)
	if err != nil {
		c.resumed = false
		c.failures++
		c.failure = err
		c.failed = attempt{position: evs[0].Position - 1, sequence: c.sequence, events: len(evs)}
		return err
	}
	c.failures, c.failure = 0, nil
	last := evs[len(evs)-1]
	c.last, c.tail.position, c.tail.id = last.Position, last.Position, last.ID.String()
	c.sequence += uint64(len(evs))
	return nil
}
