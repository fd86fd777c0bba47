package commands

import (
	"context"
	"slices"
	"time"

	"github.com/carelog/carelog/events"
)

// Mapping assigns a doctor to a patient.
type Mapping struct {
	ID          int64
	Patient     int64
	Doctor      int64
	PatientName string
	DoctorName  string
	AssignedAt  time.Time
}

// MapDoctor assigns a doctor to one of the caller's patients.
type MapDoctor struct {
	PatientID int64
	DoctorID  int64
}

// MapDoctor answers the new mapping; an [UnknownKeysError], or ErrPairTaken.
//
// The condition names amendments too: they do not change the decision, but the
// names in the answer.
func (s *Service) MapDoctor(ctx context.Context, caller Caller, command MapDoctor) (Mapping, events.Position, error) {
	pair := events.PairTag(command.PatientID, command.DoctorID)
	query := slices.Concat(patientHistory(command.PatientID), doctorHistory(command.DoctorID),
		events.Query{{Types: mappingTypes, Tags: []events.Tag{pair}}})
	on := basis{query, events.Subjects{Patient: &command.PatientID, Doctor: &command.DoctorID, Mappings: true}}
	nextID := s.nextID(ctx, events.Mapping)
	history, position, err := s.execute(ctx, caller, command, on, func(history []fact) (decision, error) {
		patient, doctor := foldPatient(history), foldDoctor(history, command.DoctorID)
		if known := patient.aliveFor(caller.UserID); !known || !doctor.alive {
			return decision{}, &UnknownKeysError{Patient: !known, Doctor: !doctor.alive}
		}
		if len(livingMappings(history)) > 0 {
			return decision{}, ErrPairTaken
		}
		id, err := nextID()
		if err != nil {
			return decision{}, err
		}
		created := events.MappingCreated{
			MappingID: id, PatientID: command.PatientID, DoctorID: command.DoctorID,
			OwnerID: caller.UserID, AssignedAt: s.now(),
		}
		tags := events.MappingTags(id, command.PatientID, command.DoctorID, caller.UserID)
		return decision{drafts: []draft{{created, tags}}, condition: query, unused: events.MappingTag(id)}, nil
	})
	created := last[events.MappingCreated](history)
	return Mapping{
		ID: created.MappingID, Patient: created.PatientID, Doctor: created.DoctorID,
		PatientName: foldPatient(history).record.name(), DoctorName: foldDoctor(history, command.DoctorID).record.name(),
		AssignedAt: created.AssignedAt,
	}, position, err
}

// UnmapDoctor ends a mapping; ErrNotFound when it is not one of the caller's.
func (s *Service) UnmapDoctor(ctx context.Context, caller Caller, id int64) (events.Position, error) {
	query := events.Query{{Types: mappingTypes, Tags: []events.Tag{events.MappingTag(id)}}}
	_, position, err := s.execute(ctx, caller, id, basis{query: query}, func(history []fact) (decision, error) {
		living := livingMappings(history)
		if len(living) == 0 || living[0].OwnerID != caller.UserID {
			return decision{}, ErrNotFound
		}
		return decision{drafts: endMappings(history), condition: query}, nil
	})
	return position, err
}

var mappingTypes = []events.Type{events.MappingCreatedType, events.MappingRemovedType}

// livingMappings are those of a history that have not ended, in order of creation.
func livingMappings(history []fact) []events.MappingCreated {
	ended := map[int64]bool{}
	for _, f := range history {
		if e, ok := f.payload.(events.MappingRemoved); ok {
			ended[e.MappingID] = true
		}
	}
	var living []events.MappingCreated
	for _, f := range history {
		if e, ok := f.payload.(events.MappingCreated); ok && !ended[e.MappingID] {
			living = append(living, e)
		}
	}
	return living
}

// endMappings drafts the end of each living mapping of a history.
func endMappings(history []fact) []draft {
	var drafts []draft
	for _, m := range livingMappings(history) {
		drafts = append(drafts, draft{
			events.MappingRemoved{MappingID: m.MappingID, PatientID: m.PatientID, DoctorID: m.DoctorID, OwnerID: m.OwnerID},
			events.MappingTags(m.MappingID, m.PatientID, m.DoctorID, m.OwnerID),
		})
	}
	return drafts
}
