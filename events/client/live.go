package client

import (
	"context"
	"crypto/rand"
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
	messages, stop, err := f.subscribe(ctx)
	if err != nil {
		if f.told != err.Error() && ctx.Err() == nil {
			f.told = err.Error()
			f.config.Logger.Warn("events come over HTTP: NATS cannot be followed; a subscriber's account needs the Domain carelog", "domain", f.config.Domain, "error", err)
		}
		pause(ctx, f.config.Poll) // meanwhile HTTP has to do
		return nil
	}
	defer stop()
	f.told = ""
	if err := f.catchUp(ctx); err != nil { // what happened until then
		return err
	}
	var came events.Position // the last that came this way
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
		number, err := strconv.ParseInt(message.Headers().Get(positionHeader), 10, 64)
		if err != nil {
			continue // no event
		}
		position := events.Position(number)
		if position <= came { // the stream begins anew: is the log another one, too?
			if err := f.catchUp(ctx); err != nil {
				return err
			}
		}
		came = position
		if position > f.at.Position+1 { // what is between is missing there
			if err := f.fill(ctx, position-1); err != nil {
				return err
			}
			if f.at.Position < position-1 { // nor does the API have it
				return &passing{fmt.Errorf("event %d came over NATS, and the log ends at %d", position, f.at.Position)}
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

// subscribe begins a consumer of what comes onto the NATS stream from now on, in the
// server's memory: the position is all that needs to be remembered. It is not one of
// the client library's ordered consumers: these try for ever, whatever the context says,
// and that nothing is missing the positions tell anyway.
func (f *follower) subscribe(ctx context.Context) (messages jetstream.MessagesContext, stop func(), err error) {
	js, err := jetstream.New(f.config.NATS)
	if f.config.Domain != "" {
		js, err = jetstream.NewWithDomain(f.config.NATS, f.config.Domain)
	}
	if err != nil {
		return nil, nil, err
	}
	making, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	name := rand.Text()
	consumer, err := js.CreateConsumer(making, f.config.Stream, jetstream.ConsumerConfig{
		Name:              name,
		DeliverPolicy:     jetstream.DeliverNewPolicy,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: time.Minute, // where it cannot be deleted
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return nil, nil, err
	}
	remove := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if f.config.NATS.IsConnected() {
			_ = js.DeleteConsumer(ctx, f.config.Stream, name) // or else it is forgotten in a while
		}
	}
	if messages, err = consumer.Messages(); err != nil {
		remove()
		return nil, nil, err
	}
	return messages, func() {
		messages.Stop()
		remove()
	}, nil
}
