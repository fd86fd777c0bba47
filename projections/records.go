package projections

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
)

// Records tells commands how records are, and up to which position of the log
// that is so. It answers no requests of users: see [Queries].
type Records struct {
	snapshots *sharedRead[events.Subjects, snapshots]
}

// snapshots is what the tables tell of subjects.
type snapshots struct {
	there    []events.Snapshot
	position events.Position
}

// NewRecords reads through the pool, whose connections must have been configured
// by [Configure]. The pool is lent. Tables that are made of another log than this
// tell nothing.
func NewRecords(pool *pgxpool.Pool, logID uuid.UUID) *Records {
	return &Records{&sharedRead[events.Subjects, snapshots]{
		doing: "read what commands are about",
		run: func(ctx context.Context, group []*asking[events.Subjects, snapshots]) error {
			return readSnapshots(ctx, pool, logID, group)
		},
	}}
}

// Snapshots answers those of the subjects that are there, mappings in order of
// id, and the position of the log that the tables contain: what it answers is
// what all events up to there, and none after, have made. It is one statement, so
// one snapshot of rows and checkpoints, which change in the same transactions.
// Position 0 says that the tables cannot be relied on now. It fails with an error
// that wraps [events.ErrUnavailable] when the database cannot be reached.
func (r *Records) Snapshots(ctx context.Context, of events.Subjects) ([]events.Snapshot, events.Position, error) {
	told, err := r.snapshots.ask(ctx, of)
	return told.there, told.position, err
}

// recorded are the projections that the answers are taken from.
var recorded = Config{Projections: []Projection{mappings{}, patients{}, doctors{}}}

// snapshotsSQL answers a row for each of the subjects, or no row where it cannot
// be said at which position all the tables stand: where they stand at different
// ones, as after a projection was added, or are not of this log and program.
//
// Tables are named in the order of All, and found by their keys whatever the
// planner believes about their sizes ("offset 0"). The mappings of a pair are sought
// among the patient's, since a doctor may have very many.
const snapshotsSQL = `
	select asked.n, up_to.position, m.*, p.*, d.*, h.*
	from (select min(c.position) as position from checkpoints c
	    where c.name = any($1) and c.log_id = $3
	        and c.schema_version = ($2::integer[])[array_position($1::text[], c.name)]
	    having count(*) = cardinality($1::text[]) and min(c.position) = max(c.position)) as up_to
	cross join unnest($4::bigint[], $5::bigint[], $6::text[], $7::boolean[]) with ordinality
	    as asked (patient, doctor, email, mappings, n)
	left join lateral (
	    select array_agg(id), array_agg(patient_id), array_agg(doctor_id), array_agg(owner_id), array_agg(assigned_at)
	    from (
	        select * from (select * from mappings where asked.mappings and patient_id = asked.patient offset 0) as of_patient
	        where asked.doctor is null or doctor_id = asked.doctor
	        union all
	        select * from (select * from mappings where asked.mappings and asked.patient is null and doctor_id = asked.doctor offset 0) as of_doctor
	        order by id) as living) as m on true
	left join lateral (select ` + patientFields + ` from patients p where p.id = asked.patient offset 0) as p on true
	left join lateral (select ` + doctorFields + ` from doctors d where d.id = asked.doctor offset 0) as d on true
	left join lateral (select ` + doctorFields + ` from doctors d where d.email = asked.email offset 0) as h on true`

func readSnapshots(ctx context.Context, pool *pgxpool.Pool, logID uuid.UUID, group []*asking[events.Subjects, snapshots]) error {
	patients, doctors := make([]*int64, len(group)), make([]*int64, len(group))
	emails, mapped := make([]*string, len(group)), make([]bool, len(group))
	for i, one := range group {
		patients[i], doctors[i] = one.question.Patient, one.question.Doctor
		emails[i], mapped[i] = one.question.DoctorEmail, one.question.Mappings
	}
	rows, err := pool.Query(ctx, snapshotsSQL, recorded.names(), recorded.schemaVersions(), logID, patients, doctors, emails, mapped)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		var told snapshots
		var patient Patient
		var doctor, holder Doctor
		var mappings mappingColumns
		into := []any{&n, &told.position}
		for _, part := range [][]any{mappings.targets(), patientTargets(&patient), doctorTargets(&doctor), doctorTargets(&holder)} {
			if rows.RawValues()[len(into)] == nil {
				part = make([]any, len(part)) // it is not there: a nil target is passed over
			}
			into = append(into, part...)
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if patient.ID != 0 {
			told.there = append(told.there, patient.snapshot())
		}
		if doctor.ID != 0 {
			told.there = append(told.there, doctor.snapshot())
		}
		if holder.ID != 0 && holder.ID != doctor.ID {
			told.there = append(told.there, holder.snapshot())
		}
		told.there = append(told.there, mappings.snapshots()...)
		group[n-1].answer = told
	}
	return rows.Err()
}

func (p Patient) snapshot() events.Snapshot {
	return events.Snapshot{Position: p.Position, Payload: events.PatientRegistered{
		PatientID: p.ID, OwnerID: p.AddedBy,
		FirstName: p.FirstName, LastName: p.LastName, Age: p.Age, Gender: p.Gender,
		CreatedAt: p.CreatedAt.UTC(),
	}}
}

func (d Doctor) snapshot() events.Snapshot {
	return events.Snapshot{Position: d.Position, Payload: events.DoctorRegistered{
		DoctorID: d.ID, FirstName: d.FirstName, LastName: d.LastName,
		Specialization: d.Specialization, Email: d.Email, Phone: d.Phone,
		CreatedAt: d.CreatedAt.UTC(),
	}}
}

// mappingColumns are mappings, column by column.
type mappingColumns struct {
	ids, patients, doctors, owners []int64
	assigned                       []time.Time
}

func (m *mappingColumns) targets() []any {
	return []any{&m.ids, &m.patients, &m.doctors, &m.owners, &m.assigned}
}

func (m *mappingColumns) snapshots() []events.Snapshot {
	all := make([]events.Snapshot, len(m.ids))
	for i, id := range m.ids {
		all[i].Payload = events.MappingCreated{
			MappingID: id, PatientID: m.patients[i], DoctorID: m.doctors[i], OwnerID: m.owners[i],
			AssignedAt: m.assigned[i].UTC(),
		}
	}
	return all
}
