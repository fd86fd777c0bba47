package projections

import (
	"context"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
)

// readOnce asks every query once, and for the records of every kind of command.
func readOnce(t *testing.T, q *Queries) {
	t.Helper()
	ctx := t.Context()
	var logID uuid.UUID
	if err := q.pool.QueryRow(ctx, `select log_id from checkpoints where name = 'users'`).Scan(&logID); err != nil {
		t.Fatal(err)
	}
	one, email := int64(1), "a"
	for _, of := range []events.Subjects{
		{Patient: &one}, {Patient: &one, Mappings: true}, {DoctorEmail: &email}, {Doctor: &one, DoctorEmail: &email},
		{Doctor: &one, Mappings: true}, {Patient: &one, Doctor: &one, Mappings: true},
	} {
		if _, at, err := NewRecords(q.pool, logID).Snapshots(ctx, of); err != nil || at == 0 {
			t.Errorf("%+v at %d: %v", of, at, err)
		}
	}
	for name, err := range map[string]error{
		"Patient":             second(q.Patient(ctx, as(1), 1)),
		"Patients":            second(q.Patients(ctx, as(1))),
		"PatientsPage":        second(q.PatientsPage(ctx, as(1), 1, 1)),
		"Doctor":              second(q.Doctor(ctx, as(1), 1)),
		"Doctors":             second(q.Doctors(ctx, as(1))),
		"DoctorsPage":         second(q.DoctorsPage(ctx, as(1), 1, 1)),
		"Mappings":            second(q.Mappings(ctx, as(1))),
		"MappingsPage":        second(q.MappingsPage(ctx, as(1), 1, 1)),
		"PatientMappings":     second(q.PatientMappings(ctx, as(1), 1)),
		"PatientMappingsPage": second(q.PatientMappingsPage(ctx, as(1), 1, 1, 1)),
		"CheckSession":        second(q.CheckSession(ctx, as(1))),
		"NewSession":          second(q.NewSession(ctx, 1)),
		"Users":               second(q.Users(ctx, 0, 10)),
		"DoctorEmailTaken":    second(q.DoctorEmailTaken(ctx, "a", 1)),
		"UserEmailTaken":      second(q.UserEmailTaken(ctx, "a")),
	} {
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// as is a session of a user whose password was never changed.
func as(user int64) Session { return Session{User: user} }

func second[V any](_ V, err error) error { return err }

func TestQueries(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.running().apply(history(t,
		registerUser(1), registerUser(2), registerUser(3),
		registerDoctor(1, "a@x"), registerDoctor(2, "b@x"),
		registerPatient(2, 1), registerPatient(1, 1), registerPatient(3, 2),
		createMapping(2, 1, 2, 1), createMapping(1, 2, 1, 1), createMapping(3, 3, 1, 2),
		events.PatientAmended{PatientID: 1, OwnerID: 1, LastName: point("Poe")},
		events.UserDisabled{UserID: 3}, registerUser(4), events.UserPasswordChanged{UserID: 4}, events.UserPasswordChanged{UserID: 4},
	))
	q, ctx := NewQueries(d.pool), t.Context()

	patient1 := Patient{ID: 1, FirstName: "P1", LastName: "Poe", Age: 40, Gender: "Female", CreatedAt: day, AddedBy: 1, Position: 12}
	patient2 := Patient{ID: 2, FirstName: "P2", LastName: "Doe", Age: 40, Gender: "Female", CreatedAt: day, AddedBy: 1, Position: 6}
	patient3 := Patient{ID: 3, FirstName: "P3", LastName: "Doe", Age: 40, Gender: "Female", CreatedAt: day, AddedBy: 2, Position: 8}
	doctor1 := Doctor{ID: 1, FirstName: "D1", LastName: "Roe", Specialization: "Surgery", Email: "a@x", Phone: "1", CreatedAt: day, Position: 4}
	doctor2 := Doctor{ID: 2, FirstName: "D2", LastName: "Roe", Specialization: "Surgery", Email: "b@x", Phone: "1", CreatedAt: day, Position: 5}
	mapping1 := Mapping{ID: 1, Patient: 2, Doctor: 1, PatientName: "P2 Doe", DoctorName: "D1 Roe", AssignedAt: day}
	mapping2 := Mapping{ID: 2, Patient: 1, Doctor: 2, PatientName: "P1 Poe", DoctorName: "D2 Roe", AssignedAt: day}

	for _, c := range []struct {
		name string
		ask  func(user Session) (any, error)
		user int64
		want any
		err  error
	}{
		{"a patient", func(u Session) (any, error) { return q.Patient(ctx, u, 1) }, 1, patient1, nil},
		{"another user's patient", func(u Session) (any, error) { return q.Patient(ctx, u, 1) }, 2, Patient{}, ErrNotFound},
		{"a missing patient", func(u Session) (any, error) { return q.Patient(ctx, u, 9) }, 1, Patient{}, ErrNotFound},
		{"patients", func(u Session) (any, error) { return q.Patients(ctx, u) }, 1, []Patient{patient1, patient2}, nil},
		{"patients of another", func(u Session) (any, error) { return q.Patients(ctx, u) }, 2, []Patient{patient3}, nil},
		{"a doctor", func(u Session) (any, error) { return q.Doctor(ctx, u, 1) }, 2, doctor1, nil},
		{"a missing doctor", func(u Session) (any, error) { return q.Doctor(ctx, u, 9) }, 1, Doctor{}, ErrNotFound},
		{"doctors", func(u Session) (any, error) { return q.Doctors(ctx, u) }, 2, []Doctor{doctor1, doctor2}, nil},
		{"mappings", func(u Session) (any, error) { return q.Mappings(ctx, u) }, 1, []Mapping{mapping1, mapping2}, nil},
		{"mappings of a patient", func(u Session) (any, error) { return q.PatientMappings(ctx, u, 2) }, 1, []Mapping{mapping1}, nil},
		{"mappings of another user's patient", func(u Session) (any, error) { return q.PatientMappings(ctx, u, 2) }, 2, []Mapping{}, nil},
		{"mappings of a missing patient", func(u Session) (any, error) { return q.PatientMappings(ctx, u, 9) }, 1, []Mapping{}, nil},
		{"the first of the patients", func(u Session) (any, error) { return q.PatientsPage(ctx, u, 1, 0) }, 1, Page[Patient]{2, []Patient{patient1}}, nil},
		{"the rest of the patients", func(u Session) (any, error) { return q.PatientsPage(ctx, u, 5, 1) }, 1, Page[Patient]{2, []Patient{patient2}}, nil},
		{"beyond the last patient", func(u Session) (any, error) { return q.PatientsPage(ctx, u, 5, 2) }, 1, Page[Patient]{2, []Patient{}}, nil},
		{"the farthest page", func(u Session) (any, error) { return q.PatientsPage(ctx, u, 1000, math.MaxInt64-1000) }, 1, Page[Patient]{2, []Patient{}}, nil},
		{"a page of the patients of another", func(u Session) (any, error) { return q.PatientsPage(ctx, u, 5, 0) }, 2, Page[Patient]{1, []Patient{patient3}}, nil},
		{"a page of doctors", func(u Session) (any, error) { return q.DoctorsPage(ctx, u, 1, 1) }, 2, Page[Doctor]{2, []Doctor{doctor2}}, nil},
		{"a page of mappings", func(u Session) (any, error) { return q.MappingsPage(ctx, u, 1, 1) }, 1, Page[Mapping]{2, []Mapping{mapping2}}, nil},
		{"a page of a patient's mappings", func(u Session) (any, error) { return q.PatientMappingsPage(ctx, u, 2, 3, 0) }, 1, Page[Mapping]{1, []Mapping{mapping1}}, nil},
		{"a page of the mappings of another user's patient", func(u Session) (any, error) { return q.PatientMappingsPage(ctx, u, 2, 3, 0) }, 2, Page[Mapping]{0, []Mapping{}}, nil},
		{"a session", func(u Session) (any, error) { return q.CheckSession(ctx, u) }, 1, events.Position(16), nil},
		{"a doctor's e-mail address", func(Session) (any, error) { return q.DoctorEmailTaken(ctx, "a@x", 0) }, 0, true, nil},
		{"one's own", func(Session) (any, error) { return q.DoctorEmailTaken(ctx, "a@x", 1) }, 0, false, nil},
		{"in other letters", func(Session) (any, error) { return q.DoctorEmailTaken(ctx, "A@x", 0) }, 0, false, nil},
		{"a user's e-mail address", func(Session) (any, error) { return q.UserEmailTaken(ctx, "u1@example.org") }, 0, true, nil},
		{"nobody's", func(Session) (any, error) { return q.UserEmailTaken(ctx, "u9@example.org") }, 0, false, nil},
	} {
		got, err := c.ask(as(c.user))
		if !errors.Is(err, c.err) || !reflect.DeepEqual(inUTC(got), c.want) {
			t.Errorf("%s: got %+v, %v, want %+v, %v", c.name, got, err, c.want, c.err)
		}
		if c.user == 0 {
			continue
		}
		if _, err := c.ask(as(3)); !errors.Is(err, ErrInactiveUser) {
			t.Errorf("%s, asked by an inactive user: %v", c.name, err)
		}
		if _, err := c.ask(as(99)); !errors.Is(err, ErrUnknownUser) {
			t.Errorf("%s, asked by an unknown user: %v", c.name, err)
		}
		if _, err := c.ask(as(4)); !errors.Is(err, ErrSessionEnded) {
			t.Errorf("%s, asked in a session of before the password was changed: %v", c.name, err)
		}
		if _, err := c.ask(Session{4, 16}); err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s, asked in a session of after that: %v", c.name, err)
		}
		if _, err := c.ask(Session{4, 17}); !errors.Is(err, ErrSessionEnded) {
			t.Errorf("%s, asked in a session that was never begun: %v", c.name, err)
		}
	}
}

func TestSessionsAndUsers(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.running().apply(history(t,
		registerUser(1), registerUser(2), registerUser(3),
		events.UserPasswordChanged{UserID: 1}, events.UserDisabled{UserID: 2}, events.UserDisabled{UserID: 3}, events.UserEnabled{UserID: 3},
	))
	q, ctx := NewQueries(d.pool), t.Context()
	for user, want := range map[int64]struct {
		session Session
		err     error
	}{1: {Session{1, 4}, nil}, 2: {Session{}, ErrInactiveUser}, 3: {Session{3, 0}, nil}, 9: {Session{}, ErrUnknownUser}} {
		if got, err := q.NewSession(ctx, user); got != want.session || !errors.Is(err, want.err) {
			t.Errorf("user %d: %+v, %v", user, got, err)
		}
	}
	users, err := q.Users(ctx, 0, 2)
	more, err2 := q.Users(ctx, 2, 2)
	if err != nil || err2 != nil || len(users) != 2 || len(more) != 1 {
		t.Fatalf("%+v, %v, %+v, %v", users, err, more, err2)
	}
	for i, want := range []User{
		{ID: 1, Name: "User1", Email: "u1@example.org", Active: true, RegisteredAt: day, Epoch: 4, Roles: []events.Role{}},
		{ID: 2, Name: "User2", Email: "u2@example.org", Active: false, RegisteredAt: day, Roles: []events.Role{}},
		{ID: 3, Name: "User3", Email: "u3@example.org", Active: true, RegisteredAt: day, Roles: []events.Role{}},
	} {
		if got := append(users, more...)[i]; !reflect.DeepEqual(inUTC(got), any(want)) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

// inUTC makes times comparable.
func inUTC(v any) any {
	switch v := v.(type) {
	case Patient:
		v.CreatedAt = v.CreatedAt.UTC()
		return v
	case []Patient:
		for i := range v {
			v[i].CreatedAt = v[i].CreatedAt.UTC()
		}
	case Page[Patient]:
		inUTC(v.Rows)
	case Page[Doctor]:
		inUTC(v.Rows)
	case Page[Mapping]:
		inUTC(v.Rows)
	case Doctor:
		v.CreatedAt = v.CreatedAt.UTC()
		return v
	case []Doctor:
		for i := range v {
			v[i].CreatedAt = v[i].CreatedAt.UTC()
		}
	case Mapping:
		v.AssignedAt = v.AssignedAt.UTC()
		return v
	case []Mapping:
		for i := range v {
			v[i].AssignedAt = v[i].AssignedAt.UTC()
		}
	case User:
		v.RegisteredAt = v.RegisteredAt.UTC()
		return v
	}
	return v
}

func TestQueriesWithoutADatabase(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	q := NewQueries(pool)
	if _, err := q.Patients(t.Context(), as(1)); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("a list: %v", err)
	}
	if _, err := q.UserEmailTaken(t.Context(), "a"); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("a question: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Patient(ctx, as(1), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
