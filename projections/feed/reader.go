package feed

import (
	"context"
	"iter"

	"github.com/carelog/carelog/events"
)

// Log is what is read.
type Log interface {
	// Stream answers the events of a selection in order.
	Stream(context.Context, events.Selection) iter.Seq2[events.Recorded, error]

	// Read answers at most limit events that follow a position, in order.
	Read(ctx context.Context, after events.Position, limit int) ([]events.Recorded, error)

	// Head is the position of the last event.
	Head(context.Context) (events.Position, error)
}

// nearEnough is how many events are read and filtered rather than looked up.
const nearEnough = 5_000

// Read answers the events of the log that the filter lets through, after a position
// and up to another, in order and in constant memory.
func (h *Hub) Read(ctx context.Context, filter Filter, after, until events.Position) iter.Seq2[Event, error] {
	selections := filter.selections()
	if until-after <= nearEnough {
		selections = []events.Selection{{}}
	}
	var streams []iter.Seq2[events.Recorded, error]
	for _, selected := range selections {
		selected.After, selected.Until = after, until
		streams = append(streams, h.log.Stream(ctx, selected))
	}
	return func(yield func(Event, error) bool) {
		if until <= after {
			return
		}
		for e, err := range merge(streams) {
			if err != nil {
				yield(Event{}, err)
				return
			}
			if filter.Matches(e) && !yield(h.event(e), nil) {
				return
			}
		}
	}
}

// merge makes one stream in order of several.
func merge(streams []iter.Seq2[events.Recorded, error]) iter.Seq2[events.Recorded, error] {
	switch len(streams) {
	case 0:
		return func(func(events.Recorded, error) bool) {}
	case 1:
		return streams[0]
	case 2:
	default:
		return merge([]iter.Seq2[events.Recorded, error]{streams[0], merge(streams[1:])})
	}
	return func(yield func(events.Recorded, error) bool) {
		next, stop := iter.Pull2(streams[1])
		defer stop()
		other, err, more := next()
		for e, failed := range streams[0] {
			for more && err == nil && failed == nil && other.Position < e.Position {
				if !yield(other, nil) {
					return
				}
				other, err, more = next()
			}
			if more && err != nil {
				failed = err
			}
			if !yield(e, failed) || failed != nil {
				return
			}
		}
		for more {
			if !yield(other, err) || err != nil {
				return
			}
			other, err, more = next()
		}
	}
}
