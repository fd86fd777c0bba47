package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/history"
)

// A page of a history has defaultEntries events unless ?limit= says otherwise, and
// at most maxLimit.
const defaultEntries = 100

// patientHistory answers GET /api/patients/{id}/history/.
func (a *api) patientHistory(w http.ResponseWriter, r *http.Request) error {
	return a.serveHistory(w, r, events.Patient)
}

// doctorHistory answers GET /api/doctors/{id}/history/.
func (a *api) doctorHistory(w http.ResponseWriter, r *http.Request) error {
	return a.serveHistory(w, r, events.Doctor)
}

// mappingHistory answers GET /api/patients/mappings/history/{id}/.
func (a *api) mappingHistory(w http.ResponseWriter, r *http.Request) error {
	return a.serveHistory(w, r, events.Mapping)
}

// serveHistory answers with the events about a record that the user may see:
// {"results": [...], "next": the position to go on after, or null}.
func (a *api) serveHistory(w http.ResponseWriter, r *http.Request, kind events.Kind) error {
	viewer, err := a.viewer(r.Context(), userOf(r))
	if err != nil {
		return err
	}
	after, limit, err := historyWindow(r)
	if err != nil {
		return err
	}
	page, err := a.history.History(r.Context(), history.Subject{Kind: kind, ID: pathID(r)}, viewer, after, limit)
	if err != nil {
		return err
	}
	return a.writeLong(w, r, func(dst []byte) []byte {
		dst = append(dst, `{"results":`...)
		dst = appendList(dst, page.Entries, func(dst []byte, e history.Entry) []byte { return appendEntry(dst, e, viewer) })
		dst = append(dst, `,"next":`...)
		if !page.More {
			return append(dst, `null}`...)
		}
		dst = strconv.AppendInt(dst, int64(page.Entries[len(page.Entries)-1].Position), 10)
		return append(dst, '}')
	})
}

// historyWindow reads ?after=&limit=.
func historyWindow(r *http.Request) (after events.Position, limit int, err error) {
	query, err := parseForm(r.URL.RawQuery, decoderFor(""))
	if err != nil {
		return 0, 0, err
	}
	from, err := wholeNumber(query, "after", 0, 0)
	if err != nil {
		return 0, 0, err
	}
	most, err := wholeNumber(query, "limit", 1, defaultEntries)
	return events.Position(from), int(min(most, maxLimit)), err
}

// wholeNumber is a number of the query; initial when it is not there.
func wholeNumber(query body, name string, least, initial int64) (int64, error) {
	v, given := query.get(name)
	if !given {
		return initial, nil
	}
	n, err := parseInteger(v.text) // answers the nearest to what is out of range
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, newFieldError(name, "A valid integer is required.")
	case n < least:
		return 0, newFieldError(name, "Ensure this value is greater than or equal to "+strconv.FormatInt(least, 10)+".")
	}
	return n, nil
}

func appendEntry(dst []byte, e history.Entry, viewer history.Viewer) []byte {
	dst = append(dst, `{"position":`...)
	dst = strconv.AppendInt(dst, int64(e.Position), 10)
	dst = append(dst, `,"id":`...)
	dst = appendString(dst, e.ID.String())
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, string(e.Type))
	dst = append(dst, `,"subject":`...)
	dst = appendString(dst, e.Subject.String())
	dst = append(dst, `,"recorded_at":`...)
	dst = appendTime(dst, e.RecordedAt)
	dst = append(dst, `,"actor":`...)
	dst = appendActor(dst, e, viewer)
	dst = append(dst, `,"correlation_id":`...)
	dst = appendOrNull(dst, e.CorrelationID)
	dst = append(dst, `,"causation_id":`...)
	dst = appendOrNull(dst, e.CausationID)
	dst = append(dst, `,"request_id":`...)
	dst = appendOrNull(dst, e.RequestID)
	dst = append(dst, `,"changes":{`...)
	for i, c := range e.Changes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, c.Field)
		dst = append(dst, `:{"old":`...)
		dst = appendValue(dst, c.Old)
		dst = append(dst, `,"new":`...)
		dst = appendValue(dst, c.New)
		dst = append(dst, '}')
	}
	return append(dst, "}}"...)
}

// appendActor writes who acted: {"id", "name"} for a user, with the name for who may
// know it, {"tool"} for a tool, with the operator for who sees everything.
func appendActor(dst []byte, e history.Entry, viewer history.Viewer) []byte {
	if e.Actor.UserID == 0 {
		dst = append(dst, `{"tool":`...)
		dst = appendOrNull(dst, e.Actor.Tool)
		if viewer.All {
			dst = append(dst, `,"operator":`...)
			dst = appendOrNull(dst, e.Actor.Operator)
		}
		return append(dst, '}')
	}
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, e.Actor.UserID, 10)
	dst = append(dst, `,"name":`...)
	return append(appendOrNull(dst, e.ActorName), '}')
}

func appendOrNull(dst []byte, text string) []byte {
	if text == "" {
		return append(dst, "null"...)
	}
	return appendString(dst, text)
}

// appendValue writes the value of a field.
func appendValue(dst []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return appendString(dst, v)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case bool:
		return strconv.AppendBool(dst, v)
	case time.Time:
		return appendTime(dst, v)
	case []string:
		return appendList(dst, v, appendString)
	}
	return append(dst, "null"...)
}

// viewer is what a user may see of the log.
func (a *api) viewer(ctx context.Context, user projections.Session) (history.Viewer, error) {
	account, err := a.whoAsks(ctx, user)
	return history.Viewer{User: user.User, All: slices.Contains(account.Roles, events.Auditor)}, err
}
