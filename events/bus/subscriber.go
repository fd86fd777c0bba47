package bus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"
)

// SubscriberConfig configures a [Subscriber].
type SubscriberConfig struct {
	Conn   *Conn
	Stream string // the NATS stream; default StreamName

	// Start tells the sequence of the NATS stream to begin with, each time that
	// a consumer is made. Without it a subscription begins with the oldest message
	// there is and goes on behind the last acknowledged one.
	Start func(context.Context, jetstream.Stream) (uint64, error)

	MaxEvents int // in a batch; default 500
	MaxBytes  int // of payload after which a batch takes no more; default 4 MiB

	// GroupWait bounds how long a batch waits for the rest of an append group
	// whose beginning is there; default 20 ms.
	GroupWait time.Duration

	NackDelay time.Duration // before a batch that was nacked comes again; default 100 ms
	Logger    *slog.Logger  // default: slog.Default()
}

// Subscriber is a Watermill subscriber to a JetStream NATS stream. The topic is
// a NATS subject filter.
//
// Every Watermill message carries a [Batch], and the next one is sent when it
// was acknowledged: order is kept. A nack brings the same batch again as a new
// message. The place on the NATS stream is kept in memory only; there are no
// consumer groups, each subscription receives everything.
//
// Whatever happens to the connection, the NATS stream or the consumer, the
// subscription goes on as soon as it can, and the channel stays open. In the
// meantime [Subscriber.Err] says what is wrong.
//
// It is safe for concurrent use and does not own the connection.
type Subscriber struct {
	cfg     SubscriberConfig
	err     atomic.Pointer[error]
	closing context.Context // done when Close was called
	close   context.CancelFunc

	mu sync.Mutex // so that no subscription begins once Close waits
	wg sync.WaitGroup
}

// NewSubscriber returns a Subscriber on the connection.
func NewSubscriber(cfg SubscriberConfig) *Subscriber {
	if cfg.Stream == "" {
		cfg.Stream = StreamName
	}
	if cfg.MaxEvents == 0 {
		cfg.MaxEvents = 500
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 4 << 20
	}
	if cfg.GroupWait == 0 {
		cfg.GroupWait = 20 * time.Millisecond
	}
	if cfg.NackDelay == 0 {
		cfg.NackDelay = 100 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Subscriber{cfg: cfg}
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// Subscribe implements [message.Subscriber]. It returns at once, also when NATS
// cannot be reached or the NATS stream is not there yet.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", topic, errClosed)
	}
	sub := &subscription{Subscriber: s, topic: topic, out: make(chan *message.Message)}
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(s.closing, cancel)
	s.wg.Go(func() {
		defer unlink()
		defer cancel()
		sub.run(ctx)
	})
	return sub.out, nil
}

// Close implements [message.Subscriber]: it ends all subscriptions and waits
// until their channels are closed.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.close()
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Err is nil while the latest consumer works, else it says why there is none.
func (s *Subscriber) Err() error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}
