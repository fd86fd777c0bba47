package projections

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Doctor is a doctor as the read tables have it. All users see all doctors.
type Doctor struct {
	ID                                                int64
	FirstName, LastName, Specialization, Email, Phone string
	CreatedAt                                         time.Time
	Position                                          events.Position // of the record's last event
}

// doctors is the projection of doctors.
type doctors struct{}

func (doctors) Name() string       { return "doctors" }
func (doctors) SchemaVersion() int { return 1 }
func (doctors) Tables() []string   { return []string{"doctors"} }

// doctorChange is what a batch does to one doctor; fields that are nil stay.
type doctorChange struct {
	registered, removed                               bool
	id                                                int64
	firstName, lastName, specialization, email, phone *string
	createdAt                                         time.Time
	position                                          events.Position
}

func (doctors) Apply(batch *pgx.Batch, evs []Applied) error {
	var doctors changes[doctorChange]
	for _, e := range evs {
		switch p := e.Payload.(type) {
		case events.DoctorRegistered:
			doctors.begin(p.DoctorID, &doctorChange{
				registered: true, id: p.DoctorID, createdAt: p.CreatedAt, position: e.Position,
				firstName: &p.FirstName, lastName: &p.LastName, specialization: &p.Specialization, email: &p.Email, phone: &p.Phone,
			})
		case events.DoctorAmended:
			c := doctors.of(p.DoctorID)
			c.id, c.position = p.DoctorID, e.Position
			merge(&c.firstName, p.FirstName)
			merge(&c.lastName, p.LastName)
			merge(&c.specialization, p.Specialization)
			merge(&c.email, p.Email)
			merge(&c.phone, p.Phone)
		case events.DoctorRemoved:
			c := doctors.of(p.DoctorID)
			c.id, c.removed = p.DoctorID, true
		}
	}

	var removed []int64
	var amended, registered doctorColumns
	for _, c := range doctors.list {
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
		batch.Queue(`delete from doctors where id = any($1)`, removed)
	}
	if a := amended; len(a.id) > 0 {
		batch.Queue(`
			update doctors d set
			    first_name     = coalesce(a.first_name, d.first_name),
			    last_name      = coalesce(a.last_name, d.last_name),
			    specialization = coalesce(a.specialization, d.specialization),
			    email          = coalesce(a.email, d.email),
			    phone          = coalesce(a.phone, d.phone),
			    position       = a.position
			from (select *, (select ctid from doctors where id = by_id.id) as at
			    from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[])
			        as by_id (id, first_name, last_name, specialization, email, phone, position) offset 0) as a
			where d.ctid = a.at`,
			a.id, a.firstName, a.lastName, a.specialization, a.email, a.phone, a.position)
	}
	if r := registered; len(r.id) > 0 {
		batch.Queue(`
			insert into doctors (id, first_name, last_name, specialization, email, phone, created_at, position)
			select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
			    $7::timestamptz[], $8::bigint[])`,
			r.id, r.firstName, r.lastName, r.specialization, r.email, r.phone, r.createdAt, r.position)
	}
	return nil
}

// doctorColumns are changes turned into the arrays of a statement.
type doctorColumns struct {
	id                                                []int64
	firstName, lastName, specialization, email, phone []*string
	createdAt                                         []time.Time
	position                                          []events.Position
}

func (d *doctorColumns) add(c *doctorChange) {
	d.id = append(d.id, c.id)
	d.firstName, d.lastName = append(d.firstName, c.firstName), append(d.lastName, c.lastName)
	d.specialization = append(d.specialization, c.specialization)
	d.email, d.phone = append(d.email, c.email), append(d.phone, c.phone)
	d.createdAt, d.position = append(d.createdAt, c.createdAt), append(d.position, c.position)
}

const doctorFields = `d.id, d.first_name, d.last_name, d.specialization, d.email, d.phone, d.created_at, d.position`

func doctorTargets(d *Doctor) []any {
	return []any{&d.ID, &d.FirstName, &d.LastName, &d.Specialization, &d.Email, &d.Phone, &d.CreatedAt, &d.Position}
}

// Doctor answers a doctor to a user. It fails with [ErrNotFound],
// [ErrUnknownUser], [ErrInactiveUser] and [ErrSessionEnded].
func (q *Queries) Doctor(ctx context.Context, user Session, id int64) (Doctor, error) {
	return q.doctors.ask(ctx, lookup{user, id})
}

// Doctors answers all doctors to a user, in order of id. It fails with
// [ErrUnknownUser], [ErrInactiveUser] and [ErrSessionEnded].
func (q *Queries) Doctors(ctx context.Context, user Session) ([]Doctor, error) {
	return list(ctx, q, "list doctors", doctorTargets,
		`select `+userState+doctorFields+`
		from (values (1)) as always
		left join users u on u.id = $1
		left join doctors d on u.active
		order by d.id`, user)
}

// DoctorsPage answers at most limit of those, in order of id, after the first
// offset. It fails with [ErrUnknownUser] and [ErrInactiveUser].
func (q *Queries) DoctorsPage(ctx context.Context, user Session, limit, offset int64) (Page[Doctor], error) {
	return page(ctx, q, "list doctors", doctorTargets, doctorFields, `doctors d`, user, limit, offset)
}

// DoctorEmailTaken tells whether a doctor other than the one with the id except
// (0: any doctor) has exactly this e-mail address.
func (q *Queries) DoctorEmailTaken(ctx context.Context, email string, except int64) (bool, error) {
	var taken bool
	err := q.pool.QueryRow(ctx, `select exists (select from doctors where email = $1 and id <> $2)`, email, except).Scan(&taken)
	if err != nil {
		return false, fmt.Errorf("look for a doctor's e-mail address: %w", classify(err))
	}
	return taken, nil
}
