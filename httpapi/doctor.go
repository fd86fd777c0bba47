package httpapi

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/projections"
)

const doctorEmailTaken = "doctor with this email already exists."

// listDoctors answers GET /api/doctors/: all there are, in order of id.
func (a *api) listDoctors(w http.ResponseWriter, r *http.Request) error {
	return serveList(a, w, r, a.queries.Doctors, a.queries.DoctorsPage, appendDoctorRow)
}

// getDoctor answers GET /api/doctors/{id}/.
func (a *api) getDoctor(w http.ResponseWriter, r *http.Request) error {
	ctx, user := r.Context(), userOf(r)
	doctor, err := asUser(ctx, a, user, func() (projections.Doctor, error) { return a.queries.Doctor(ctx, user, pathID(r)) })
	if err != nil {
		return err
	}
	writeUnlessKnown(w, r, doctor.Position, func(dst []byte) []byte { return appendDoctorRow(dst, doctor) })
	return nil
}

// registerDoctor answers POST /api/doctors/.
func (a *api) registerDoctor(w http.ResponseWriter, r *http.Request) error {
	fields, err := a.readDoctor(r, 0, false)
	if err != nil {
		return err
	}
	doctor, pos, err := a.commands.RegisterDoctor(r.Context(), callerOf(r), commands.RegisterDoctor{
		FirstName:      *fields.FirstName,
		LastName:       *fields.LastName,
		Specialization: *fields.Specialization,
		Email:          *fields.Email,
		Phone:          *fields.Phone,
	})
	if err := a.settle(r.Context(), w, pos, sayEmailTaken(err, doctorEmailTaken)); err != nil {
		return err
	}
	writeRecord(w, http.StatusCreated, doctor.Position, func(dst []byte) []byte { return appendDoctor(dst, doctor) })
	return nil
}

// putDoctor answers PUT /api/doctors/{id}/, which needs all fields.
func (a *api) putDoctor(w http.ResponseWriter, r *http.Request) error {
	return a.amendDoctor(w, r, false)
}

// patchDoctor answers PATCH /api/doctors/{id}/, which leaves absent fields.
func (a *api) patchDoctor(w http.ResponseWriter, r *http.Request) error {
	return a.amendDoctor(w, r, true)
}

func (a *api) amendDoctor(w http.ResponseWriter, r *http.Request, partial bool) error {
	expected, err := ifMatch(r)
	if err != nil {
		return err
	}
	change, err := a.readDoctor(r, pathID(r), partial)
	if isUnread(err) {
		return err
	}
	if err != nil {
		// That there is no such doctor, or not in this state, goes before what is
		// wrong with the body.
		doctor, missing := a.queries.Doctor(r.Context(), userOf(r), pathID(r))
		return cmp.Or(missing, expected.Check(doctor.Position), err)
	}
	change.IfMatch = expected
	doctor, pos, err := a.commands.AmendDoctor(r.Context(), callerOf(r), change)
	if err := a.settle(r.Context(), w, pos, sayEmailTaken(err, doctorEmailTaken)); err != nil {
		return err
	}
	writeRecord(w, http.StatusOK, doctor.Position, func(dst []byte) []byte { return appendDoctor(dst, doctor) })
	return nil
}

// removeDoctor answers DELETE /api/doctors/{id}/. A body is not looked at.
func (a *api) removeDoctor(w http.ResponseWriter, r *http.Request) error {
	expected, err := ifMatch(r)
	if err != nil {
		return err
	}
	pos, err := a.commands.RemoveDoctor(r.Context(), callerOf(r), commands.RemoveDoctor{ID: pathID(r), IfMatch: expected})
	if err := a.settle(r.Context(), w, pos, err); err != nil {
		return err
	}
	writeNothing(w)
	return nil
}

// readDoctor reads the fields of a doctor (0: of a new one) from the body. None
// is nil unless it is absent and partial is given. Whether the e-mail address is
// free is for the command to decide; but when the body is refused anyway, a
// taken one is reported along with the rest.
func (a *api) readDoctor(r *http.Request, id int64, partial bool) (commands.AmendDoctor, error) {
	b, err := readBody(r)
	if err != nil {
		return commands.AmendDoctor{}, err
	}
	f := newForm(b, partial)
	fields := commands.AmendDoctor{
		ID:             id,
		FirstName:      f.text("first_name", 100),
		LastName:       f.text("last_name", 100),
		Specialization: f.text("specialization", 100),
		Email:          f.email("email", 254),
		Phone:          f.text("phone", 15),
	}
	if f.err() != nil && fields.Email != nil {
		taken, err := a.queries.DoctorEmailTaken(r.Context(), *fields.Email, id)
		if err != nil {
			return fields, err
		}
		if taken {
			f.fail("email", doctorEmailTaken)
		}
	}
	return fields, f.err()
}

// sayEmailTaken turns the refusal of a taken e-mail address into its answer.
func sayEmailTaken(err error, message string) error {
	if errors.Is(err, commands.ErrEmailTaken) {
		return newFieldError("email", message)
	}
	return err
}

func appendDoctorRow(dst []byte, d projections.Doctor) []byte {
	return appendDoctor(dst, commands.Doctor(d))
}

func appendDoctor(dst []byte, d commands.Doctor) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, d.ID, 10)
	dst = append(dst, `,"first_name":`...)
	dst = appendString(dst, d.FirstName)
	dst = append(dst, `,"last_name":`...)
	dst = appendString(dst, d.LastName)
	dst = append(dst, `,"specialization":`...)
	dst = appendString(dst, d.Specialization)
	dst = append(dst, `,"email":`...)
	dst = appendString(dst, d.Email)
	dst = append(dst, `,"phone":`...)
	dst = appendString(dst, d.Phone)
	dst = append(dst, `,"created_at":`...)
	dst = appendTime(dst, d.CreatedAt)
	return append(dst, '}')
}
