package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// chainLength is how many messages are sent before their replies are awaited.
const chainLength = 256

var (
	errClosed     = errors.New("closed")
	errLost       = errors.New("the connection to NATS was lost")
	errNoSequence = errors.New("the last sequence of the NATS stream is unknown: a publish failed, or none was expected yet")
)

// PublisherConfig configures a [Publisher].
type PublisherConfig struct {
	Conn *Conn

	// Fence makes every message name the sequence it follows, see [Publisher].
	Fence bool

	// AckWait bounds the wait for the NATS server's replies to a chain; default
	// 5 seconds.
	AckWait time.Duration
}

// Publisher is a Watermill publisher to a JetStream NATS stream. The topic is
// the NATS subject. The messages of one call are sent one behind the other, and
// then their replies are awaited, so that a group of messages takes one round
// trip.
//
// With the fence these messages are a chain: each carries the sequence that
// the NATS stream must have reached before it (Nats-Expected-Last-Sequence).
// So a message is stored at its own sequence or not at all, and a call that
// succeeds has stored all of its messages there, with nothing between them.
// After an error any number of them may be stored, and every further call fails
// until [Publisher.Expect] has told the true last sequence.
//
// It is safe for concurrent use and does not own the connection.
type Publisher struct {
	conn    *Conn
	nc      *nats.Conn
	fence   bool
	ackWait time.Duration

	mu      sync.Mutex
	closed  bool
	known   bool
	last    uint64 // sequence, while known
	inbox   string
	replies *nats.Subscription // to inbox.*; nil when there is none
}

// NewPublisher returns a Publisher on the connection.
func NewPublisher(cfg PublisherConfig) *Publisher {
	if cfg.AckWait == 0 {
		cfg.AckWait = 5 * time.Second
	}
	return &Publisher{conn: cfg.Conn, nc: cfg.Conn.nc, fence: cfg.Fence, ackWait: cfg.AckWait}
}

// Expect sets the sequence that the NATS stream ends with.
func (p *Publisher) Expect(last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.known = last, true
}

// Publish implements [message.Publisher]. The context of the last message
// bounds the wait for the replies. A *jetstream.APIError with the code 10071
// says that the NATS stream has gone on by other hands.
func (p *Publisher) Publish(topic string, msgs ...*message.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("publish to NATS: %w", errClosed)
	}
	if p.replies == nil {
		inbox := p.nc.NewInbox()
		replies, err := p.nc.SubscribeSync(inbox + ".*")
		if err != nil {
			return fmt.Errorf("subscribe to the replies of NATS: %w", err)
		}
		p.inbox, p.replies = inbox, replies
	}
	for chain := range slices.Chunk(msgs, chainLength) {
		if p.fence && !p.known {
			return fmt.Errorf("publish to NATS: %w", errNoSequence)
		}
		if err := p.publishChain(topic, chain); err != nil {
			p.known = false
			p.dropReplies() // late ones must not be taken for those of the next chain
			return err
		}
		p.last += uint64(len(chain))
	}
	return nil
}

// Close implements [message.Publisher]. Nothing is ever left to be flushed.
func (p *Publisher) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.dropReplies()
	return nil
}

func (p *Publisher) dropReplies() {
	if p.replies != nil {
		p.replies.Unsubscribe() // fails only where the connection was closed, and the subscription with it
		p.replies = nil
	}
}

func (p *Publisher) publishChain(topic string, chain []*message.Message) error {
	for i, msg := range chain {
		out := natsMessage(topic, msg)
		if p.fence {
			out.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(p.last+uint64(i), 10)}
		}
		out.Reply = p.inbox + "." + strconv.Itoa(i)
		if err := p.nc.PublishMsg(out); err != nil {
			return p.failed(msg, err)
		}
	}
	ctx, cancel := context.WithTimeout(chain[len(chain)-1].Context(), p.ackWait)
	defer cancel()
	ctx, lose := context.WithCancelCause(ctx)
	defer p.conn.untilLost(func() { lose(errLost) })()
	// All replies are awaited, also after a bad one, so that nothing is on its
	// way any more when the end of the NATS stream is read.
	var failure error
	for received := range chain {
		reply, err := p.replies.NextMsgWithContext(ctx)
		if err != nil {
			return p.failed(chain[received], fmt.Errorf("wait for the reply: %w", cmp.Or(context.Cause(ctx), err)))
		}
		i, err := strconv.Atoi(reply.Subject[len(p.inbox)+1:])
		if err != nil || i < 0 || i >= len(chain) {
			return p.failed(chain[received], errors.New("the reply is to another message"))
		}
		sequence, err := storedAt(reply)
		if expected := p.last + uint64(i) + 1; err == nil && p.fence && sequence != expected {
			err = fmt.Errorf("stored at sequence %d, not at %d", sequence, expected)
		}
		if err != nil && failure == nil {
			failure = p.failed(chain[i], err)
		}
	}
	return failure
}

// storedAt reads the sequence from JetStream's reply.
func storedAt(reply *nats.Msg) (uint64, error) {
	var answer struct {
		Error    *jetstream.APIError `json:"error"`
		Sequence uint64              `json:"seq"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return 0, fmt.Errorf("read the reply: %w", err)
	}
	if answer.Error != nil {
		return 0, answer.Error
	}
	if answer.Sequence == 0 {
		return 0, errors.New("the reply is not JetStream's")
	}
	return answer.Sequence, nil
}

// failed names the message by its position or, where it has none, its id.
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
