package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/history"
)

// asOfParameter is the parameter of a URL that asks for the state of then: a time
// (RFC 3339) or a position of the log.
const asOfParameter = "as_of"

var (
	notAMoment      = newFieldError(asOfParameter, "Give a time like 2026-01-31T13:30:00Z, or a position of the log.")
	inTheFuture     = newFieldError(asOfParameter, "This time has not come yet.")
	afterTheLastOne = newFieldError(asOfParameter, "The log has not come to this position yet.")
)

// orAsOf guards a handler that reads what is there now, by one for what was there
// at a position: with as_of in the URL that one answers.
func (a *api) orAsOf(now handler, then func(w http.ResponseWriter, r *http.Request, at events.Position) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.URL.RawQuery == "" {
			return now(w, r)
		}
		query, err := parseForm(r.URL.RawQuery, decoderFor(""))
		if err != nil {
			return now(w, r) // which refuses it as well, or does not care
		}
		asked, given := query.get(asOfParameter)
		if !given {
			return now(w, r)
		}
		if _, err := a.checkUser(r.Context(), userOf(r)); err != nil {
			return err
		}
		at, err := a.positionOf(r.Context(), asked.text)
		if err != nil {
			return err
		}
		return then(w, r, at)
	}
}

// positionOf finds the position that as_of names.
func (a *api) positionOf(ctx context.Context, asked string) (events.Position, error) {
	if isDigits(asked) {
		position, err := strconv.ParseInt(asked, 10, 64)
		head, headErr := a.log.Head(ctx)
		switch {
		case headErr != nil:
			return 0, headErr
		case err != nil || events.Position(position) > head:
			return 0, afterTheLastOne
		}
		return events.Position(position), nil
	}
	// A plus that nobody has encoded arrives as a space.
	at, err := time.Parse(time.RFC3339Nano, strings.Replace(asked, " ", "+", 1))
	if err != nil {
		return 0, notAMoment
	}
	position, err := a.log.PositionAt(ctx, at)
	if errors.Is(err, events.ErrFuture) {
		err = inTheFuture
	}
	return position, err
}

// serveListAsOf answers with a list that was read as a whole.
func serveListAsOf[R any](a *api, w http.ResponseWriter, r *http.Request, read func(context.Context) ([]R, error), appendRow func([]byte, R) []byte) error {
	all := func(ctx context.Context, _ projections.Session) ([]R, error) { return read(ctx) }
	part := func(ctx context.Context, _ projections.Session, limit, offset int64) (projections.Page[R], error) {
		rows, err := read(ctx)
		count := int64(len(rows))
		begin := min(offset, count)
		return projections.Page[R]{Count: count, Rows: rows[begin:min(begin+limit, count)]}, err
	}
	return serveList(a, w, r, all, part, appendRow)
}

func (a *api) listPatientsAsOf(w http.ResponseWriter, r *http.Request, at events.Position) error {
	return serveListAsOf(a, w, r, func(ctx context.Context) ([]projections.Patient, error) {
		return a.history.Patients(ctx, userOf(r).User, at)
	}, appendPatientRow)
}

func (a *api) getPatientAsOf(w http.ResponseWriter, r *http.Request, at events.Position) error {
	patient, err := a.history.Patient(r.Context(), pathID(r), history.Viewer{User: userOf(r).User}, at)
	if err != nil {
		return err
	}
	writeUnlessKnown(w, r, patient.Position, func(dst []byte) []byte { return appendPatientRow(dst, patient) })
	return nil
}

func (a *api) listDoctorsAsOf(w http.ResponseWriter, r *http.Request, at events.Position) error {
	return serveListAsOf(a, w, r, func(ctx context.Context) ([]projections.Doctor, error) {
		return a.history.Doctors(ctx, at)
	}, appendDoctorRow)
}

func (a *api) getDoctorAsOf(w http.ResponseWriter, r *http.Request, at events.Position) error {
	doctor, err := a.history.Doctor(r.Context(), pathID(r), at)
	if err != nil {
		return err
	}
	writeUnlessKnown(w, r, doctor.Position, func(dst []byte) []byte { return appendDoctorRow(dst, doctor) })
	return nil
}

func (a *api) listMappingsAsOf(w http.ResponseWriter, r *http.Request, at events.Position) error {
	return serveListAsOf(a, w, r, func(ctx context.Context) ([]projections.Mapping, error) {
		return a.history.Mappings(ctx, userOf(r).User, at)
	}, appendMappingRow)
}

func (a *api) listPatientMappingsAsOf(w http.ResponseWriter, r *http.Request, at events.Position) error {
	return serveListAsOf(a, w, r, func(ctx context.Context) ([]projections.Mapping, error) {
		return a.history.PatientMappings(ctx, userOf(r).User, pathID(r), at)
	}, appendMappingRow)
}
