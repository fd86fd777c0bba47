package httpapi

import (
	"context"
	"io"
	"net/http"
	"time"
)

// maxURL is how many bytes a URL may have, its query included.
const maxURL = 8 << 10

var (
	bodyTooLarge = newDetail(http.StatusRequestEntityTooLarge, "The request body is larger than 1 MiB.")
	urlTooLong   = newDetail(http.StatusRequestURITooLong, "The URL is longer than 8 KiB.")
)

// limit refuses what is too large before anything else is looked at, and gives
// everything after it a deadline. A body whose length is not told in advance is
// measured while it is read.
func (a *api) limit(timeout time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.ContentLength > maxBody:
			swallow(r)
			a.fail(w, r, bodyTooLarge)
		case len(r.RequestURI) > maxURL:
			a.fail(w, r, urlTooLong)
		default:
			requestOf(r.Context()).client = r.Context()
			ctx, cancel := context.WithTimeout(r.Context(), timeout)
			defer cancel()
			next.ServeHTTP(w, r.WithContext(ctx))
		}
	})
}

// swallow reads a body that is refused, up to a bound. A client that does not
// listen before it has sent everything would meet a closed connection instead
// of the answer. One that asked whether to send at all does not send.
func swallow(r *http.Request) {
	if r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, 8*maxBody)
	}
}
