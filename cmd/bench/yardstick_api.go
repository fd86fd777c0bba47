package main

import (
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

type patient struct {
	ID        int64     `json:"id"`
	FirstName string    `json:"first_name"`
	LastName  string    `json:"last_name"`
	Age       int32     `json:"age"`
	Gender    string    `json:"gender"`
	CreatedAt time.Time `json:"created_at"`
	AddedBy   int64     `json:"added_by"`
}

const patientColumns = "id, first_name, last_name, age, gender, created_at, owner_id"

func (p *patient) targets() []any {
	return []any{&p.ID, &p.FirstName, &p.LastName, &p.Age, &p.Gender, &p.CreatedAt, &p.AddedBy}
}

func (y *yardstick) postPatient(w http.ResponseWriter, r *http.Request) {
	var p patient
	if !read(w, r, &p) {
		return
	}
	p.AddedBy = userOf(r)
	y.one(w, r, http.StatusCreated, &p, []any{&p.ID, &p.CreatedAt},
		"insert into patients (owner_id, first_name, last_name, age, gender) values ($1, $2, $3, $4, $5) returning id, created_at",
		p.AddedBy, p.FirstName, p.LastName, p.Age, p.Gender)
}

func (y *yardstick) getPatient(w http.ResponseWriter, r *http.Request) {
	var p patient
	y.one(w, r, http.StatusOK, &p, p.targets(),
		"select "+patientColumns+" from patients where id = $1 and owner_id = $2", id(r), userOf(r))
}

func (y *yardstick) listPatients(w http.ResponseWriter, r *http.Request) {
	rows, err := y.pool.Query(r.Context(), "select "+patientColumns+" from patients where owner_id = $1 order by id", userOf(r))
	if err != nil {
		fail(w, err)
		return
	}
	patients := []patient{}
	var p patient
	_, err = pgx.ForEachRow(rows, p.targets(), func() error {
		patients = append(patients, p)
		return nil
	})
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, patients)
}

func (y *yardstick) patchPatient(w http.ResponseWriter, r *http.Request) {
	var change struct {
		FirstName *string `json:"first_name"`
		LastName  *string `json:"last_name"`
		Age       *int32  `json:"age"`
		Gender    *string `json:"gender"`
	}
	if !read(w, r, &change) {
		return
	}
	var p patient
	y.one(w, r, http.StatusOK, &p, p.targets(), `update patients set first_name = coalesce($3, first_name),
		last_name = coalesce($4, last_name), age = coalesce($5, age), gender = coalesce($6, gender)
		where id = $1 and owner_id = $2 returning `+patientColumns,
		id(r), userOf(r), change.FirstName, change.LastName, change.Age, change.Gender)
}

func (y *yardstick) postDoctor(w http.ResponseWriter, r *http.Request) {
	var d struct {
		ID             int64     `json:"id"`
		FirstName      string    `json:"first_name"`
		LastName       string    `json:"last_name"`
		Specialization string    `json:"specialization"`
		Email          string    `json:"email"`
		Phone          string    `json:"phone"`
		CreatedAt      time.Time `json:"created_at"`
	}
	if !read(w, r, &d) {
		return
	}
	y.one(w, r, http.StatusCreated, &d, []any{&d.ID, &d.CreatedAt},
		"insert into doctors (first_name, last_name, specialization, email, phone) values ($1, $2, $3, $4, $5) returning id, created_at",
		d.FirstName, d.LastName, d.Specialization, d.Email, d.Phone)
}

func (y *yardstick) postMapping(w http.ResponseWriter, r *http.Request) {
	var m struct {
		ID          int64     `json:"id"`
		Patient     int64     `json:"patient"`
		Doctor      int64     `json:"doctor"`
		PatientName string    `json:"patient_name"`
		DoctorName  string    `json:"doctor_name"`
		AssignedAt  time.Time `json:"assigned_at"`
	}
	if !read(w, r, &m) {
		return
	}
	// What RETURNING answers are the new row's columns alone, so the names are
	// joined to it.
	y.one(w, r, http.StatusCreated, &m, []any{&m.ID, &m.PatientName, &m.DoctorName, &m.AssignedAt}, `
		with names as (
			select p.first_name || ' ' || p.last_name as patient, d.first_name || ' ' || d.last_name as doctor
			from patients p, doctors d where p.id = $1 and p.owner_id = $3 and d.id = $2
		), added as (
			insert into mappings (patient_id, doctor_id, owner_id) select $1, $2, $3 from names returning id, assigned_at
		)
		select added.id, names.patient, names.doctor, added.assigned_at from added, names`,
		m.Patient, m.Doctor, userOf(r))
}
