package history

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// What follows answers how records were when the log ended at a position, which
// must not be beyond its head: then the answer never changes. Each reads the events
// that the answer is made of, so it takes as long as there are such events.

// Patient answers a patient; [projections.ErrNotFound] for one who was not there,
// or is another user's.
func (r *Reader) Patient(ctx context.Context, id int64, viewer Viewer, at events.Position) (projections.Patient, error) {
	records, err := r.fold(ctx, events.Query{Subject{events.Patient, id}.own(viewer)}, at)
	if err != nil {
		return projections.Patient{}, err
	}
	return found(records.patients[id])
}

// Patients answers all patients of a user in order of id.
func (r *Reader) Patients(ctx context.Context, owner int64, at events.Position) ([]projections.Patient, error) {
	records, err := r.fold(ctx, events.Query{{Types: typesOf(events.Patient), Tags: []events.Tag{events.OwnerTag(owner)}}}, at)
	if err != nil {
		return nil, err
	}
	return inOrder(records.patients), nil
}

// Doctor answers a doctor; [projections.ErrNotFound].
func (r *Reader) Doctor(ctx context.Context, id int64, at events.Position) (projections.Doctor, error) {
	records, err := r.fold(ctx, events.Query{Subject{events.Doctor, id}.own(Viewer{})}, at)
	if err != nil {
		return projections.Doctor{}, err
	}
	return found(records.doctors[id])
}

// Doctors answers all doctors in order of id.
func (r *Reader) Doctors(ctx context.Context, at events.Position) ([]projections.Doctor, error) {
	records := newFold()
	if at > 0 {
		if err := r.each(ctx, events.Selection{Kind: events.Doctor, Until: at}, records.apply); err != nil {
			return nil, err
		}
	}
	return inOrder(records.doctors), nil
}

// Mapping answers a mapping, with the names of then; [projections.ErrNotFound] for
// one that was not there, or is of another user's patient.
func (r *Reader) Mapping(ctx context.Context, id int64, viewer Viewer, at events.Position) (projections.Mapping, error) {
	records, err := r.fold(ctx, events.Query{Subject{events.Mapping, id}.own(viewer)}, at)
	if err != nil {
		return projections.Mapping{}, err
	}
	if m, ok := records.mappings[id]; ok {
		err = r.ofEach(ctx, []int64{m.PatientID}, events.PatientTag, typesOf(events.Patient), at, records.apply)
	}
	if err != nil {
		return projections.Mapping{}, err
	}
	there, err := r.mappings(ctx, records, at)
	if err != nil {
		return projections.Mapping{}, err
	}
	if len(there) == 0 {
		return projections.Mapping{}, projections.ErrNotFound
	}
	return there[0], nil
}

// Mappings answers all mappings of a user's patients in order of id, with the
// names of then.
func (r *Reader) Mappings(ctx context.Context, owner int64, at events.Position) ([]projections.Mapping, error) {
	return r.mappingsOf(ctx, at, events.OwnerTag(owner))
}

// PatientMappings answers those of one of the user's patients: none for a patient
// who was not there or is another user's.
func (r *Reader) PatientMappings(ctx context.Context, owner, patient int64, at events.Position) ([]projections.Mapping, error) {
	return r.mappingsOf(ctx, at, events.PatientTag(patient), events.OwnerTag(owner))
}

func (r *Reader) mappingsOf(ctx context.Context, at events.Position, tags ...events.Tag) ([]projections.Mapping, error) {
	types := append(typesOf(events.Patient), typesOf(events.Mapping)...)
	records, err := r.fold(ctx, events.Query{{Types: types, Tags: tags}}, at)
	if err != nil {
		return nil, err
	}
	return r.mappings(ctx, records, at)
}

// mappings answers those that are there, after it has read the doctors. The
// removal of a patient or doctor has ended all their mappings with it.
func (r *Reader) mappings(ctx context.Context, records *fold, at events.Position) ([]projections.Mapping, error) {
	doctors := map[int64]bool{}
	for _, m := range records.mappings {
		doctors[m.DoctorID] = true
	}
	err := r.ofEach(ctx, slices.Sorted(maps.Keys(doctors)), events.DoctorTag, typesOf(events.Doctor), at, records.apply)
	if err != nil {
		return nil, err
	}
	there := []projections.Mapping{}
	for _, m := range records.mappings {
		patient, doctor := records.patients[m.PatientID], records.doctors[m.DoctorID]
		if patient == nil || doctor == nil {
			continue
		}
		there = append(there, projections.Mapping{
			ID: m.MappingID, Patient: m.PatientID, Doctor: m.DoctorID, AssignedAt: m.AssignedAt,
			PatientName: patient.FirstName + " " + patient.LastName, DoctorName: doctor.FirstName + " " + doctor.LastName,
		})
	}
	slices.SortFunc(there, func(a, b projections.Mapping) int { return cmp.Compare(a.ID, b.ID) })
	return there, nil
}

// User answers an account; [projections.ErrNotFound].
func (r *Reader) User(ctx context.Context, id int64, at events.Position) (User, error) {
	records, err := r.fold(ctx, events.Query{Subject{events.User, id}.own(Viewer{})}, at)
	if err != nil {
		return User{}, err
	}
	return found(records.users[id])
}

// fold applies the events that match the query up to a position; none for 0.
func (r *Reader) fold(ctx context.Context, query events.Query, at events.Position) (*fold, error) {
	records := newFold()
	if at == 0 {
		return records, nil
	}
	return records, r.each(ctx, events.Selection{Query: query, Until: at}, records.apply)
}

func found[R any](record *R) (R, error) {
	if record == nil {
		var none R
		return none, projections.ErrNotFound
	}
	return *record, nil
}

// inOrder are the records in order of id.
func inOrder[R any](records map[int64]*R) []R {
	list := make([]R, 0, len(records))
	for _, id := range slices.Sorted(maps.Keys(records)) {
		list = append(list, *records[id])
	}
	return list
}
