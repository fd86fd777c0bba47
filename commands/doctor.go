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
}

// RegisterDoctor answers the new record; ErrEmailTaken when another doctor has
// the e-mail address.
func (s *Service) RegisterDoctor(ctx context.Context, caller Caller, command RegisterDoctor) (Doctor, events.Position, error) {
	id, err := s.Log.NextID(ctx, events.Doctor)
	if err != nil {
		return Doctor{}, 0, err
	}
	registered := events.DoctorRegistered{
		DoctorID: id, FirstName: command.FirstName, LastName: command.LastName,
		Specialization: command.Specialization, Email: command.Email, Phone: command.Phone,
		CreatedAt: s.now(),
	}
	email := s.TagKey.DoctorEmail(command.Email)
	position, err := s.execute(ctx, caller, doctorEmailHistory(email), func(history []fact) (decision, error) {
		if doctorWithEmail(history, command.Email) != 0 {
			return decision{}, ErrEmailTaken
		}
		return decision{
			drafts:    []draft{{registered, []events.Tag{events.DoctorTag(id), email}}},
			condition: doctorEmailTaking(email),
		}, nil
	})
	doctor := foldDoctor([]fact{{position, registered}}, id).record
	return doctor, position, err
}

// AmendDoctor answers the record as it is afterwards; ErrNotFound, or
// ErrEmailTaken when another doctor has the new e-mail address.
func (s *Service) AmendDoctor(ctx context.Context, caller Caller, command AmendDoctor) (Doctor, events.Position, error) {
	query := doctorHistory(command.ID)
	if command.Email != nil {
		query = append(query, doctorEmailHistory(s.TagKey.DoctorEmail(*command.Email))...)
	}
	var after Doctor
	var changed bool
	position, err := s.execute(ctx, caller, query, func(history []fact) (decision, error) {
		state := foldDoctor(history, command.ID)
		if !state.alive {
			return decision{}, ErrNotFound
		}
		amended := state.amend(command)
		changed = amended != events.DoctorAmended{DoctorID: command.ID}
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
		state.apply(fact{state.record.Position, amended})
		after = state.record
		if !changed {
			return decision{}, nil
		}
		return decision{drafts: []draft{{amended, tags}}, condition: condition}, nil
	})
	if changed {
		after.Position = position
	}
	return after, position, err
}

// RemoveDoctor ends the record and its mappings, whosever they are, and frees
// the e-mail address; ErrNotFound.
func (s *Service) RemoveDoctor(ctx context.Context, caller Caller, id int64) (events.Position, error) {
	query := append(doctorHistory(id), events.QueryItem{Types: mappingTypes, Tags: []events.Tag{events.DoctorTag(id)}})
	return s.execute(ctx, caller, query, func(history []fact) (decision, error) {
		state := foldDoctor(history, id)
		if !state.alive {
			return decision{}, ErrNotFound
		}
		tags := []events.Tag{events.DoctorTag(id), s.TagKey.DoctorEmail(state.record.Email)}
		return decision{
			drafts:    append([]draft{{events.DoctorRemoved{DoctorID: id}, tags}}, endMappings(history)...),
			condition: query,
		}, nil
	})
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
			CreatedAt: e.CreatedAt, Position: f.position,
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
		d.record.Position = f.position
	case events.DoctorRemoved:
		if e.DoctorID != d.record.ID {
			return
		}
		d.alive = false
		d.record.Position = f.position
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
