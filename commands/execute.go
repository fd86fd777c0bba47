package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/tracing"
)

// A command that met a conflict decides anew, at most so often and so long; after
// the first time it has its turn ([turns]), so that only other processes are in
// its way.
const (
	maxTries  = 100
	retryTime = 3 * time.Second
)

// fact is an event of the history that a decision rests on, or stands for all that
// have made a record what it is.
type fact struct {
	events.Recorded
	payload events.Payload
}

// decision is what follows from a command: events, the query for what must not have
// happened since the history was read, and the tag of a new record: no event may have
// it. Ids are drawn once, but a database that goes back to an earlier state draws some
// again. Without events nothing changes.
type decision struct {
	drafts    []draft
	condition events.Query
	unused    events.Tag
}

// conditions are those of the append.
func (d decision) conditions(request repeatable, head events.Position, standing events.AppendCondition) []events.AppendCondition {
	conditions := []events.AppendCondition{{FailIfMatch: request.extend(d.condition), After: head}, standing}
	if d.unused != "" {
		conditions = append(conditions, events.AppendCondition{FailIfMatch: events.Query{{Tags: []events.Tag{d.unused}}}})
	}
	return conditions
}

// draft is an event before it has an id. Where a decision has several, the first
// is the cause of the others.
type draft struct {
	payload events.Payload
	tags    []events.Tag
}

