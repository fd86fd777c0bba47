package commands

import (
	"context"
	"time"

	"github.com/carelog/carelog/events"
)

// Patient is a patient's record as a command leaves it.
type Patient struct {
	ID        int64
	FirstName string
	LastName  string
	Age       int // years
	Gender    string
	CreatedAt time.Time
	AddedBy   int64           // the user whose patient it is
	Position  events.Position // of the record's last event
}

func (p Patient) name() string { return p.FirstName + " " + p.LastName }

// RegisterPatient adds a patient to the caller's. The fields are valid already.
type RegisterPatient struct {
	FirstName string
	LastName  string
	Age       int
	Gender    string
}

// AmendPatient changes the fields that are given.
type AmendPatient struct {
	ID        int64
	FirstName *string
	LastName  *string
	Age       *int
	Gender    *string
	IfMatch   IfMatch `json:"-"` // no part of what is asked for
}

// RemovePatient ends a patient's record.
type RemovePatient struct {
	ID      int64
	IfMatch IfMatch `json:"-"`
}

// RegisterPatient answers the new record.
func (s *Service) RegisterPatient(ctx context.Context, caller Caller, command RegisterPatient) (Patient, events.Position, error) {
	nextID := s.nextID(ctx, events.Patient)
	history, position, err := s.execute(ctx, caller, command, basis{}, func([]fact) (decision, error) {
		id, err := nextID()
		if err != nil {
			return decision{}, err
		}
		registered := events.PatientRegistered{
			PatientID: id, OwnerID: caller.UserID,
			FirstName: command.FirstName, LastName: command.LastName, Age: command.Age, Gender: command.Gender,
			CreatedAt: s.now(),
		}
		return decision{drafts: []draft{{registered, patientTags(id, caller.UserID)}}, unused: events.PatientTag(id)}, nil
	})
	return foldPatient(history).record, position, err
}

// AmendPatient answers the record as it is afterwards; ErrNotFound when it is
// not one of the caller's, ErrPreconditionFailed.
func (s *Service) AmendPatient(ctx context.Context, caller Caller, command AmendPatient) (Patient, events.Position, error) {
	query := patientHistory(command.ID)
	on := basis{query, events.Subjects{Patient: &command.ID}}
	history, position, err := s.execute(ctx, caller, command, on, func(history []fact) (decision, error) {
		state := foldPatient(history)
		if !state.aliveFor(caller.UserID) {
			return decision{}, ErrNotFound
		}
		if err := command.IfMatch.Check(state.record.Position); err != nil {
			return decision{}, err
		}
		amended := state.amend(command)
		if amended == (events.PatientAmended{PatientID: amended.PatientID, OwnerID: amended.OwnerID}) {
			return decision{}, nil
		}
		return decision{drafts: []draft{{amended, patientTags(command.ID, caller.UserID)}}, condition: query}, nil
	})
	return foldPatient(history).record, position, err
}

// RemovePatient ends the record and its mappings; ErrNotFound when it is not
// one of the caller's, ErrPreconditionFailed.
func (s *Service) RemovePatient(ctx context.Context, caller Caller, command RemovePatient) (events.Position, error) {
	patient := []events.Tag{events.PatientTag(command.ID)}
	query := append(patientHistory(command.ID), events.QueryItem{Types: mappingTypes, Tags: patient})
	condition := query
	if !command.IfMatch.Given { // then an amendment changes nothing about the removal
		condition = events.Query{
			{Types: []events.Type{events.PatientRemovedType}, Tags: patient},
			{Types: mappingTypes, Tags: patient},
		}
	}
	on := basis{query, events.Subjects{Patient: &command.ID, Mappings: true}}
	_, position, err := s.execute(ctx, caller, command, on, func(history []fact) (decision, error) {
		state := foldPatient(history)
		if !state.aliveFor(caller.UserID) {
			return decision{}, ErrNotFound
		}
		if err := command.IfMatch.Check(state.record.Position); err != nil {
			return decision{}, err
		}
		removed := draft{events.PatientRemoved{PatientID: command.ID, OwnerID: caller.UserID}, patientTags(command.ID, caller.UserID)}
		return decision{drafts: append([]draft{removed}, endMappings(history)...), condition: condition}, nil
	})
	return position, err
}

// patientHistory selects the events of a patient's own record.
func patientHistory(id int64) events.Query {
	return events.Query{{
		Types: []events.Type{events.PatientRegisteredType, events.PatientAmendedType, events.PatientRemovedType},
		Tags:  []events.Tag{events.PatientTag(id)},
	}}
}

func patientTags(id, owner int64) []events.Tag {
	return []events.Tag{events.PatientTag(id), events.OwnerTag(owner)}
}

// patientState is what decisions about one patient rest on.
type patientState struct {
	record Patient
	alive  bool
}

func (p patientState) aliveFor(user int64) bool { return p.alive && p.record.AddedBy == user }

// foldPatient folds a history in which at most one patient has events.
func foldPatient(history []fact) patientState {
	var state patientState
	for _, f := range history {
		state.apply(f)
	}
	return state
}

func (p *patientState) apply(f fact) {
	switch e := f.payload.(type) {
	case events.PatientRegistered:
		p.alive = true
		p.record = Patient{
			ID: e.PatientID, FirstName: e.FirstName, LastName: e.LastName, Age: e.Age, Gender: e.Gender,
			CreatedAt: e.CreatedAt, AddedBy: e.OwnerID, Position: f.Position,
		}
	case events.PatientAmended:
		set(&p.record.FirstName, e.FirstName)
		set(&p.record.LastName, e.LastName)
		set(&p.record.Age, e.Age)
		set(&p.record.Gender, e.Gender)
		p.record.Position = f.Position
	case events.PatientRemoved:
		p.alive = false
		p.record.Position = f.Position
	}
}

// amend is the amendment that the command makes of this state: the fields whose
// values change.
func (p patientState) amend(command AmendPatient) events.PatientAmended {
	return events.PatientAmended{
		PatientID: p.record.ID,
		OwnerID:   p.record.AddedBy,
		FirstName: ifChanged(p.record.FirstName, command.FirstName),
		LastName:  ifChanged(p.record.LastName, command.LastName),
		Age:       ifChanged(p.record.Age, command.Age),
		Gender:    ifChanged(p.record.Gender, command.Gender),
	}
}

// set puts the new value, where there is one, in place of the old.
func set[T any](old *T, changed *T) {
	if changed != nil {
		*old = *changed
	}
}

// ifChanged is the new value where it is given and differs, else nil.
func ifChanged[T comparable](old T, changed *T) *T {
	if changed == nil || *changed == old {
		return nil
	}
	return changed
}
