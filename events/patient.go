package events

import "time"

// The types of events about patients.
const (
	PatientRegisteredType Type = "patient.registered"
	PatientAmendedType    Type = "patient.amended"
	PatientRemovedType    Type = "patient.removed"
)

// PatientRegistered adds a patient to those of a user.
type PatientRegistered struct {
	PatientID int64     `json:"patient_id"`
	OwnerID   int64     `json:"owner_id"` // the user who added the patient
	FirstName string    `json:"first_name"`
	LastName  string    `json:"last_name"`
	Age       int       `json:"age" schema:"minimum=0"` // years
	Gender    string    `json:"gender"`                 // "Male", "Female" or "Other"; there may be more one day
	CreatedAt time.Time `json:"created_at"`             // whole microseconds
}

// PatientAmended changes a patient's record: the fields that changed, with
// their new values.
type PatientAmended struct {
	PatientID int64   `json:"patient_id"`
	OwnerID   int64   `json:"owner_id"`
	FirstName *string `json:"first_name,omitempty"`
	LastName  *string `json:"last_name,omitempty"`
	Age       *int    `json:"age,omitempty" schema:"minimum=0"` // years
	Gender    *string `json:"gender,omitempty"`
}

// PatientRemoved ends a patient's record and all of the patient's mappings; a
// MappingRemoved for each of those follows in the same append.
type PatientRemoved struct {
	PatientID int64 `json:"patient_id"`
	OwnerID   int64 `json:"owner_id"`
}

// EventType implements [Payload].
func (PatientRegistered) EventType() Type { return PatientRegisteredType }

// EventType implements [Payload].
func (PatientAmended) EventType() Type { return PatientAmendedType }

// EventType implements [Payload].
func (PatientRemoved) EventType() Type { return PatientRemovedType }

func registerPatient(r *Registry) {
	register[PatientRegistered](r)
	register[PatientAmended](r)
	register[PatientRemoved](r)
}