// execute runs one command. It answers the history that the answer is built
// from, which ends with the command's own events where it led to any, and the
// position that was decided on. With an error there is no history.
//
// It decides first by what the read tables say, without reading the log. That
// counts only if it leads to events and these can be appended on the condition
// that nothing which matters was appended after the position of the tables. A
// refusal, and that nothing changes, is for the log to say: then, and after a
// conflict, the events since are read as well. What the tables said is true of
// their position for ever, so they are read once.
//
// A command with an idempotency key is decided on the event that has the key's
// tag, too: it is in the query and in the condition. So of those that run at
// once one appends, and the others find its event when they decide anew.
func (s *Service) execute(ctx context.Context, caller Caller, command any, on basis,
	decide func(history []fact) (decision, error)) ([]fact, events.Position, error) {
	request, err := s.repeatable(caller, command)
	if err != nil {
		return nil, 0, err
	}
	ctx, span := tracing.Start(ctx, "decide")
	defer span.End()
	query := request.extend(on.query)
	if err := s.turns.await(ctx, query); err != nil {
		return nil, 0, err
	}
	known, at, err := s.recall(ctx, request, on)
	if err != nil {
		return nil, 0, err
	}
	started := time.Now()
	for try := 0; try < maxTries && time.Since(started) < retryTime; try++ {
		tellTries(span, try+1)
		if try > 0 {
			s.Metrics.retry()
		}
		history, head := known, at
		var decided decision
		if try == 0 && at > 0 {
			decided, _ = decide(known)
		}
		if len(decided.drafts) == 0 {
			history, head, decided, err = s.decideByLog(ctx, request, query, known, at, decide)
			if err != nil || len(decided.drafts) == 0 {
				if refused := caller.check(ctx); refused != nil { // no append has checked it
					return nil, 0, refused
				}
				return history, head, err
			}
		}
		evs, err := s.finish(caller, request, decided.drafts)
		if err != nil {
			return nil, 0, err
		}
		last, err := s.Log.Append(ctx, evs, decided.conditions(request, head, caller.standing())...)
		if err == nil {
			return follow(history, evs, decided.drafts, last), last, nil
		}
		if !errors.Is(err, events.ErrConflict) {
			return nil, last, err
		}
		refused := caller.check(ctx)
		s.Metrics.conflict(refused)
		if refused != nil {
			return nil, 0, refused
		}
		if try == 0 && len(query) > 0 {
			end, err := s.turns.take(ctx, query[0].Tags[0])
			if err != nil {
				return nil, 0, err
			}
			defer end()
			started = time.Now()
			continue
		}
		if err := sleepAfterConflict(ctx, try); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, s.Metrics.giveUp()
}

// decideByLog decides on what is known up to a position and the events that follow
// it in the log, up to the head. Where it leads to no events, the history and the
// position are those that the answer is built from.
func (s *Service) decideByLog(ctx context.Context, request repeatable, query events.Query, known []fact, at events.Position,
	decide func([]fact) (decision, error)) (history []fact, head events.Position, decided decision, err error) {
	since, head, err := s.load(ctx, query, at)
	if err != nil {
		return nil, 0, decision{}, err
	}
	if head < at { // the log went back to an earlier state under this command
		return s.decideByLog(ctx, request, query, nil, 0, decide)
	}
	history = slices.Concat(known, since)
	end, err := request.carriedOut(history)
	if err != nil {
		return nil, head, decision{}, err
	}
	if end > 0 {
		return history[:end], history[end-1].Position, decision{}, nil
	}
	if decided, err = decide(history); err != nil {
		return nil, head, decision{}, err
	}
	return history, head, decided, nil
}

// follow adds to a history what was appended, the last event at this position.
func follow(history []fact, evs []events.Event, drafts []draft, last events.Position) []fact {
	before := last - events.Position(len(evs))
	for i, e := range evs {
		recorded := events.Recorded{Event: e, Position: before + events.Position(i+1)}
		history = append(history, fact{recorded, drafts[i].payload})
	}
	return history
}

// last is the payload of the last event of a history, where that is a P.
func last[P events.Payload](history []fact) (payload P) {
	if n := len(history); n > 0 {
		payload, _ = history[n-1].payload.(P)
	}
	return payload
}

// triesOfAnID is how often a decision is made with one id. Most conflicts are not about
// it, and another would leave a gap; but the id may be what is in the way.
const triesOfAnID = 4

// nextID draws the id of a new record when it is asked for one, and answers the
// same when a conflict makes the command decide again, triesOfAnID in all; then it
// draws another.
func (s *Service) nextID(ctx context.Context, kind events.Kind) func() (int64, error) {
	var (
		asked int
		id    int64
		err   error
	)
	return func() (int64, error) {
		if asked%triesOfAnID == 0 {
			id, err = s.Log.NextID(ctx, kind)
		}
		asked++
		return id, err
	}
}

// load reads and decodes the history after a position. A query without items
// needs none.
func (s *Service) load(ctx context.Context, query events.Query, after events.Position) ([]fact, events.Position, error) {
	if len(query) == 0 {
		return nil, 0, nil
	}
	recorded, head, err := s.Log.Load(ctx, query, after)
	if err != nil {
		return nil, 0, err
	}
	history := make([]fact, len(recorded))
	for i, e := range recorded {
		payload, err := s.Registry.Decode(e.Event)
		if err != nil {
			return nil, 0, fmt.Errorf("read event %d: %w", e.Position, err)
		}
		history[i] = fact{e, payload}
	}
	return history, head, nil
}

// finish turns drafts into events.
func (s *Service) finish(caller Caller, request repeatable, drafts []draft) ([]events.Event, error) {
	evs := make([]events.Event, len(drafts))
	metadata := events.Metadata{
		Actor:         events.Actor{UserID: caller.UserID, Tool: caller.Tool, Operator: caller.Operator},
		CorrelationID: caller.CorrelationID,
		RequestID:     caller.RequestID,
		TraceParent:   caller.TraceParent,
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
		metadata.Fingerprint = request.fingerprint
		if i > 0 {
			metadata.CausationID, metadata.Fingerprint = evs[0].ID.String(), ""
		} else if request.tag != "" {
			d.tags = append(slices.Clip(d.tags), request.tag)
		}
		context, err := json.Marshal(metadata)
		if err != nil {
			return nil, fmt.Errorf("encode metadata: %w", err)
		}
		evs[i] = events.Event{ID: id, Type: eventType, SchemaVersion: version, Tags: d.tags, Data: data, Metadata: context}
	}
	return evs, nil
}

// sleepAfterConflict keeps processes that collided from colliding again.
func sleepAfterConflict(ctx context.Context, try int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << min(try, 6)))
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
