package httpapi

import (
	"net/http"
	"strconv"
	"sync"
	"time"
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
	withBuffer(fill, func(body []byte) { writeBody(w, status, body) })
}

func withBuffer(fill func([]byte) []byte, write func(body []byte)) {
	buffer := buffers.Get().(*[]byte)
	body := fill((*buffer)[:0])
	write(body)
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

// writeLong answers 200 like writeJSON, with what may be long. Since that stays in
// memory for as long as the client takes to read it, there must be room.
func (a *api) writeLong(w http.ResponseWriter, r *http.Request, fill func([]byte) []byte) (err error) {
	withBuffer(fill, func(body []byte) {
		if len(body) > shortAnswer {
			if !a.answers.take(len(body)) {
				err = requestOf(r.Context()).admission.refuse(r.Context())
				return
			}
			defer a.answers.give(len(body))
		}
		writeBody(w, http.StatusOK, body)
	})
	return err
}

// appendList appends an array of rows; none is [].
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
