package httpapi

import (
	"cmp"
	"net/http"
	"strconv"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/projections"
)

// listPatients answers GET /api/patients/: the user's own, in order of id.
func (a *api) listPatients(w http.ResponseWriter, r *http.Request) error {
	return serveList(a, w, r, a.queries.Patients, a.queries.PatientsPage, appendPatientRow)
}

// getPatient answers GET /api/patients/{id}/.
func (a *api) getPatient(w http.ResponseWriter, r *http.Request) error {
	ctx, user := r.Context(), userOf(r)
	patient, err := asUser(ctx, a, user, func() (projections.Patient, error) { return a.queries.Patient(ctx, user, pathID(r)) })
	if err != nil {
		return err
	}
	writeUnlessKnown(w, r, patient.Position, func(dst []byte) []byte { return appendPatientRow(dst, patient) })
	return nil
}

// registerPatient answers POST /api/patients/.
func (a *api) registerPatient(w http.ResponseWriter, r *http.Request) error {
	fields, err := readPatient(r, false)
	if err != nil {
		return err
	}
	patient, pos, err := a.commands.RegisterPatient(r.Context(), callerOf(r), commands.RegisterPatient{
		FirstName: *fields.FirstName,
		LastName:  *fields.LastName,
		Age:       *fields.Age,
		Gender:    *fields.Gender,
	})
	if err := a.settle(r.Context(), w, pos, err); err != nil {
		return err
	}
	writeRecord(w, http.StatusCreated, patient.Position, func(dst []byte) []byte { return appendPatient(dst, patient) })
	return nil
}

// putPatient answers PUT /api/patients/{id}/, which needs all fields.
func (a *api) putPatient(w http.ResponseWriter, r *http.Request) error {
	return a.amendPatient(w, r, false)
}

// patchPatient answers PATCH /api/patients/{id}/, which leaves absent fields.
func (a *api) patchPatient(w http.ResponseWriter, r *http.Request) error {
	return a.amendPatient(w, r, true)
}

func (a *api) amendPatient(w http.ResponseWriter, r *http.Request, partial bool) error {
	expected, err := ifMatch(r)
	if err != nil {
		return err
	}
	change, err := readPatient(r, partial)
	if isUnread(err) {
		return err
	}
	if err != nil {
		// That there is no such patient, or not in this state, goes before what is
		// wrong with the body.
		patient, missing := a.queries.Patient(r.Context(), userOf(r), pathID(r))
		return cmp.Or(missing, expected.Check(patient.Position), err)
	}
	change.IfMatch = expected
	change.ID = pathID(r)
	patient, pos, err := a.commands.AmendPatient(r.Context(), callerOf(r), change)
	if err := a.settle(r.Context(), w, pos, err); err != nil {
		return err
	}
	writeRecord(w, http.StatusOK, patient.Position, func(dst []byte) []byte { return appendPatient(dst, patient) })
	return nil
}

// removePatient answers DELETE /api/patients/{id}/. A body is not looked at.
func (a *api) removePatient(w http.ResponseWriter, r *http.Request) error {
	expected, err := ifMatch(r)
	if err != nil {
		return err
	}
	pos, err := a.commands.RemovePatient(r.Context(), callerOf(r), commands.RemovePatient{ID: pathID(r), IfMatch: expected})
	if err := a.settle(r.Context(), w, pos, err); err != nil {
		return err
	}
	writeNothing(w)
	return nil
}

// readPatient reads the fields of a patient from the body. None is nil unless
// it is absent and partial is given.
func readPatient(r *http.Request, partial bool) (commands.AmendPatient, error) {
	b, err := readBody(r)
	if err != nil {
		return commands.AmendPatient{}, err
	}
	f := newForm(b, partial)
	fields := commands.AmendPatient{
		FirstName: f.text("first_name", 100),
		LastName:  f.text("last_name", 100),
		Age:       f.integer("age", 0, 150),
		Gender:    f.choice("gender", "Male", "Female", "Other"),
	}
	return fields, f.err()
}

func appendPatientRow(dst []byte, p projections.Patient) []byte {
	return appendPatient(dst, commands.Patient(p))
}

func appendPatient(dst []byte, p commands.Patient) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, p.ID, 10)
	dst = append(dst, `,"first_name":`...)
	dst = appendString(dst, p.FirstName)
	dst = append(dst, `,"last_name":`...)
	dst = appendString(dst, p.LastName)
	dst = append(dst, `,"age":`...)
	dst = strconv.AppendInt(dst, int64(p.Age), 10)
	dst = append(dst, `,"gender":`...)
	dst = appendString(dst, p.Gender)
	dst = append(dst, `,"created_at":`...)
	dst = appendTime(dst, p.CreatedAt)
	dst = append(dst, `,"added_by":`...)
	dst = strconv.AppendInt(dst, p.AddedBy, 10)
	return append(dst, '}')
}
