package httpapi

import (
	"net/http"
	"strings"

	"github.com/carelog/carelog/commands"
)

// maxIdempotencyKey is how many characters an Idempotency-Key may have.
const maxIdempotencyKey = 255

var badIdempotencyKey = newDetail(http.StatusBadRequest, "Idempotency-Key must be one text of 1 to 255 printable ASCII characters.")

// change guards a handler that changes a record, with the guard of every
// command: the request may have an Idempotency-Key, by which [commands.Service]
// knows it again. The key is taken as it stands, quotes included; the header is
// that of the IETF's draft-ietf-httpapi-idempotency-key-header.
func (a *api) change(serve handler) handler {
	return a.admitted(a.admissions.changes, a.standing(a.command(func(w http.ResponseWriter, r *http.Request) error {
		if keys := r.Header["Idempotency-Key"]; len(keys) > 0 {
			if len(keys) > 1 || !isIdempotencyKey(keys[0]) {
				return badIdempotencyKey
			}
			requestOf(r.Context()).idempotency = commands.Idempotency{
				Key: keys[0], Method: r.Method, Path: strings.TrimSuffix(r.URL.Path, "/"),
			}
		}
		return serve(w, r)
	})))
}

func isIdempotencyKey(key string) bool {
	return 0 < len(key) && len(key) <= maxIdempotencyKey &&
		!strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' })
}
