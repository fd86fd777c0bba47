package events

import "time"

// The types of events about doctors.
const (
	DoctorRegisteredType Type = "doctor.registered"
	DoctorAmendedType    Type = "doctor.amended"
	DoctorRemovedType    Type = "doctor.removed"
)

// DoctorRegistered adds a doctor to the directory that all users share.
type DoctorRegistered struct {
	DoctorID       int64     `json:"doctor_id"`
	FirstName      string    `json:"first_name"`
	LastName       string    `json:"last_name"`
	Specialization string    `json:"specialization"`
	Email          string    `json:"email"` // unique among doctors
	Phone          string    `json:"phone"`
	CreatedAt      time.Time `json:"created_at"` // whole microseconds
}

// DoctorAmended changes a doctor's record: the fields that changed, with their
// new values.
type DoctorAmended struct {
	DoctorID       int64   `json:"doctor_id"`
	FirstName      *string `json:"first_name,omitempty"`
	LastName       *string `json:"last_name,omitempty"`
	Specialization *string `json:"specialization,omitempty"`
	Email          *string `json:"email,omitempty"`
	Phone          *string `json:"phone,omitempty"`
}

// DoctorRemoved ends a doctor's record, frees the e-mail address and ends all of
// the doctor's mappings; a MappingRemoved for each follows in the same append.
type DoctorRemoved struct {
	DoctorID int64 `json:"doctor_id"`
}

// EventType implements [Payload].
func (DoctorRegistered) EventType() Type { return DoctorRegisteredType }

// EventType implements [Payload].
func (DoctorAmended) EventType() Type { return DoctorAmendedType }

// EventType implements [Payload].
func (DoctorRemoved) EventType() Type { return DoctorRemovedType }

func registerDoctor(r *Registry) {
	register[DoctorRegistered](r)
	register[DoctorAmended](r)
	register[DoctorRemoved](r)
}
