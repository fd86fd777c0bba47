package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

// positionHeader is the header of a message with the event's position.
const positionHeader = "Carelog-Position"

// live hands over what happens, until something goes wrong; then the log has to be
// read before it can go on.
func (f *follower) live(ctx context.Context) error {
	if f.config.NATS == nil {
		pause(ctx, f.config.Poll)
		return nil
	}
	messages, err := f.subscribe(ctx)
	if err != nil {
		pause(ctx, f.config.Poll) // meanwhile HTTP has to do
		f.config.Logger.Warn("events come over HTTP: NATS cannot be followed", "error", err)
		return nil
	}
	defer messages.Stop()
	if err := f.catchUp(ctx); err != nil { // what happened until then
		return err
	}
	for {
		message, err := f.next(ctx, messages)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded): // silence: because nothing happens, or is something lost?
			if err := f.catchUp(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return &passing{fmt.Errorf("read from the NATS stream: %w", err)}
		}
		position, err := strconv.ParseInt(message.Headers().Get(positionHeader), 10, 64)
		if err != nil {
			continue // no event
		}
		if events.Position(position) > f.position+1 { // what is between is missing there
			if err := f.fill(ctx, events.Position(position)-1); err != nil {
				return err
			}
		}
		if err := f.take(ctx, message.Data()); err != nil {
			return err
		}
	}
}

// next is the next message, within Config.Poll.
func (f *follower) next(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, f.config.Poll)
	defer cancel()
	return messages.Next(jetstream.NextContext(ctx))
}

// subscribe begins a consumer of what comes onto the NATS stream from now on. It is an
// ordered one, in the server's memory: the position is all that needs to be remembered.
func (f *follower) subscribe(ctx context.Context) (jetstream.MessagesContext, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	js, err := jetstream.New(f.config.NATS)
	if f.config.Domain != "" {
		js, err = jetstream.NewWithDomain(f.config.NATS, f.config.Domain)
	}
	if err != nil {
		return nil, err
	}
	consumer, err := js.OrderedConsumer(ctx, f.config.Stream, jetstream.OrderedConsumerConfig{
		NamePrefix:    f.config.Name,
		DeliverPolicy: jetstream.DeliverNewPolicy,
	})
	if err != nil {
		return nil, err
	}
	return consumer.Messages()
}
