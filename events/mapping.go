package events

import "time"

// The types of events about mappings between patients and doctors.
const (
	MappingCreatedType Type = "mapping.created"
	MappingRemovedType Type = "mapping.removed"
)

// MappingCreated assigns a doctor to a patient.
type MappingCreated struct {
	MappingID  int64     `json:"mapping_id"`
	PatientID  int64     `json:"patient_id"`
	DoctorID   int64     `json:"doctor_id"`
	OwnerID    int64     `json:"owner_id"`    // the user whose patient it is
	AssignedAt time.Time `json:"assigned_at"` // whole microseconds
}

// MappingRemoved ends a mapping: by itself, or because its patient or doctor was
// removed (then the causation id in the metadata names that event).
type MappingRemoved struct {
	MappingID int64 `json:"mapping_id"`
	PatientID int64 `json:"patient_id"`
	DoctorID  int64 `json:"doctor_id"`
	OwnerID   int64 `json:"owner_id"`
}

// EventType implements [Payload].
func (MappingCreated) EventType() Type { return MappingCreatedType }

// EventType implements [Payload].
func (MappingRemoved) EventType() Type { return MappingRemovedType }

// MappingTags are the tags of every event about a mapping.
func MappingTags(mapping, patient, doctor, owner int64) []Tag {
	return []Tag{MappingTag(mapping), PatientTag(patient), DoctorTag(doctor), PairTag(patient, doctor), OwnerTag(owner)}
}

func registerMapping(r *Registry) {
	register[MappingCreated](r)
	register[MappingRemoved](r)
}
