package events

import (
	"errors"
	"fmt"
	"slices"
)

// MaxQueryItems is how many items a query may have.
const MaxQueryItems = 8

// Query selects the events that match any of its items. There are no wildcards
// and no language. A query without items matches nothing.
type Query []QueryItem

// QueryItem matches events of any of the types (of every type where there are
// none) that carry all of the tags. At least one of both must be given. What it
// costs depends on how many events carry the first tag.
type QueryItem struct {
	Types []Type
	Tags  []Tag
}

// Matches reports whether the query selects an event of this type and tags.
func (q Query) Matches(t Type, tags []Tag) bool {
	return slices.ContainsFunc(q, func(item QueryItem) bool { return item.Matches(t, tags) })
}

// Matches reports whether the item selects an event of this type and tags. One that has
// neither types nor tags, which no query may have, would select every event.
func (i QueryItem) Matches(t Type, tags []Tag) bool {
	if len(i.Types) > 0 && !slices.Contains(i.Types, t) {
		return false
	}
	for _, tag := range i.Tags {
		if !slices.Contains(tags, tag) {
			return false
		}
	}
	return true
}

// Validate reports what makes the query unanswerable.
func (q Query) Validate() error {
	if len(q) > MaxQueryItems {
		return fmt.Errorf("a query has at most %d items, this one has %d", MaxQueryItems, len(q))
	}
	for _, item := range q {
		if len(item.Types) == 0 && len(item.Tags) == 0 {
			return errors.New("a query item needs a type or a tag")
		}
	}
	return nil
}

// AppendCondition makes an append fail with [ErrConflict] when an event that
// matches FailIfMatch exists after position After: the last one that the decision
// has taken into account, be it the head of the log or what snapshots stand for. It
// does so as well when the log does not reach that far: it went back since, and
// nobody knows what the decision rests on. The zero value always holds.
type AppendCondition struct {
	FailIfMatch Query
	After       Position
}

// Selection is a part of the log. What it asks for must all be true of an event;
// the zero value selects every event.
type Selection struct {
	Query Query    // events that match it; without items: every event
	Kind  Kind     // events of this kind of record, by their type ([Type.Entity]); only without a Query; empty: of every kind
	Types []Type   // with a Kind: only events of these types; none: of all
	Actor Actor    // events whose actor has these values, where they are not zero
	After Position // events after this position
	Until Position // events up to this position; 0: to the head of the log
}

// Matches reports whether the selection asks for an event of this actor, wherever
// that is in the log.
func (s Selection) Matches(e Event, actor Actor) bool {
	wants := s.Actor
	return (len(s.Query) == 0 || s.Query.Matches(e.Type, e.Tags)) && (s.Kind == "" || s.Kind == e.Type.Entity()) && (len(s.Types) == 0 || slices.Contains(s.Types, e.Type)) &&
		(wants.UserID == 0 || wants.UserID == actor.UserID) && (wants.Tool == "" || wants.Tool == actor.Tool) &&
		(wants.Operator == "" || wants.Operator == actor.Operator)
}

// Validate reports what makes the selection unanswerable.
func (s Selection) Validate() error {
	if s.Kind != "" && len(s.Query) > 0 {
		return errors.New("select events by kind or by query, not by both")
	}
	return s.Query.Validate()
}
