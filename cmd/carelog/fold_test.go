package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// fold is what the log says the read tables must hold. It shares no code with
// the projections, and is stricter than they are: every event must find the
// record that it is about.
type fold struct {
	users    map[int64]events.UserRegistered
	patients map[int64]*foldedPatient
	doctors  map[int64]*foldedDoctor
	mappings map[int64]events.MappingCreated
	ending   map[int64]bool // mappings whose patient or doctor was removed; their own event must follow
}

type foldedPatient struct {
	events.PatientRegistered
	position int64
}

type foldedDoctor struct {
	events.DoctorRegistered
	position int64
}

func newFold() *fold {
	return &fold{
		users: map[int64]events.UserRegistered{}, patients: map[int64]*foldedPatient{}, doctors: map[int64]*foldedDoctor{},
		mappings: map[int64]events.MappingCreated{}, ending: map[int64]bool{},
	}
}

var errNotThere = errors.New("it is about a record that is not there")

// apply takes in the next event of the log. It fails for one that breaks a rule.
func (f *fold) apply(position int64, payload events.Payload) error {
	switch e := payload.(type) {
	case events.UserRegistered:
		for _, other := range f.users {
			if other.Email == e.Email {
				return errors.New("another user has the e-mail address")
			}
		}
		f.users[e.UserID] = e
	case events.PatientRegistered:
		f.patients[e.PatientID] = &foldedPatient{e, position}
	case events.PatientAmended:
		p := f.patients[e.PatientID]
		if p == nil || p.OwnerID != e.OwnerID {
			return errNotThere
		}
		p.position = position
		amend(&p.FirstName, e.FirstName)
		amend(&p.LastName, e.LastName)
		amend(&p.Age, e.Age)
		amend(&p.Gender, e.Gender)
	case events.PatientRemoved:
		if f.patients[e.PatientID] == nil {
			return errNotThere
		}
		delete(f.patients, e.PatientID)
		f.end(func(m events.MappingCreated) bool { return m.PatientID == e.PatientID })
	case events.DoctorRegistered:
		f.doctors[e.DoctorID] = &foldedDoctor{e, position}
		return f.checkDoctorEmail(e.Email)
	case events.DoctorAmended:
		d := f.doctors[e.DoctorID]
		if d == nil {
			return errNotThere
		}
		d.position = position
		amend(&d.FirstName, e.FirstName)
		amend(&d.LastName, e.LastName)
		amend(&d.Specialization, e.Specialization)
		amend(&d.Email, e.Email)
		amend(&d.Phone, e.Phone)
		return f.checkDoctorEmail(d.Email)
	case events.DoctorRemoved:
		if f.doctors[e.DoctorID] == nil {
			return errNotThere
		}
		delete(f.doctors, e.DoctorID)
		f.end(func(m events.MappingCreated) bool { return m.DoctorID == e.DoctorID })
	case events.MappingCreated:
		for _, other := range f.mappings {
			if other.PatientID == e.PatientID && other.DoctorID == e.DoctorID {
				return errors.New("the pair is mapped already")
			}
		}
		if p := f.patients[e.PatientID]; p == nil || p.OwnerID != e.OwnerID || f.doctors[e.DoctorID] == nil {
			return errNotThere
		}
		f.mappings[e.MappingID] = e
	case events.MappingRemoved:
		if _, living := f.mappings[e.MappingID]; !living && !f.ending[e.MappingID] {
			return errNotThere
		}
		delete(f.mappings, e.MappingID)
		delete(f.ending, e.MappingID)
	default:
		return errors.New("the fold of the tests does not know the type")
	}
	return nil
}

func amend[V any](field *V, value *V) {
	if value != nil {
		*field = *value
	}
}

func (f *fold) end(ends func(events.MappingCreated) bool) {
	for id, m := range f.mappings {
		if ends(m) {
			delete(f.mappings, id)
			f.ending[id] = true
		}
	}
}

func (f *fold) checkDoctorEmail(email string) error {
	count := 0
	for _, d := range f.doctors {
		if d.Email == email {
			count++
		}
	}
	if count != 1 {
		return errors.New("another doctor has the e-mail address")
	}
	return nil
}

// foldedTables are the statements that read each table like fold.rows has it.
var foldedTables = map[string]string{
	"users":    `select id, name, email, active, registered_at from projections.users`,
	"patients": `select id, owner_id, first_name, last_name, age, gender, created_at, position from projections.patients`,
	"doctors":  `select id, first_name, last_name, specialization, email, phone, created_at, position from projections.doctors`,
	"mappings": `select id, patient_id, doctor_id, owner_id, assigned_at from projections.mappings`,
}

func (f *fold) rows() map[string]bool {
	rows := map[string]bool{}
	for _, u := range f.users {
		rows[foldedRow("users", u.UserID, u.Name, u.Email, true, u.RegisteredAt)] = true
	}
	for _, p := range f.patients {
		rows[foldedRow("patients", p.PatientID, p.OwnerID, p.FirstName, p.LastName, p.Age, p.Gender, p.CreatedAt, p.position)] = true
	}
	for _, d := range f.doctors {
		rows[foldedRow("doctors", d.DoctorID, d.FirstName, d.LastName, d.Specialization, d.Email, d.Phone, d.CreatedAt, d.position)] = true
	}
	for _, m := range f.mappings {
		rows[foldedRow("mappings", m.MappingID, m.PatientID, m.DoctorID, m.OwnerID, m.AssignedAt)] = true
	}
	return rows
}

// foldedRow makes one text of a row, the same from the log and from the table.
func foldedRow(table string, values ...any) string {
	for i, v := range values {
		if at, ok := v.(time.Time); ok {
			values[i] = at.UTC().Format(time.RFC3339Nano)
		}
	}
	return fmt.Sprintf("%s %q", table, fmt.Sprint(values...))
}

