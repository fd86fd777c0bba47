package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

// Log is where the feed reads what the NATS stream does not bring, and where the Carrier
// looks whether it holds what the NATS stream does.
type Log interface {
	// Read answers up to limit events after the position, in order.
	Read(ctx context.Context, after events.Position, limit int) ([]events.Recorded, error)
}

// FeedConfig configures a [Feed].
type FeedConfig struct {
	Conn  *Conn
	LogID uuid.UUID
	Log   Log

	// Position tells the position up to which everything is applied. It is asked
	// from Run on and may run ahead of the feed.
	Position func() events.Position

	// Deliver applies events from the NATS stream, consecutive ones that
	// continue after Position as it was a moment before; what it has already, it must
	// skip. An error that is an events.ErrUnavailable is tried again for ever,
	// any other ends the feed.
	Deliver func(context.Context, []events.Recorded) error

	// Fill is Deliver for events that were read from the log; default Deliver.
	Fill func(context.Context, []events.Recorded) error

	MaxEvents int          // in one Deliver; default 500
	Logger    *slog.Logger // default: slog.Default()
}

// Feed brings the events of the log, in order and without a gap, from the NATS
// stream to whoever applies them. It runs once.
type Feed struct {
	cfg        FeedConfig
	subscriber *Subscriber
	router     *message.Router
	fail       context.CancelCauseFunc // ends Run
	err        atomic.Pointer[error]   // of the latest batch
}

// NewFeed returns a Feed; nothing happens before [Feed.Run].
func NewFeed(cfg FeedConfig) (*Feed, error) {
	if cfg.Fill == nil {
		cfg.Fill = cfg.Deliver
	}
	if cfg.MaxEvents == 0 {
		cfg.MaxEvents = 500
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	f := &Feed{cfg: cfg}
	f.subscriber = NewSubscriber(SubscriberConfig{
		Conn:      cfg.Conn,
		MaxEvents: cfg.MaxEvents,
		Logger:    cfg.Logger,
		Start: func(ctx context.Context, stream jetstream.Stream) (uint64, error) {
			return sequenceAfter(ctx, stream, cfg.Position())
		},
	})
	// Watermill tells about its own starting and stopping on level Info.
	logger := watermill.NewSlogLoggerWithLevelMapping(cfg.Logger, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})
	router, err := message.NewRouter(message.RouterConfig{}, logger)
	if err != nil {
		return nil, fmt.Errorf("make the feed's router: %w", err)
	}
	retry := middleware.Retry{
		MaxRetries:          math.MaxInt32,
		InitialInterval:     50 * time.Millisecond,
		MaxInterval:         time.Second,
		Multiplier:          1.5,
		RandomizationFactor: 0.5,
		ShouldRetry: func(attempt middleware.RetryParams) bool {
			if !errors.Is(attempt.Err, events.ErrUnavailable) {
				return false
			}
			f.note(attempt.Err)
			return true
		},
	}
	router.AddMiddleware(f.endOnError, retry.Middleware, middleware.Recoverer)
	router.AddConsumerHandler("feed", AllSubjects, f.subscriber, f.handle)
	f.router = router
	return f, nil
}

// Run delivers events until ctx is done, then it returns nil, or until Deliver
// or Log.Read fail for good, then it returns that error. The events of a failed
// delivery count as not delivered.
func (f *Feed) Run(ctx context.Context) error {
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	f.fail = fail
	err := f.router.Run(running)
	f.subscriber.Close() // waits for its goroutines, and has no error
	switch {
	case ctx.Err() != nil:
		return nil
	case context.Cause(running) != nil:
		return context.Cause(running)
	case err != nil:
		return fmt.Errorf("run the feed's router: %w", err)
	}
	return errors.New("the feed's router ended by itself")
}

// Running is closed once Run has begun. It does not wait for NATS.
func (f *Feed) Running() <-chan struct{} { return f.router.Running() }

// Err is nil while all is well. Else it says what keeps events from coming by
// NATS: no connection, no NATS stream, an event of another log
// (*[OtherLogError]), or what Deliver failed with and is tried again.
func (f *Feed) Err() error {
	if err := f.cfg.Conn.Err(); err != nil {
		return err
	}
	if err := f.subscriber.Err(); err != nil {
		return err
	}
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// note remembers what is wrong and logs it once.
func (f *Feed) note(err error) {
	before := f.err.Swap(&err)
	if before == nil || (*before).Error() != err.Error() {
		f.cfg.Logger.Warn("the feed is in trouble", "error", err)
	}
}

// endOnError ends Run with the first error that comes so far.
func (f *Feed) endOnError(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		produced, err := h(msg)
		if err != nil && msg.Context().Err() == nil {
			f.fail(err)
		}
		return produced, err
	}
}

// handle delivers what is new in a batch, and before it what is missing. What
// cannot be used is noted and dropped: it is not applied, so whatever comes
// next finds the gap and has it filled from the log.
func (f *Feed) handle(msg *message.Message) error {
	ctx := msg.Context()
	batch, ok := BatchFrom(ctx)
	if !ok {
		return errors.New("a message without a batch reached the feed")
	}
	var trouble error
	after := f.cfg.Position() // everything up to here is applied
	next := make([]events.Recorded, 0, batch.Len())
	flush := func() error {
		if len(next) == 0 {
			return nil
		}
		if err := f.cfg.Deliver(ctx, next); err != nil {
			return fmt.Errorf("deliver positions %d to %d: %w", next[0].Position, next[len(next)-1].Position, err)
		}
		after = next[len(next)-1].Position
		next = next[len(next):]
		return nil
	}
	for i := range batch.Len() {
		log, e, err := batch.Event(i)
		if err != nil {
			trouble = fmt.Errorf("message %d of the NATS stream %s: %w", batch.sequence(i), StreamName, err)
			continue
		}
		if log != f.cfg.LogID {
			trouble = &OtherLogError{Log: f.cfg.LogID, Found: log.String()}
			continue
		}
		if e.Position > after+events.Position(len(next))+1 {
			if err := flush(); err != nil {
				return err
			}
			if after, err = f.fill(ctx, after, e.Position); err != nil {
				return err
			}
			if e.Position > after+1 {
				trouble = fmt.Errorf("the NATS stream %s holds position %d, but the log ends with %d", StreamName, e.Position, after)
				continue
			}
		}
		if e.Position == after+events.Position(len(next))+1 {
			next = append(next, e)
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if trouble != nil {
		f.note(trouble)
	} else {
		f.err.Store(nil)
	}
	return nil
}

// fill delivers from the log what lies between two positions, both excluded,
// as far as the log has it. It answers up to where everything is applied now,
// which may be further if somebody else applied events meanwhile.
func (f *Feed) fill(ctx context.Context, after, until events.Position) (events.Position, error) {
	for after+1 < until {
		limit := min(int64(f.cfg.MaxEvents), int64(until-after-1))
		missing, err := f.cfg.Log.Read(ctx, after, int(limit))
		if err != nil {
			return after, fmt.Errorf("read the log after position %d: %w", after, err)
		}
		if len(missing) == 0 {
			return after, nil
		}
		last := missing[len(missing)-1].Position
		if err := f.cfg.Fill(ctx, missing); err != nil {
			return after, fmt.Errorf("deliver positions %d to %d of the log: %w", missing[0].Position, last, err)
		}
		f.cfg.Conn.metrics.filled.Add(float64(len(missing)))
		after = max(last, f.cfg.Position())
	}
	return after, nil
}
