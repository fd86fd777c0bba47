package commands

import (
	"context"
	"time"

	"github.com/carelog/carelog/events"
)

// Doctor is a doctor's record as a command leaves it.
type Doctor struct {
	ID             int64
	FirstName      string
	LastName       string
	Specialization string
	Email          string
	Phone          string
	CreatedAt      time.Time
	Position       events.Position // of the record's last event
}

func (d Doctor) name() string { return d.FirstName + " " + d.LastName }

// RegisterDoctor adds a doctor to the directory. The fields are valid already.
type RegisterDoctor struct {
	FirstName      string
	LastName       string
	Specialization string
	Email          string
	Phone          string
}

// AmendDoctor changes the fields that are given.
type AmendDoctor struct {
	ID             int64
	FirstName      *string
	LastName       *string
	Specialization *string
	Email          *string
	Phone          *string
	IfMatch        IfMatch `json:"-"` // no part of what is asked for
}

// RemoveDoctor ends a doctor's record.
type RemoveDoctor struct {
	ID      int64
	IfMatch IfMatch `json:"-"`
}

// RegisterDoctor answers the new record; ErrEmailTaken when another doctor has
// the e-mail address.
func (s *Service) RegisterDoctor(ctx context.Context, caller Caller, command RegisterDoctor) (Doctor, events.Position, error) {
	nextID := s.nextID(ctx, events.Doctor)
	email := s.TagKey.DoctorEmail(command.Email)
	on := basis{doctorEmailHistory(email), events.Subjects{DoctorEmail: &command.Email}}
	history, position, err := s.execute(ctx, caller, command, on, func(history []fact) (decision, error) {
		if doctorWithEmail(history, command.Email) != 0 {
			return decision{}, ErrEmailTaken
		}
		id, err := nextID()
		if err != nil {
			return decision{}, err
		}
		registered := events.DoctorRegistered{
			DoctorID: id, FirstName: command.FirstName, LastName: command.LastName,
			Specialization: command.Specialization, Email: command.Email, Phone: command.Phone,
			CreatedAt: s.now(),
		}
		return decision{
			drafts:    []draft{{registered, []events.Tag{events.DoctorTag(id), email}}},
			condition: doctorEmailTaking(email),
			unused:    events.DoctorTag(id),
		}, nil
	})
	return foldDoctor(history, last[events.DoctorRegistered](history).DoctorID).record, position, err
}

// AmendDoctor answers the record as it is afterwards; ErrNotFound,
// ErrPreconditionFailed, or ErrEmailTaken when another doctor has the new e-mail
// address.
func (s *Service) AmendDoctor(ctx context.Context, caller Caller, command AmendDoctor) (Doctor, events.Position, error) {
	query := doctorHistory(command.ID)
	if command.Email != nil {
		query = append(query, doctorEmailHistory(s.TagKey.DoctorEmail(*command.Email))...)
	}
	on := basis{query, events.Subjects{Doctor: &command.ID, DoctorEmail: command.Email}}
	history, position, err := s.execute(ctx, caller, command, on, func(history []fact) (decision, error) {
		state := foldDoctor(history, command.ID)
		if !state.alive {
			return decision{}, ErrNotFound
		}
		if err := command.IfMatch.Check(state.record.Position); err != nil {
			return decision{}, err
		}
		amended := state.amend(command)
		if amended == (events.DoctorAmended{DoctorID: command.ID}) {
			return decision{}, nil
		}
		tags := []events.Tag{events.DoctorTag(command.ID)}
		condition := doctorHistory(command.ID)
		if amended.Email != nil {
			if doctorWithEmail(history, *amended.Email) != 0 {
				return decision{}, ErrEmailTaken
			}
			taken := s.TagKey.DoctorEmail(*amended.Email)
			tags = append(tags, s.TagKey.DoctorEmail(state.record.Email), taken)
			condition = append(condition, doctorEmailTaking(taken)...)
		}
		return decision{drafts: []draft{{amended, tags}}, condition: condition}, nil
	})
	return foldDoctor(history, command.ID).record, position, err
}

