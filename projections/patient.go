package projections

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Patient is a patient as the read tables have it.
type Patient struct {
	ID                  int64
	FirstName, LastName string
	Age                 int // years
	Gender              string
	CreatedAt           time.Time
	AddedBy             int64           // the user who owns the record
	Position            events.Position // of the record's last event
}

// patients is the projection of patients.
type patients struct{}

func (patients) Name() string       { return "patients" }
func (patients) SchemaVersion() int { return 1 }
func (patients) Tables() []string   { return []string{"patients"} }

// patientChange is what a batch does to one patient; fields that are nil stay.
type patientChange struct {
	registered, removed         bool
	id, owner                   int64
	firstName, lastName, gender *string
	age                         *int
	createdAt                   time.Time
	position                    events.Position
}

func (patients) Apply(batch *pgx.Batch, evs []Applied) error {
	var patients changes[patientChange]
	for _, e := range evs {
		switch p := e.Payload.(type) {
		case events.PatientRegistered:
			patients.begin(p.PatientID, &patientChange{
				registered: true, id: p.PatientID, owner: p.OwnerID, createdAt: p.CreatedAt, position: e.Position,
				firstName: &p.FirstName, lastName: &p.LastName, gender: &p.Gender, age: &p.Age,
			})
		case events.PatientAmended:
			c := patients.of(p.PatientID)
			c.id, c.position = p.PatientID, e.Position
			merge(&c.firstName, p.FirstName)
			merge(&c.lastName, p.LastName)
			merge(&c.age, p.Age)
			merge(&c.gender, p.Gender)
		case events.PatientRemoved:
			c := patients.of(p.PatientID)
			c.id, c.removed = p.PatientID, true
		}
	}

	var removed []int64
	var amended, registered patientColumns
	for _, c := range patients.list {
		switch {
		case c.removed: // perhaps in vain: what came and went is not there
			removed = append(removed, c.id)
		case c.registered:
			registered.add(c)
		default:
			amended.add(c)
		}
	}
	if len(removed) > 0 {
		batch.Queue(`delete from patients where id = any($1)`, removed)
	}
	if a := amended; len(a.id) > 0 {
		batch.Queue(`
			update patients p set
			    first_name = coalesce(a.first_name, p.first_name),
			    last_name  = coalesce(a.last_name, p.last_name),
			    age        = coalesce(a.age, p.age),
			    gender     = coalesce(a.gender, p.gender),
			    position   = a.position
			from (select *, (select ctid from patients where id = by_id.id) as at
			    from unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::bigint[])
			        as by_id (id, first_name, last_name, age, gender, position) offset 0) as a
			where p.ctid = a.at`,
			a.id, a.firstName, a.lastName, a.age, a.gender, a.position)
	}
	if r := registered; len(r.id) > 0 {
		batch.Queue(`
			insert into patients (id, owner_id, first_name, last_name, age, gender, created_at, position)
			select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::integer[], $6::text[],
			    $7::timestamptz[], $8::bigint[])`,
			r.id, r.owner, r.firstName, r.lastName, r.age, r.gender, r.createdAt, r.position)
	}
	return nil
}

// patientColumns are changes turned into the arrays of a statement.
type patientColumns struct {
	id, owner                   []int64
	firstName, lastName, gender []*string
	age                         []*int
	createdAt                   []time.Time
	position                    []events.Position
}

func (p *patientColumns) add(c *patientChange) {
	p.id, p.owner = append(p.id, c.id), append(p.owner, c.owner)
	p.firstName, p.lastName = append(p.firstName, c.firstName), append(p.lastName, c.lastName)
	p.age, p.gender = append(p.age, c.age), append(p.gender, c.gender)
	p.createdAt, p.position = append(p.createdAt, c.createdAt), append(p.position, c.position)
}

const patientFields = `p.id, p.first_name, p.last_name, p.age, p.gender, p.created_at, p.owner_id, p.position`

func patientTargets(p *Patient) []any {
	return []any{&p.ID, &p.FirstName, &p.LastName, &p.Age, &p.Gender, &p.CreatedAt, &p.AddedBy, &p.Position}
}

// Patient answers one of the user's patients. It fails with [ErrNotFound] for
// one that is not there or another user's, with [ErrUnknownUser],
// [ErrInactiveUser] and [ErrSessionEnded].
func (q *Queries) Patient(ctx context.Context, user Session, id int64) (Patient, error) {
	return q.patients.ask(ctx, lookup{user, id})
}

// Patients answers all of the user's patients in order of id. It fails with
// [ErrUnknownUser], [ErrInactiveUser] and [ErrSessionEnded].
func (q *Queries) Patients(ctx context.Context, user Session) ([]Patient, error) {
	return list(ctx, q, "list patients", patientTargets,
		`select `+userState+patientFields+`
		from (values (1)) as always
		left join users u on u.id = $1
		left join patients p on p.owner_id = $1 and u.active
		order by p.id`, user)
}

// PatientsPage answers at most limit of those, in order of id, after the first
// offset. It fails with [ErrUnknownUser] and [ErrInactiveUser].
func (q *Queries) PatientsPage(ctx context.Context, user Session, limit, offset int64) (Page[Patient], error) {
	return page(ctx, q, "list patients", patientTargets,
		patientFields, `(select * from patients where owner_id = $1 offset 0) as p`, user, limit, offset)
}
