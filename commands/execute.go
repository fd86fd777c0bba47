package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
)

// maxTries is how often a command that met a conflict decides anew.
const maxTries = 10

// fact is an event of the history that a decision rests on.
type fact struct {
	position events.Position
	payload  events.Payload
}

// decision is what follows from a command: events, and the query for what must
// not have happened since the history was read. Without events nothing changes.
type decision struct {
	drafts    []draft
	condition events.Query
}

// draft is an event before it has an id. Where a decision has several, the first
// is the cause of the others.
type draft struct {
	payload events.Payload
	tags    []events.Tag
}

// execute runs one command and answers the position that it was decided on.
func (s *Service) execute(ctx context.Context, caller Caller, query events.Query,
	decide func(history []fact) (decision, error)) (events.Position, error) {
	for try := range maxTries {
		history, head, err := s.load(ctx, query)
		if err != nil {
			return 0, err
		}
		decided, err := decide(history)
		if err != nil || len(decided.drafts) == 0 {
			return head, err
		}
		evs, err := s.finish(caller, decided.drafts)
		if err != nil {
			return 0, err
		}
		last, err := s.Log.Append(ctx, evs, events.AppendCondition{FailIfMatch: decided.condition, After: head})
		if !errors.Is(err, events.ErrConflict) {
			return last, err
		}
		if err := sleepAfterConflict(ctx, try); err != nil {
			return 0, err
		}
	}
	return 0, ErrBusy
}

// load reads and decodes a history. A query without items needs none.
func (s *Service) load(ctx context.Context, query events.Query) ([]fact, events.Position, error) {
	if len(query) == 0 {
		return nil, 0, nil
	}
	recorded, head, err := s.Log.Load(ctx, query)
	if err != nil {
		return nil, 0, err
	}
	history := make([]fact, len(recorded))
	for i, e := range recorded {
		payload, err := s.Registry.Decode(e.Event)
		if err != nil {
			return nil, 0, fmt.Errorf("read event %d: %w", e.Position, err)
		}
		history[i] = fact{position: e.Position, payload: payload}
	}
	return history, head, nil
}

// finish turns drafts into events.
func (s *Service) finish(caller Caller, drafts []draft) ([]events.Event, error) {
	evs := make([]events.Event, len(drafts))
	metadata := events.Metadata{
		Actor:         events.Actor{UserID: caller.UserID, Tool: caller.Tool, Operator: caller.Operator},
		CorrelationID: caller.CorrelationID,
		RequestID:     caller.RequestID,
	}
	for i, d := range drafts {
		id, err := s.NewID()
		if err != nil {
			return nil, fmt.Errorf("make an event id: %w", err)
		}
		eventType, version, data, err := s.Registry.Encode(d.payload)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			metadata.CausationID = evs[0].ID.String()
		}
		context, err := json.Marshal(metadata)
		if err != nil {
			return nil, fmt.Errorf("encode metadata: %w", err)
		}
		evs[i] = events.Event{ID: id, Type: eventType, SchemaVersion: version, Tags: d.tags, Data: data, Metadata: context}
	}
	return evs, nil
}

// sleepAfterConflict keeps those who collided from colliding again.
func sleepAfterConflict(ctx context.Context, try int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << try))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// NewEventID makes the id of an event.
func NewEventID() (uuid.UUID, error) { return uuid.NewV7() }