// RemoveDoctor ends the record and its mappings, whosever they are, and frees
// the e-mail address; ErrNotFound, ErrPreconditionFailed.
func (s *Service) RemoveDoctor(ctx context.Context, caller Caller, command RemoveDoctor) (events.Position, error) {
	query := append(doctorHistory(command.ID), events.QueryItem{Types: mappingTypes, Tags: []events.Tag{events.DoctorTag(command.ID)}})
	on := basis{query, events.Subjects{Doctor: &command.ID, Mappings: true}}
	_, position, err := s.execute(ctx, caller, command, on, func(history []fact) (decision, error) {
		state := foldDoctor(history, command.ID)
		if !state.alive {
			return decision{}, ErrNotFound
		}
		if err := command.IfMatch.Check(state.record.Position); err != nil {
			return decision{}, err
		}
		tags := []events.Tag{events.DoctorTag(command.ID), s.TagKey.DoctorEmail(state.record.Email)}
		return decision{
			drafts:    append([]draft{{events.DoctorRemoved{DoctorID: command.ID}, tags}}, endMappings(history)...),
			condition: query,
		}, nil
	})
	return position, err
}

var doctorTypes = []events.Type{events.DoctorRegisteredType, events.DoctorAmendedType, events.DoctorRemovedType}

// doctorHistory selects the events of a doctor's own record.
func doctorHistory(id int64) events.Query {
	return events.Query{{Types: doctorTypes, Tags: []events.Tag{events.DoctorTag(id)}}}
}

// doctorEmailHistory selects the events that gave an e-mail address to a doctor
// or took it away.
func doctorEmailHistory(email events.Tag) events.Query {
	return events.Query{{Types: doctorTypes, Tags: []events.Tag{email}}}
}

// doctorEmailTaking selects those that may have given it.
func doctorEmailTaking(email events.Tag) events.Query {
	return events.Query{{
		Types: []events.Type{events.DoctorRegisteredType, events.DoctorAmendedType},
		Tags:  []events.Tag{email},
	}}
}

// doctorWithEmail is the id of the living doctor that has the address, else 0.
func doctorWithEmail(history []fact, email string) int64 {
	var holder int64
	for _, f := range history {
		switch e := f.payload.(type) {
		case events.DoctorRegistered:
			if e.Email == email {
				holder = e.DoctorID
			}
		case events.DoctorAmended:
			switch {
			case e.Email == nil:
			case *e.Email == email:
				holder = e.DoctorID
			case e.DoctorID == holder:
				holder = 0
			}
		case events.DoctorRemoved:
			if e.DoctorID == holder {
				holder = 0
			}
		}
	}
	return holder
}

// doctorState is what decisions about one doctor rest on.
type doctorState struct {
	record Doctor
	alive  bool
}

// foldDoctor folds the events of one doctor, of a history that may hold others'.
func foldDoctor(history []fact, id int64) doctorState {
	state := doctorState{record: Doctor{ID: id}}
	for _, f := range history {
		state.apply(f)
	}
	return state
}

func (d *doctorState) apply(f fact) {
	switch e := f.payload.(type) {
	case events.DoctorRegistered:
		if e.DoctorID != d.record.ID {
			return
		}
		d.alive = true
		d.record = Doctor{
			ID: e.DoctorID, FirstName: e.FirstName, LastName: e.LastName,
			Specialization: e.Specialization, Email: e.Email, Phone: e.Phone,
			CreatedAt: e.CreatedAt, Position: f.Position,
		}
	case events.DoctorAmended:
		if e.DoctorID != d.record.ID {
			return
		}
		set(&d.record.FirstName, e.FirstName)
		set(&d.record.LastName, e.LastName)
		set(&d.record.Specialization, e.Specialization)
		set(&d.record.Email, e.Email)
		set(&d.record.Phone, e.Phone)
		d.record.Position = f.Position
	case events.DoctorRemoved:
		if e.DoctorID != d.record.ID {
			return
		}
		d.alive = false
		d.record.Position = f.Position
	}
}

// amend is the amendment that the command makes of this state: the fields whose
// values change.
func (d doctorState) amend(command AmendDoctor) events.DoctorAmended {
	return events.DoctorAmended{
		DoctorID:       d.record.ID,
		FirstName:      ifChanged(d.record.FirstName, command.FirstName),
		LastName:       ifChanged(d.record.LastName, command.LastName),
		Specialization: ifChanged(d.record.Specialization, command.Specialization),
		Email:          ifChanged(d.record.Email, command.Email),
		Phone:          ifChanged(d.record.Phone, command.Phone),
	}
}
