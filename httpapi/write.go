package httpapi

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/carelog/carelog/commands"
)

// JSON is written by hand, to the byte: keys in the documented order, no
// spaces, nothing escaped that need not be. That is the reference's way of
// writing, and it costs no reflection.

// buffers are what bodies are built in. A buffer that a long list has grown is
// left to the garbage collector.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const largestKeptBuffer = 64 << 10

var jsonType = []string{"application/json"} // shared, never appended to

// writeJSON answers with the body that fill appends to the bytes it is given.
func writeJSON(w http.ResponseWriter, status int, fill func([]byte) []byte) {
	buffer := buffers.Get().(*[]byte)
	body := fill((*buffer)[:0])
	writeBody(w, status, body)
	if cap(body) <= largestKeptBuffer {
		*buffer = body
		buffers.Put(buffer)
	}
}

// writeError answers with an error. Every 401 carries the challenge that RFC
// 9110, 11.6.1 asks for.
func writeError(w http.ResponseWriter, e *apiError) {
	h := w.Header()
	for name, value := range e.header {
		h.Set(name, value)
	}
	if e.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="api"`)
	}
	writeBody(w, e.status, e.body)
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client is gone
}

// writeNothing answers 204.
func writeNothing(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }

// writeList answers 200 with an array of rows; none is [].
func writeList[T any](w http.ResponseWriter, rows []T, appendRow func([]byte, T) []byte) {
	writeJSON(w, http.StatusOK, func(dst []byte) []byte { return appendList(dst, rows, appendRow) })
}

func appendList[T any](dst []byte, rows []T, appendRow func([]byte, T) []byte) []byte {
	dst = append(dst, '[')
	for i, row := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendRow(dst, row)
	}
	return append(dst, ']')
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

// appendTexts writes an object whose values are all texts: key, text, ...
func appendTexts(dst []byte, keysAndTexts ...string) []byte {
	dst = append(dst, '{')
	for i := 0; i < len(keysAndTexts); i += 2 {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, keysAndTexts[i])
		dst = append(dst, ':')
		dst = appendString(dst, keysAndTexts[i+1])
	}
	return append(dst, '}')
}

// appendTime writes a time as RFC 3339 in UTC with always six decimals.
func appendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, `"2006-01-02T15:04:05.000000Z"`)
}
