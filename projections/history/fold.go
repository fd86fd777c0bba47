package history

import (
	"slices"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// fold is what events have made of the records they are about. They must be
// applied in order, and all that are about a record.
type fold struct {
	patients map[int64]*projections.Patient
	doctors  map[int64]*projections.Doctor
	mappings map[int64]*events.MappingCreated // that no event of their own has ended
	users    map[int64]*User
}

func newFold() *fold {
	return &fold{
		patients: map[int64]*projections.Patient{},
		doctors:  map[int64]*projections.Doctor{},
		mappings: map[int64]*events.MappingCreated{},
		users:    map[int64]*User{},
	}
}

// fields are those of a record that can be set; nil while it is not there.
func (f *fold) fields(of Subject) []Field {
	switch of.Kind {
	case events.Patient:
		return fieldsOf(f.patients[of.ID], PatientFields)
	case events.Doctor:
		return fieldsOf(f.doctors[of.ID], DoctorFields)
	case events.Mapping:
		return fieldsOf(f.mappings[of.ID], mappingFields)
	}
	return fieldsOf(f.users[of.ID], UserFields)
}

func fieldsOf[R any](record *R, fields func(R) []Field) []Field {
	if record == nil {
		return nil
	}
	return fields(*record)
}

// apply applies an event. What is amended and not there is left alone.
func (f *fold) apply(e events.Recorded, payload events.Payload) {
	switch p := payload.(type) {
	case events.PatientRegistered:
		f.patients[p.PatientID] = &projections.Patient{
			ID: p.PatientID, FirstName: p.FirstName, LastName: p.LastName, Age: p.Age, Gender: p.Gender,
			CreatedAt: p.CreatedAt, AddedBy: p.OwnerID, Position: e.Position,
		}
	case events.PatientAmended:
		if patient := f.patients[p.PatientID]; patient != nil {
			set(&patient.FirstName, p.FirstName)
			set(&patient.LastName, p.LastName)
			set(&patient.Age, p.Age)
			set(&patient.Gender, p.Gender)
			patient.Position = e.Position
		}
	case events.PatientRemoved:
		delete(f.patients, p.PatientID)

	case events.DoctorRegistered:
		f.doctors[p.DoctorID] = &projections.Doctor{
			ID: p.DoctorID, FirstName: p.FirstName, LastName: p.LastName, Specialization: p.Specialization,
			Email: p.Email, Phone: p.Phone, CreatedAt: p.CreatedAt, Position: e.Position,
		}
	case events.DoctorAmended:
		if doctor := f.doctors[p.DoctorID]; doctor != nil {
			set(&doctor.FirstName, p.FirstName)
			set(&doctor.LastName, p.LastName)
			set(&doctor.Specialization, p.Specialization)
			set(&doctor.Email, p.Email)
			set(&doctor.Phone, p.Phone)
			doctor.Position = e.Position
		}
	case events.DoctorRemoved:
		delete(f.doctors, p.DoctorID)

	case events.MappingCreated:
		f.mappings[p.MappingID] = &p
	case events.MappingRemoved:
		delete(f.mappings, p.MappingID)

	case events.UserRegistered:
		f.users[p.UserID] = &User{ID: p.UserID, Name: p.Name, Email: p.Email, Active: true, RegisteredAt: p.RegisteredAt}
	case events.UserDisabled:
		f.user(p.UserID).Active = false
	case events.UserEnabled:
		f.user(p.UserID).Active = true
	case events.UserRoleGranted:
		user := f.user(p.UserID)
		user.Roles = append(slices.Clip(user.Roles), p.Role)
		slices.Sort(user.Roles)
	case events.UserRoleRevoked:
		user := f.user(p.UserID)
		user.Roles = slices.DeleteFunc(slices.Clone(user.Roles), func(r events.Role) bool { return r == p.Role })
	}
}

// user is the account that an event changes.
func (f *fold) user(id int64) *User {
	if f.users[id] == nil {
		return &User{}
	}
	return f.users[id]
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}
