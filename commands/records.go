package commands

import (
	"context"

	"github.com/carelog/carelog/events"
)

// basis is what a decision rests on: the events that a query selects, or what the
// read tables say of the records that those events are about, with the events
// since. Without records only the log counts.
type basis struct {
	query   events.Query
	records events.Subjects
}

// recall answers what the read tables know of a basis, as facts that stand for all
// events up to a position; 0 where the log must be read from its beginning.
//
// The event of an earlier request with the same key may be among those that the
// facts stand for. It is looked for after the facts were read: so the log was
// read at least as far as the tables are, and what it does not have the query
// selects after them. Where it is there, the answer is to be built from the history
// before it.
func (s *Service) recall(ctx context.Context, request repeatable, on basis) ([]fact, events.Position, error) {
	if s.Records == nil || on.records == (events.Subjects{}) {
		return nil, 0, nil
	}
	snapshots, at, err := s.Records.Snapshots(ctx, on.records)
	if err != nil || at == 0 {
		return nil, 0, err
	}
	if earlier, _, err := s.load(ctx, request.extend(nil), 0); err != nil || len(earlier) > 0 {
		return nil, 0, err
	}
	facts := make([]fact, len(snapshots))
	for i, snapshot := range snapshots {
		facts[i] = fact{events.Recorded{Position: snapshot.Position}, snapshot.Payload}
	}
	return facts, at, nil
}
