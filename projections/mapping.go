package projections

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Mapping is the assignment of a doctor to a patient as the read tables have
// it. The names are the present ones of patient and doctor, as "First Last".
type Mapping struct {
	ID, Patient, Doctor     int64
	PatientName, DoctorName string
	AssignedAt              time.Time
}

// mappings is the projection of mappings. The removal of a patient or doctor
// ends their mappings at once, so that no half cascade is ever visible; the
// mapping.removed events that follow it find nothing left to do.
type mappings struct{}

func (mappings) Name() string       { return "mappings" }
func (mappings) SchemaVersion() int { return 1 }
func (mappings) Tables() []string   { return []string{"mappings"} }

func (mappings) Apply(batch *pgx.Batch, evs []Applied) error {
	var created []events.MappingCreated
	var removed, ofPatients, ofDoctors []int64
	for _, e := range evs {
		switch p := e.Payload.(type) {
		case events.MappingCreated:
			created = append(created, p)
		case events.MappingRemoved:
			removed = append(removed, p.MappingID)
			created = slices.DeleteFunc(created, func(m events.MappingCreated) bool { return m.MappingID == p.MappingID })
		case events.PatientRemoved:
			ofPatients = append(ofPatients, p.PatientID)
			created = slices.DeleteFunc(created, func(m events.MappingCreated) bool { return m.PatientID == p.PatientID })
		case events.DoctorRemoved:
			ofDoctors = append(ofDoctors, p.DoctorID)
			created = slices.DeleteFunc(created, func(m events.MappingCreated) bool { return m.DoctorID == p.DoctorID })
		}
	}

	if len(removed)+len(ofPatients)+len(ofDoctors) > 0 {
		batch.Queue(`delete from mappings where id = any($1) or patient_id = any($2) or doctor_id = any($3)`,
			removed, ofPatients, ofDoctors)
	}
	if len(created) > 0 {
		var ids, patients, doctors, owners []int64
		var assigned []time.Time
		for _, m := range created {
			ids, patients, doctors = append(ids, m.MappingID), append(patients, m.PatientID), append(doctors, m.DoctorID)
			owners, assigned = append(owners, m.OwnerID), append(assigned, m.AssignedAt)
		}
		batch.Queue(`
			insert into mappings (id, patient_id, doctor_id, owner_id, assigned_at)
			select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[])`,
			ids, patients, doctors, owners, assigned)
	}
	return nil
}

const mappingFields = `m.id, m.patient_id, m.doctor_id, p.first_name || ' ' || p.last_name, d.first_name || ' ' || d.last_name, m.assigned_at`

const (
	mappingTables = `(mappings m` + mappingNames + `)`
	mappingNames  = ` join patients p on p.id = m.patient_id join doctors d on d.id = m.doctor_id`
)

func mappingTargets(m *Mapping) []any {
	return []any{&m.ID, &m.Patient, &m.Doctor, &m.PatientName, &m.DoctorName, &m.AssignedAt}
}

// Mappings answers all mappings of the user's patients in order of id. It fails
// with [ErrUnknownUser], [ErrInactiveUser] and [ErrSessionEnded].
func (q *Queries) Mappings(ctx context.Context, user Session) ([]Mapping, error) {
	return list(ctx, q, "list mappings", mappingTargets,
		`select `+userState+mappingFields+`
		from (values (1)) as always
		left join users u on u.id = $1
		left join `+mappingTables+` on m.owner_id = $1 and u.active
		order by m.id`, user)
}

// MappingsPage answers at most limit of those, in order of id, after the first
// offset. It fails with [ErrUnknownUser] and [ErrInactiveUser].
func (q *Queries) MappingsPage(ctx context.Context, user Session, limit, offset int64) (Page[Mapping], error) {
	return page(ctx, q, "list mappings", mappingTargets,
		mappingFields, `(select * from mappings where owner_id = $1 offset 0) as m`+mappingNames, user, limit, offset)
}

// PatientMappings answers the mappings of one of the user's patients in order of
// id: none for a patient that is not there or another user's. It fails with
// [ErrUnknownUser], [ErrInactiveUser] and [ErrSessionEnded].
func (q *Queries) PatientMappings(ctx context.Context, user Session, patient int64) ([]Mapping, error) {
	return list(ctx, q, "list a patient's mappings", mappingTargets,
		`select `+userState+mappingFields+`
		from (values (1)) as always
		left join users u on u.id = $1
		left join `+mappingTables+` on m.patient_id = $2 and m.owner_id = $1 and u.active
		order by m.id`, user, patient)
}

// PatientMappingsPage answers at most limit of those, in order of id, after the
// first offset. It fails with [ErrUnknownUser] and [ErrInactiveUser].
func (q *Queries) PatientMappingsPage(ctx context.Context, user Session, patient, limit, offset int64) (Page[Mapping], error) {
	return page(ctx, q, "list a patient's mappings", mappingTargets,
		mappingFields, `(select * from mappings where patient_id = $4 and owner_id = $1 offset 0) as m`+mappingNames,
		user, limit, offset, patient)
}
