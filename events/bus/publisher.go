package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// chainLength is how many messages are sent for one reply.
const chainLength = 256

var (
	errClosed     = errors.New("closed")
	errNoSequence = errors.New("the last sequence of the NATS stream is unknown: a publish failed, or none was expected yet")
)

// PublisherConfig configures a [Publisher].
type PublisherConfig struct {
	Conn *Conn

	// Fence makes every message name the sequence it follows, see [Publisher].
	Fence bool

	// AckWait bounds the wait for the NATS server's reply; default 5 seconds.
	AckWait time.Duration
}

// Publisher is a Watermill publisher to a JetStream NATS stream. The topic is
// the NATS subject.
//
// Without the fence every message is a request of its own.
//
// With the fence the messages of one call are a chain: each carries the
// sequence that the NATS stream must have reached before it
// (Nats-Expected-Last-Sequence), and only the last one (of every 256) asks for a
// reply. A message that is not stored breaks the chain, because no later one
// finds the sequence that it expects; so one good reply tells that the stream
// holds a message of the chain, or of one that was published by the same
// reckoning, at each of its sequences. After an error any number of
// the messages may be stored, and every further call fails until
// [Publisher.Expect] has told the true last sequence.
//
// It is safe for concurrent use and does not own the connection.
type Publisher struct {
	nc      *nats.Conn
	fence   bool
	ackWait time.Duration
	closed  atomic.Bool

	mu    sync.Mutex
	known bool
	last  uint64 // sequence, while known
}

// NewPublisher returns a Publisher on the connection.
func NewPublisher(cfg PublisherConfig) *Publisher {
	if cfg.AckWait == 0 {
		cfg.AckWait = 5 * time.Second
	}
	return &Publisher{nc: cfg.Conn.nc, fence: cfg.Fence, ackWait: cfg.AckWait}
}

// Expect sets the sequence that the NATS stream ends with.
func (p *Publisher) Expect(last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.known = last, true
}

// Publish implements [message.Publisher]. The context of a chain's last
// message bounds the wait for its reply. A *jetstream.APIError with the code
// 10071 says that the NATS stream has gone on by other hands.
func (p *Publisher) Publish(topic string, msgs ...*message.Message) error {
	if p.closed.Load() {
		return fmt.Errorf("publish to NATS: %w", errClosed)
	}
	if !p.fence {
		for _, msg := range msgs {
			if _, err := p.request(natsMessage(topic, msg), msg); err != nil {
				return err
			}
		}
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for chain := range slices.Chunk(msgs, chainLength) {
		if !p.known {
			return fmt.Errorf("publish to NATS: %w", errNoSequence)
		}
		// Only a whole chain tells the sequence again.
		p.known = false
		if err := p.publishChain(topic, chain); err != nil {
			return err
		}
		p.last += uint64(len(chain))
		p.known = true
	}
	return nil
}

// Close implements [message.Publisher]. Nothing is ever left to be flushed.
func (p *Publisher) Close() error {
	p.closed.Store(true)
	return nil
}

func (p *Publisher) publishChain(topic string, chain []*message.Message) error {
	expected := p.last
	for i, msg := range chain {
		out := natsMessage(topic, msg)
		out.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(expected, 10)}
		expected++
		if i < len(chain)-1 {
			if err := p.nc.PublishMsg(out); err != nil {
				return p.failed(msg, err)
			}
			continue
		}
		stored, err := p.request(out, msg)
		if err != nil {
			return err
		}
		if stored != expected {
			return p.failed(msg, fmt.Errorf("stored as %d, not as %d", stored, expected))
		}
	}
	return nil
}

// request publishes and waits for the sequence that the message got.
func (p *Publisher) request(out *nats.Msg, msg *message.Message) (uint64, error) {
	ctx, cancel := context.WithTimeout(msg.Context(), p.ackWait)
	defer cancel()
	in, err := p.nc.RequestMsgWithContext(ctx, out)
	if err != nil {
		return 0, p.failed(msg, err)
	}
	var reply struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.PubAck
	}
	if err := json.Unmarshal(in.Data, &reply); err != nil {
		return 0, p.failed(msg, fmt.Errorf("read the reply: %w", err))
	}
	if reply.Error != nil {
		return 0, p.failed(msg, reply.Error)
	}
	if reply.Sequence == 0 {
		return 0, p.failed(msg, errors.New("the reply is not JetStream's"))
	}
	return reply.Sequence, nil
}

// failed names the message by its id and, where it has one, its position.
func (p *Publisher) failed(msg *message.Message, err error) error {
	what := "message " + msg.UUID
	if position := msg.Metadata.Get(HeaderPosition); position != "" {
		what = "the event at position " + position
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("publish %s to NATS: its %d bytes and headers are more than the server takes (max_payload is %d): %w",
			what, len(msg.Payload), p.nc.MaxPayload(), err)
	}
	return fmt.Errorf("publish %s to NATS: %w", what, err)
}
