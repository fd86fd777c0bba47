package projections

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
)

// Records tells commands how records are, and up to which position of the log
// that is so. It answers no requests of users: see [Queries].
type Records struct {
	pool  *pgxpool.Pool
	logID uuid.UUID
}

// NewRecords reads through the pool, whose connections must have been configured
// by [Configure]. The pool is lent. Tables that are made of another log than this
// tell nothing.
func NewRecords(pool *pgxpool.Pool, logID uuid.UUID) *Records { return &Records{pool, logID} }

// recorded are the projections that the answers are taken from.
var recorded = Config{Projections: []Projection{mappings{}, patients{}, doctors{}}}

// upTo is a table of one row with the position that all the tables stand at, or
// of no row where that cannot be said: where they stand at different positions,
// as after a projection was added, or are not of this log and program.
const upTo = `(select min(c.position) as position from checkpoints c
	    where c.name = any($1) and c.log_id = $3
	        and c.schema_version = ($2::integer[])[array_position($1::text[], c.name)]
	    having count(*) = cardinality($1::text[]) and min(c.position) = max(c.position)) as up_to`

// Snapshots answers those of the subjects that are there, mappings in order of
// id, and the position of the log that the tables contain: what it answers is
// what all events up to there, and none after, have made. It is one statement, so
// one snapshot of rows and checkpoints, which change in the same transactions.
// Position 0 says that the tables cannot be relied on now. It fails with an error
// that wraps [events.ErrUnavailable] when the database cannot be reached.
func (r *Records) Snapshots(ctx context.Context, of events.Subjects) ([]events.Snapshot, events.Position, error) {
	var (
		position       events.Position
		mappings       mappingColumns
		patient        Patient
		doctor, holder Doctor
	)
	q := question{args: []any{recorded.names(), recorded.schemaVersions(), r.logID}}
	q.ask(`up_to.position`, upTo, &position)
	if of.Mappings { // the tables are named in the order of All
		q.ask(`m.ids, m.patients, m.doctors, m.owners, m.assigned`, ` cross join `+q.mappings(of), mappings.targets()...)
	}
	if of.Patient != nil {
		q.ask(patientFields, ` left join patients p on p.id = `+q.arg(*of.Patient), patientTargets(&patient)...)
	}
	if of.Doctor != nil {
		q.ask(doctorFields, ` left join doctors d on d.id = `+q.arg(*of.Doctor), doctorTargets(&doctor)...)
	}
	if of.DoctorEmail != nil {
		q.ask(holderFields, ` left join doctors h on h.email = `+q.arg(*of.DoctorEmail), doctorTargets(&holder)...)
	}
	if err := q.answer(ctx, r.pool); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, 0, nil
		}
		return nil, 0, fmt.Errorf("read what a command is about: %w", classify(err))
	}

	var there []events.Snapshot
	if patient.ID != 0 {
		there = append(there, patient.snapshot())
	}
	if doctor.ID != 0 {
		there = append(there, doctor.snapshot())
	}
	if holder.ID != 0 && holder.ID != doctor.ID {
		there = append(there, holder.snapshot())
	}
	return append(there, mappings.snapshots()...), position, nil
}

// question is a statement that is put together from what is asked. It answers at
// most one row; what is not there is null in it.
type question struct {
	fields, tables []string
	targets        [][]any // of each part
	args           []any
}

// ask adds a part, whose first field is null where it is not there.
func (q *question) ask(fields, tables string, targets ...any) {
	q.fields, q.tables, q.targets = append(q.fields, fields), append(q.tables, tables), append(q.targets, targets)
}

func (q *question) arg(value any) string {
	q.args = append(q.args, value)
	return "$" + strconv.Itoa(len(q.args))
}

// answer fills the targets of what is there.
func (q *question) answer(ctx context.Context, pool *pgxpool.Pool) error {
	rows, err := pool.Query(ctx, `select `+strings.Join(q.fields, ", ")+` from `+strings.Join(q.tables, ""), q.args...)
	if err != nil {
		return err
	}
	_, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var all []any
		for _, part := range q.targets {
			if row.RawValues()[len(all)] == nil {
				part = make([]any, len(part)) // a nil target is passed over
			}
			all = append(all, part...)
		}
		return struct{}{}, row.Scan(all...)
	})
	return err
}

// mappings is a table of one row with the mappings of the subjects as columns.
//
// Those of a pair are sought among the patient's, since a doctor may have very
// many; "offset 0" keeps Postgres from preferring another way.
func (q *question) mappings(of events.Subjects) string {
	rows := `mappings`
	switch {
	case of.Patient != nil && of.Doctor != nil:
		rows = `(select * from mappings where patient_id = ` + q.arg(*of.Patient) + ` offset 0) as m where doctor_id = ` + q.arg(*of.Doctor)
	case of.Patient != nil:
		rows += ` where patient_id = ` + q.arg(*of.Patient)
	case of.Doctor != nil:
		rows += ` where doctor_id = ` + q.arg(*of.Doctor)
	default:
		rows += ` where false`
	}
	return `(select array_agg(id) as ids, array_agg(patient_id) as patients, array_agg(doctor_id) as doctors,
	        array_agg(owner_id) as owners, array_agg(assigned_at) as assigned
	    from (select * from ` + rows + ` order by id) as m) as m`
}

const holderFields = `h.id, h.first_name, h.last_name, h.specialization, h.email, h.phone, h.created_at, h.position`

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