// checkTables compares every row of the read tables with a fold of the log up
// to their checkpoint, in one snapshot, so it may be done under load. It also
// checks the log itself: positions without gaps, times that do not run backwards, tags
// that are found. It answers the head of the log.
func checkTables(ctx context.Context, database string) (head int64, err error) {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		head, err = checkSnapshot(ctx, tx)
		return err
	})
	return head, err
}

func checkSnapshot(ctx context.Context, tx pgx.Tx) (head int64, err error) {
	var least, most int64
	if err := tx.QueryRow(ctx, `select min(position), max(position) from projections.checkpoints`).Scan(&least, &most); err != nil {
		return 0, err
	}
	if least != most {
		return 0, fmt.Errorf("the checkpoints are %d to %d", least, most)
	}
	folded := newFold()
	if head, err = foldLog(ctx, tx, folded, most); err != nil {
		return head, err
	}
	if head < most {
		return head, fmt.Errorf("the checkpoint is %d and the log ends with %d", most, head)
	}
	if head == most && len(folded.ending) > 0 {
		return head, fmt.Errorf("mappings %v ended with their patient or doctor and have no event of their own", slices.Collect(maps.Keys(folded.ending)))
	}
	return head, compareTables(ctx, tx, folded.rows())
}

// foldLog folds the log up to a position and answers its head.
func foldLog(ctx context.Context, tx pgx.Tx, into *fold, until int64) (head int64, err error) {
	registry := events.NewRegistry()
	rows, err := tx.Query(ctx, `select position, type, schema_version, data, recorded_at,
		(select count(*) from event_tags t where t.position = e.position and t.type = e.type and t.tag = any(e.tags)) = cardinality(tags)
		from events e order by position`)
	if err != nil {
		return 0, err
	}
	var position int64
	var event events.Event
	var at, before time.Time
	var tagged bool
	_, err = pgx.ForEachRow(rows, []any{&position, &event.Type, &event.SchemaVersion, (*[]byte)(&event.Data), &at, &tagged}, func() error {
		if head++; position != head || at.Before(before) || !tagged {
			return fmt.Errorf("the log holds position %d at place %d, of %v after %v, its tags found: %t", position, head, at, before, tagged)
		}
		before = at
		if position > until {
			return nil
		}
		payload, err := registry.Decode(event)
		if err == nil {
			err = into.apply(position, payload)
		}
		if err != nil {
			return fmt.Errorf("%s at position %d: %w", event.Type, position, err)
		}
		return nil
	})
	return head, err
}

func compareTables(ctx context.Context, tx pgx.Tx, want map[string]bool) error {
	var differences []string
	for _, p := range projections.All() {
		for _, table := range p.Tables() {
			if foldedTables[table] == "" {
				return fmt.Errorf("the fold of the tests does not know the table %s", table)
			}
			rows, err := tx.Query(ctx, foldedTables[table])
			if err != nil {
				return err
			}
			there, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
				values, err := row.Values()
				return foldedRow(table, values...), err
			})
			if err != nil {
				return err
			}
			for _, row := range there {
				if !want[row] {
					differences = append(differences, "only in the tables: "+row)
				}
				delete(want, row)
			}
		}
	}
	for row := range want {
		differences = append(differences, "only in the log: "+row)
	}
	if len(differences) > 0 {
		return fmt.Errorf("%d rows differ from a fold of the log:\n%s", len(differences), strings.Join(differences[:min(20, len(differences))], "\n"))
	}
	return nil
}

// mustEqualFold waits until the read tables contain the whole log, and compares.
func mustEqualFold(t *testing.T, database string) {
	t.Helper()
	eventually(t, "the read tables contain the log", 20*time.Second, func() bool {
		return query[bool](t, database, `select (select coalesce(max(position), 0) from events) = (select min(position) from projections.checkpoints)`)
	})
	if _, err := checkTables(t.Context(), database); err != nil {
		t.Error(err)
	}
}

// TestTheFoldFindsWhatDiffers: the checker would notice. Each change is one that
// a lost, doubled or misplaced event would make.
func TestTheFoldFindsWhatDiffers(t *testing.T) {
	config := databaseConfig(t)
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	server.mustAs(t, access, "POST", "/api/doctors/", doctorBody("Sarah", "sarah@example.com"), 201)
	server.mustAs(t, access, "POST", "/api/patients/mappings/", `{"patient":1,"doctor":1}`, 201)
	server.mustAs(t, access, "PATCH", "/api/patients/1/", `{"age":31}`, 200)
	server.stop()
	mustEqualFold(t, config.DatabaseURL)
	conn, err := pgx.Connect(t.Context(), config.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, change := range []string{
		`update projections.patients set age = 30`,
		`update projections.patients set position = 2`,
		`delete from projections.mappings`,
		`insert into projections.mappings select 2, patient_id, doctor_id, owner_id, assigned_at from projections.mappings`,
		`update projections.users set active = false`,
		`update projections.checkpoints set position = position - 1`,
		`update projections.checkpoints set position = position - 1 where name = 'users'`,
		`delete from event_tags where position = 3`,
		`update events set recorded_at = recorded_at - interval '1 hour' where position = 4`,
		`delete from events where position = 5`,
		`update events set position = 6 where position = 5`,
		`insert into events select 6, gen_random_uuid(), type, schema_version, '{}', data, metadata, salt, recorded_at from events where position = 4;
		 update projections.checkpoints set position = 6`,
	} {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		if _, err := checkSnapshot(t.Context(), tx); err == nil {
			t.Errorf("nobody notices: %s", change)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
