package history

import (
	"slices"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// Field is a named value of a record, named as in the API: a string, an int64, a
// bool, a []string or a time.Time; nil while the record is not there.
type Field struct {
	Name  string
	Value any
}

// Change is what an event did to a field of a record. Old is nil when the record
// began, New when it ended.
type Change struct {
	Field    string
	Old, New any
}

// Compare tells the fields of a record that differ before and after. Nil stands
// for a record that is not there.
func Compare(before, after []Field) []Change {
	var found []Change
	for i := range max(len(before), len(after)) {
		var c Change
		if before != nil {
			c.Field, c.Old = before[i].Name, before[i].Value
		}
		if after != nil {
			c.Field, c.New = after[i].Name, after[i].Value
		}
		if !equal(c.Old, c.New) {
			found = append(found, c)
		}
	}
	return found
}

func equal(a, b any) bool {
	list, ok := a.([]string)
	other, both := b.([]string)
	if ok || both {
		return ok && both && slices.Equal(list, other)
	}
	return a == b
}

// PatientFields are those of a patient that can be set.
func PatientFields(p projections.Patient) []Field {
	return []Field{
		{"first_name", p.FirstName},
		{"last_name", p.LastName},
		{"age", int64(p.Age)},
		{"gender", p.Gender},
	}
}

// DoctorFields are those of a doctor that can be set.
func DoctorFields(d projections.Doctor) []Field {
	return []Field{
		{"first_name", d.FirstName},
		{"last_name", d.LastName},
		{"specialization", d.Specialization},
		{"email", d.Email},
		{"phone", d.Phone},
	}
}

func mappingFields(m events.MappingCreated) []Field {
	return []Field{{"patient", m.PatientID}, {"doctor", m.DoctorID}}
}

// User is an account at some position of the log.
type User struct {
	ID           int64
	Name, Email  string
	Active       bool
	Roles        []events.Role // sorted
	RegisteredAt time.Time
}

// UserFields are those of an account that events change.
func UserFields(u User) []Field {
	return []Field{
		{"name", u.Name},
		{"email", u.Email},
		{"active", u.Active},
		{"roles", texts(u.Roles)},
	}
}

func texts(roles []events.Role) []string {
	list := make([]string, len(roles))
	for i, role := range roles {
		list[i] = string(role)
	}
	return list
}
