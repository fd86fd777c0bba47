package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/projections"
)

// listMappings answers GET /api/patients/mappings/: those of the user's own
// patients, in order of id.
func (a *api) listMappings(w http.ResponseWriter, r *http.Request) error {
	return serveList(a, w, r, a.queries.Mappings, a.queries.MappingsPage, appendMappingRow)
}

// listPatientMappings answers GET /api/patients/mappings/{id}/, where id is a
// patient's: an empty list also when there is no such patient of the user.
func (a *api) listPatientMappings(w http.ResponseWriter, r *http.Request) error {
	patient := pathID(r)
	return serveList(a, w, r,
		func(ctx context.Context, user projections.Session) ([]projections.Mapping, error) {
			return a.queries.PatientMappings(ctx, user, patient)
		},
		func(ctx context.Context, user projections.Session, limit, offset int64) (projections.Page[projections.Mapping], error) {
			return a.queries.PatientMappingsPage(ctx, user, patient, limit, offset)
		},
		appendMappingRow)
}

// mapDoctor answers POST /api/patients/mappings/.
func (a *api) mapDoctor(w http.ResponseWriter, r *http.Request) error {
	b, err := readBody(r)
	if err != nil {
		return err
	}
	f := newForm(b, false)
	patient, doctor := f.key("patient"), f.key("doctor")
	if f.err() != nil {
		return a.refuseMapping(r, f, patient, doctor)
	}
	mapping, pos, err := a.commands.MapDoctor(r.Context(), callerOf(r), commands.MapDoctor{PatientID: *patient, DoctorID: *doctor})
	var unknown *commands.UnknownKeysError
	if errors.As(err, &unknown) {
		if unknown.Patient {
			f.noSuchKey("patient")
		}
		if unknown.Doctor {
			f.noSuchKey("doctor")
		}
		err = f.err()
	}
	if err := a.settle(r.Context(), w, pos, err); err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, func(dst []byte) []byte { return appendMapping(dst, mapping) })
	return nil
}

// refuseMapping answers a body in which one key or both are no keys. One that
// is, is looked up, so that both fields are reported at once.
func (a *api) refuseMapping(r *http.Request, f *form, patient, doctor *int64) error {
	ctx, user := r.Context(), userOf(r)
	if patient != nil {
		_, err := a.queries.Patient(ctx, user, *patient)
		if errors.Is(err, projections.ErrNotFound) {
			f.noSuchKey("patient")
		} else if err != nil {
			return err
		}
	}
	if doctor != nil {
		_, err := a.queries.Doctor(ctx, user, *doctor)
		if errors.Is(err, projections.ErrNotFound) {
			f.noSuchKey("doctor")
		} else if err != nil {
			return err
		}
	}
	return f.err()
}

// unmapDoctor answers DELETE /api/patients/mappings/delete/{id}/.
func (a *api) unmapDoctor(w http.ResponseWriter, r *http.Request) error {
	pos, err := a.commands.UnmapDoctor(r.Context(), callerOf(r), pathID(r))
	if err := a.settle(r.Context(), w, pos, err); err != nil {
		return err
	}
	writeNothing(w)
	return nil
}

func appendMappingRow(dst []byte, m projections.Mapping) []byte {
	return appendMapping(dst, commands.Mapping(m))
}

func appendMapping(dst []byte, m commands.Mapping) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, m.ID, 10)
	dst = append(dst, `,"patient":`...)
	dst = strconv.AppendInt(dst, m.Patient, 10)
	dst = append(dst, `,"doctor":`...)
	dst = strconv.AppendInt(dst, m.Doctor, 10)
	dst = append(dst, `,"patient_name":`...)
	dst = appendString(dst, m.PatientName)
	dst = append(dst, `,"doctor_name":`...)
	dst = appendString(dst, m.DoctorName)
	dst = append(dst, `,"assigned_at":`...)
	dst = appendTime(dst, m.AssignedAt)
	return append(dst, '}')
}
