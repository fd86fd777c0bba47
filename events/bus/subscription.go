package bus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// subscription is one call of Subscribe.
type subscription struct {
	*Subscriber
	topic string
	out   chan *message.Message // sent on and closed by the goroutine of run alone

	created time.Time // of the NATS stream that acked belongs to
	acked   uint64    // sequence of the last acknowledged message there
}

// run makes a consumer, forwards what it brings, and does so again when it
// fails, until ctx is done.
func (s *subscription) run(ctx context.Context) {
	defer close(s.out)
	const shortest, longest = 50 * time.Millisecond, 500 * time.Millisecond
	pause, failures := shortest, 0
	works := func() {
		if failures >= 3 {
			s.cfg.Logger.Info("receiving from the NATS stream again", "stream", s.cfg.Stream)
		}
		pause, failures = shortest, 0
		s.err.Store(nil)
	}
	for {
		err := s.consume(ctx, works)
		if ctx.Err() != nil {
			return
		}
		s.err.Store(&err)
		s.cfg.Conn.metrics.restarts.Inc()
		failures++
		level := slog.LevelDebug
		if failures == 3 { // not for a hiccup, and once per outage
			level = slog.LevelWarn
		}
		s.cfg.Logger.Log(ctx, level, "not receiving from the NATS stream, trying on", "stream", s.cfg.Stream, "error", err)
		wait(ctx, pause)
		pause = min(2*pause, longest)
	}
}

// consume makes a consumer, says that it works, and sends batches until it
// fails or ctx is done. Reading goes on while a batch waits for its
// acknowledgement, so the next one is as large as the handler is slow. What was
// read before a failure is still sent.
func (s *subscription) consume(ctx context.Context, works func()) error {
	// What the server sent while the connection broke is lost, without a trace
	// if nothing follows: a connection that was lost is a failed consumer.
	lost := s.cfg.Conn.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer s.cfg.Conn.nc.RemoveStatusListener(lost)
	messages, err := s.open(ctx)
	if err != nil {
		return err
	}
	works()

	reading, stop := context.WithCancel(ctx)
	fetched := make(chan jetstream.Msg, s.cfg.MaxEvents)
	var failure error // after fetched is closed
	var readers sync.WaitGroup
	readers.Go(func() {
		defer close(fetched)
		defer messages.Stop()
		failure = read(reading, messages, fetched)
	})
	readers.Go(func() {
		select {
		case <-lost:
			stop()
		case <-reading.Done():
		}
	})
	defer readers.Wait()
	defer stop()

	batches := collector{in: fetched, maxEvents: s.cfg.MaxEvents, maxBytes: s.cfg.MaxBytes, groupWait: s.cfg.GroupWait}
	for {
		batch, ok := batches.next(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !ok:
			return failure
		}
		if err := s.deliver(ctx, batch); err != nil {
			return err
		}
	}
}

// open makes an ordered consumer: one that lives in the server's memory, knows
// no acknowledgements and is made anew at every failure. That of the client
// library would then go on behind the last sequence, even on a NATS stream
// that was wiped meanwhile, and cannot be interrupted in doing so.
func (s *subscription) open(ctx context.Context) (jetstream.MessagesContext, error) {
	if err := s.cfg.Conn.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	defer s.cfg.Conn.untilLost(cancel)()
	stream, err := s.cfg.Conn.js.Stream(ctx, s.cfg.Stream)
	if err != nil {
		return nil, fmt.Errorf("look up the NATS stream %s: %w", s.cfg.Stream, err)
	}
	start, err := s.start(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("find where to start on the NATS stream %s: %w", s.cfg.Stream, err)
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject:     s.topic,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       max(start, 1),
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute, // then the server forgets it
	})
	if err != nil {
		return nil, fmt.Errorf("make a consumer of the NATS stream %s: %w", s.cfg.Stream, err)
	}
	messages, err := consumer.Messages(
		jetstream.PullExpiry(10*time.Second),
		jetstream.PullHeartbeat(2*time.Second), // a consumer gone without a word is noticed after two
	)
	if err != nil {
		return nil, fmt.Errorf("read from the NATS stream %s: %w", s.cfg.Stream, err)
	}
	return messages, nil
}

func (s *subscription) start(ctx context.Context, stream jetstream.Stream) (uint64, error) {
	if s.cfg.Start != nil {
		return s.cfg.Start(ctx, stream)
	}
	if created := stream.CachedInfo().Created; !created.Equal(s.created) {
		s.created, s.acked = created, 0 // the NATS stream was deleted and made again
	}
	return s.acked + 1, nil
}

// read moves messages from a new consumer to a channel until it fails.
func read(ctx context.Context, messages jetstream.MessagesContext, fetched chan<- jetstream.Msg) error {
	for delivery := uint64(1); ; delivery++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return errLost
		}
		if err != nil {
			return fmt.Errorf("read from the NATS stream: %w", err)
		}
		metadata, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read from the NATS stream: %w", err)
		}
		if metadata.Sequence.Consumer != delivery {
			return fmt.Errorf("read from the NATS stream: delivery %d came in place of %d", metadata.Sequence.Consumer, delivery)
		}
		select {
		case fetched <- msg:
		case <-ctx.Done():
		}
	}
}

// deliver sends a batch until it is acknowledged.
func (s *subscription) deliver(ctx context.Context, batch Batch) error {
	for {
		acked, err := s.send(ctx, batch)
		if err != nil {
			return err
		}
		if acked {
			s.acked = batch.sequence(batch.Len() - 1)
			return nil
		}
		wait(ctx, s.cfg.NackDelay)
	}
}

func (s *subscription) send(ctx context.Context, batch Batch) (acked bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	msg := batch.message(ctx)
	select {
	case s.out <- msg:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case <-msg.Acked():
		return true, nil
	case <-msg.Nacked():
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// wait returns after d or when ctx is done.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
