package feed

import (
	"context"
	"iter"

	"github.com/google/uuid"

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

// Place is where an event stands in the log. Positions alone do not tell one event from
// another: when the log was put back to an earlier state and has grown since, they are
// those of others.
type Place struct {
	Position events.Position // 0: before the first
	ID       uuid.UUID       // the nil UUID when it is not known
}

// Head answers where the last event stands.
func (h *Hub) Head(ctx context.Context) (Place, error) {
	position, err := h.log.Head(ctx)
	if err != nil || position == 0 {
		return Place{}, err
	}
	return h.at(ctx, position)
}

// Check makes sure that the log has an event where it stood, or else fails with
// [ErrWentBack]. While it has the event, it has all that were before that. Where the id is
// not known there is nothing to check.
func (h *Hub) Check(ctx context.Context, event Place) error {
	if event.ID == uuid.Nil {
		return nil
	}
	there, err := h.at(ctx, event.Position)
	if err == nil && there != event {
		err = ErrWentBack
	}
	return err
}

func (h *Hub) at(ctx context.Context, position events.Position) (Place, error) {
	found, err := h.log.Read(ctx, position-1, 1)
	if err != nil {
		return Place{}, err
	}
	if len(found) == 0 || found[0].Position != position {
		return Place{}, ErrWentBack
	}
	return Place{position, found[0].ID}, nil
}

const (
	// nearEnough is how many events are read and filtered rather than looked up.
	nearEnough = 5_000

	// nearFirst is how many are in any case, before the others are looked up: a page of
	// a filter that lets many through is full by then, and a look at all that come
	// after it would be repeated for each page.
	nearFirst = 2_000
)

// Read answers the events of the log that the filter lets through, after a position
// and up to another, in order and in constant memory.
func (h *Hub) Read(ctx context.Context, filter Filter, after, until events.Position) iter.Seq2[Event, error] {
	near := until
	if until-after > nearEnough {
		near = after + nearFirst
	}
	return func(yield func(Event, error) bool) {
		if until <= after {
			return
		}
		read := func(found iter.Seq2[events.Recorded, error]) bool {
			for e, err := range found {
				if err != nil {
					yield(Event{}, err)
					return false
				}
				if filter.Matches(e) && !yield(h.event(e), nil) {
					return false
				}
			}
			return true
		}
		if !read(h.log.Stream(ctx, events.Selection{After: after, Until: near})) || near == until {
			return
		}
		var streams []iter.Seq2[events.Recorded, error]
		for _, selected := range filter.selections() {
			selected.After, selected.Until = near, until
			streams = append(streams, h.log.Stream(ctx, selected))
		}
		read(merge(streams))
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
