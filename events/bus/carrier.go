package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

// CarrierConfig configures a [Carrier].
type CarrierConfig struct {
	Conn   *Conn
	LogID  uuid.UUID
	Stream StreamConfig

	// AckWait bounds the wait for each reply of the NATS server; default 5 seconds.
	AckWait time.Duration

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
// Carelog's; then Publish may begin at any position. A NATS stream of another
// log is refused with *[OtherLogError].
func (c *Carrier) Resume(ctx context.Context) (events.Position, error) {
	c.resumed = false
	if err := c.cfg.Conn.Err(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.AckWait)
	defer cancel()
	stream, err := ensureStream(ctx, c.cfg.Conn.js, c.cfg.Stream, c.cfg.LogID)
	if err != nil {
		return 0, err
	}
	position, err := c.lastPosition(ctx, stream)
	if err != nil {
		return 0, err
	}
	// Should somebody have published since the information was read, the fence
	// is behind and the next Publish fails.
	c.publisher.Expect(stream.CachedInfo().State.LastSeq)
	c.last, c.resumed = position, true
	return position, nil
}

func (c *Carrier) lastPosition(ctx context.Context, stream jetstream.Stream) (events.Position, error) {
	if stream.CachedInfo().State.Msgs == 0 {
		return 0, nil
	}
	// By subject, as the message at the last sequence may have been deleted.
	msg, err := stream.GetLastMsgForSubject(ctx, AllSubjects)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the last message of the NATS stream %s: %w", c.cfg.Stream.Name, err)
	}
	position := parsePosition(msg.Header.Get(HeaderPosition))
	found := msg.Header.Get(HeaderLog)
	if position == 0 || found == "" {
		c.cfg.Logger.Warn("the last message of the NATS stream was published by something else than Carelog; starting over behind it",
			"stream", c.cfg.Stream.Name, "sequence", msg.Sequence, "subject", msg.Subject)
		return 0, nil
	}
	if found != c.cfg.LogID.String() {
		return 0, &OtherLogError{Stream: c.cfg.Stream.Name, Log: c.cfg.LogID, Found: found}
	}
	return position, nil
}

// Publish puts events of consecutive positions onto the NATS stream, behind the
// last one there. After any error it is unknown which of them are on it, and
// Resume is needed before the next Publish.
func (c *Carrier) Publish(ctx context.Context, evs []events.Recorded) error {
	if len(evs) == 0 {
		return nil
	}
	if !c.resumed {
		return errors.New("publish events: the end of the NATS stream is unknown, resume first")
	}
	c.resumed = false
	msgs := make([]*message.Message, len(evs))
	last := c.last
	for i, e := range evs {
		if last != 0 && e.Position != last+1 {
			return fmt.Errorf("publish events: position %d does not follow %d", e.Position, last)
		}
		last = e.Position
		msgs[i] = Encode(c.cfg.LogID, e)
		msgs[i].SetContext(ctx)
	}
	if err := c.publisher.Publish(SubjectPrefix, msgs...); err != nil {
		return err
	}
	c.last, c.resumed = last, true
	return nil
}
