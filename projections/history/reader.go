package history

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// Log is what is read.
type Log interface {
	// Stream answers the events of a selection in order, up to the head of the log.
	Stream(context.Context, events.Selection) iter.Seq2[events.Recorded, error]
}

// Reader answers what the log tells about records. All methods may be called
// concurrently; they fail with an error that wraps [events.ErrUnavailable] when
// the log cannot be reached, and with an [events.UnknownTypeError] for an event
// that a newer program wrote.
type Reader struct {
	Log      Log
	Registry *events.Registry
}

// Viewer is who asks.
type Viewer struct {
	User int64 // sees what is about own records, and about doctors
	All  bool  // sees everything: an auditor, an operator
}

// Subject names a record.
type Subject struct {
	Kind events.Kind
	ID   int64
}

// String is like "patient/42".
func (s Subject) String() string { return string(s.Kind) + "/" + strconv.FormatInt(s.ID, 10) }

// Tag is on every event about the record.
func (s Subject) Tag() events.Tag {
	switch s.Kind {
	case events.Patient:
		return events.PatientTag(s.ID)
	case events.Doctor:
		return events.DoctorTag(s.ID)
	case events.Mapping:
		return events.MappingTag(s.ID)
	}
	return events.UserTag(s.ID)
}

// Entry is an event of a record's history.
type Entry struct {
	Position      events.Position
	ID            uuid.UUID
	Type          events.Type
	Subject       Subject // in a patient's history also a mapping
	RecordedAt    time.Time
	Actor         events.Actor
	ActorName     string // as of then; empty when the viewer may not know it, or it is no user
	CorrelationID string
	CausationID   string
	RequestID     string
	Changes       []Change // in the order of the API
}

// Page is a part of a history.
type Page struct {
	Entries []Entry
	More    bool // entries follow
}

// History answers the events about a record, oldest first: those after a position,
// at most limit of them. Those of a patient and of a doctor include the mappings'.
// It fails with [projections.ErrNotFound] when there was never an event that the
// viewer may see; it goes on after the record was removed.
func (r *Reader) History(ctx context.Context, of Subject, viewer Viewer, after events.Position, limit int) (Page, error) {
	var page Page
	records, found := newFold(), false
	if after > 0 {
		// What was before is needed to tell old values.
		before := events.Selection{Query: events.Query{of.own(viewer)}, Until: after}
		err := r.each(ctx, before, func(e events.Recorded, payload events.Payload) {
			records.apply(e, payload)
			found = true
		})
		if err != nil {
			return Page{}, err
		}
	}
	for e, err := range r.Log.Stream(ctx, events.Selection{Query: of.query(viewer), After: after}) {
		if err != nil {
			return Page{}, err
		}
		found = true
		if page.More = len(page.Entries) == limit; page.More {
			break
		}
		entry, err := r.entry(records, e)
		if err != nil {
			return Page{}, err
		}
		page.Entries = append(page.Entries, entry)
	}
	if !found {
		return Page{}, projections.ErrNotFound
	}
	return page, r.nameActors(ctx, page.Entries, viewer)
}

// entry applies an event and tells what it did.
func (r *Reader) entry(records *fold, e events.Recorded) (Entry, error) {
	payload, err := r.Registry.Decode(e.Event)
	if err != nil {
		return Entry{}, at(e, err)
	}
	metadata, err := e.DecodeMetadata()
	if err != nil {
		return Entry{}, at(e, err)
	}
	kind, id := e.About()
	of := Subject{kind, id}
	if p, ok := payload.(events.MappingRemoved); ok { // tells by itself what there was
		records.mappings[id] = &events.MappingCreated{PatientID: p.PatientID, DoctorID: p.DoctorID}
	}
	before := records.fields(of)
	records.apply(e, payload)
	return Entry{
		Position: e.Position, ID: e.ID, Type: e.Type, Subject: of, RecordedAt: e.RecordedAt,
		Actor: metadata.Actor, CorrelationID: metadata.CorrelationID, CausationID: metadata.CausationID, RequestID: metadata.RequestID,
		Changes: Compare(before, records.fields(of)),
	}, nil
}

func at(e events.Recorded, err error) error {
	return fmt.Errorf("the event at position %d: %w", e.Position, err)
}

// each hands on the events of a selection with their payloads.
func (r *Reader) each(ctx context.Context, selected events.Selection, take func(events.Recorded, events.Payload)) error {
	for e, err := range r.Log.Stream(ctx, selected) {
		if err != nil {
			return err
		}
		payload, err := r.Registry.Decode(e.Event)
		if err != nil {
			return at(e, err)
		}
		take(e, payload)
	}
	return nil
}

// ofEach hands on the events of these types about each of the records, up to a
// position; those about one record in order.
func (r *Reader) ofEach(ctx context.Context, ids []int64, tag func(int64) events.Tag, types []events.Type, until events.Position,
	take func(events.Recorded, events.Payload)) error {
	for some := range slices.Chunk(ids, events.MaxQueryItems) {
		var query events.Query
		for _, id := range some {
			query = append(query, events.QueryItem{Types: types, Tags: []events.Tag{tag(id)}})
		}
		if err := r.each(ctx, events.Selection{Query: query, Until: until}, take); err != nil {
			return err
		}
	}
	return nil
}

// own selects the events about the record itself.
func (s Subject) own(viewer Viewer) events.QueryItem {
	item := events.QueryItem{Types: typesOf(s.Kind), Tags: []events.Tag{s.Tag()}}
	if !viewer.All && (s.Kind == events.Patient || s.Kind == events.Mapping) {
		item.Tags = append(item.Tags, events.OwnerTag(viewer.User))
	}
	return item
}

// query selects the events of the record's history.
func (s Subject) query(viewer Viewer) events.Query {
	query := events.Query{s.own(viewer)}
	if s.Kind == events.Patient || s.Kind == events.Doctor {
		mappings := events.QueryItem{Types: typesOf(events.Mapping), Tags: []events.Tag{s.Tag()}}
		if !viewer.All {
			mappings.Tags = append(mappings.Tags, events.OwnerTag(viewer.User))
		}
		query = append(query, mappings)
	}
	return query
}

// typesOf lists the types of events about a kind of record.
func typesOf(kind events.Kind) []events.Type {
	switch kind {
	case events.Patient:
		return []events.Type{events.PatientRegisteredType, events.PatientAmendedType, events.PatientRemovedType}
	case events.Doctor:
		return []events.Type{events.DoctorRegisteredType, events.DoctorAmendedType, events.DoctorRemovedType}
	case events.Mapping:
		return []events.Type{events.MappingCreatedType, events.MappingRemovedType}
	}
	return nil // a user's tag is only on events about the user
}

// nameActors names the actors that the viewer may know: all, or oneself. A name does
// not change after its user has registered.
func (r *Reader) nameActors(ctx context.Context, entries []Entry, viewer Viewer) error {
	names := map[int64]string{}
	for _, e := range entries {
		if id := e.Actor.UserID; id != 0 && (viewer.All || id == viewer.User) {
			names[id] = ""
		}
	}
	ids := slices.Sorted(maps.Keys(names))
	err := r.ofEach(ctx, ids, events.UserTag, []events.Type{events.UserRegisteredType}, 0, func(_ events.Recorded, payload events.Payload) {
		if registered, ok := payload.(events.UserRegistered); ok {
			names[registered.UserID] = registered.Name
		}
	})
	for i := range entries {
		entries[i].ActorName = names[entries[i].Actor.UserID]
	}
	return err
}
