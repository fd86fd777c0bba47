package bus

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

// Batch is what one Watermill message of a [Subscriber] carries: one or more
// consecutive messages of the NATS stream.
type Batch struct {
	msgs []jetstream.Msg
}

type batchKey struct{}

// BatchFrom returns the batch in the context of a message from a [Subscriber].
func BatchFrom(ctx context.Context) (batch Batch, ok bool) {
	batch, ok = ctx.Value(batchKey{}).(Batch)
	return batch, ok
}

// Len is how many NATS messages the batch holds, 1 or more.
func (b Batch) Len() int { return len(b.msgs) }

// Event decodes the i-th message: the log it comes from and the event. The
// event may share memory with the message.
func (b Batch) Event(i int) (log uuid.UUID, e events.Recorded, err error) {
	return decode(b.msgs[i].Data(), b.msgs[i].Headers().Get(HeaderGroupEnd))
}

// sequence is the place of the i-th message on the NATS stream.
func (b Batch) sequence(i int) uint64 {
	metadata, err := b.msgs[i].Metadata()
	if err != nil {
		return 0 // no message that JetStream delivers is without
	}
	return metadata.Sequence.Stream
}

// message returns a new Watermill message for the batch. A batch of one looks
// as it was published; the payload of a larger one is empty and its UUID says
// the first and the last position.
func (b Batch) message(ctx context.Context) *message.Message {
	var msg *message.Message
	if first, last := b.msgs[0], b.msgs[len(b.msgs)-1]; len(b.msgs) == 1 {
		msg = watermillMessage(first)
	} else {
		msg = message.NewMessage(first.Headers().Get(HeaderPosition)+"-"+last.Headers().Get(HeaderPosition), nil)
	}
	msg.SetContext(context.WithValue(ctx, batchKey{}, b))
	return msg
}

// collector makes batches of what a channel holds.
type collector struct {
	in        <-chan jetstream.Msg
	maxEvents int
	maxBytes  int
	groupWait time.Duration
}

// next waits for one message and takes what else is there already. It waits
// for more only when the last one says that its append group goes on, and then
// for groupWait at most in all. ok is false when in is closed or ctx is done.
func (c *collector) next(ctx context.Context) (batch Batch, ok bool) {
	var bytes int
	add := func(msg jetstream.Msg) {
		batch.msgs = append(batch.msgs, msg)
		bytes += len(msg.Data())
	}
	select {
	case msg, open := <-c.in:
		if !open {
			return Batch{}, false
		}
		add(msg)
	case <-ctx.Done():
		return Batch{}, false
	}
	var late *time.Timer
	for len(batch.msgs) < c.maxEvents && bytes < c.maxBytes {
		select {
		case msg, open := <-c.in:
			if !open {
				return batch, true
			}
			add(msg)
			continue
		default:
		}
		if !groupGoesOn(batch.msgs[len(batch.msgs)-1]) {
			return batch, true
		}
		if late == nil {
			late = time.NewTimer(c.groupWait)
			defer late.Stop()
		}
		select {
		case msg, open := <-c.in:
			if !open {
				return batch, true
			}
			add(msg)
		case <-late.C:
			return batch, true
		case <-ctx.Done():
			return Batch{}, false
		}
	}
	return batch, true
}

// groupGoesOn reports whether events of the same append transaction follow.
func groupGoesOn(msg jetstream.Msg) bool {
	end := parsePosition(msg.Headers().Get(HeaderGroupEnd))
	return end > 0 && parsePosition(msg.Headers().Get(HeaderPosition)) < end
}
