package httpapi

import (
	"net/http"
	"slices"

	"github.com/go-chi/cors"
)

// cross lets browsers call the API from the listed origins (the Fetch standard,
// CORS protocol). An origin must be listed exactly; there are no wildcards, and
// no cookies are ever accepted, so credentials are not allowed. Preflights are
// answered here, before routes and authentication. Without origins CORS is off:
// no header is added and a preflight is an OPTIONS request like any other.
func cross(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowOriginFunc: func(_ *http.Request, origin string) bool { return slices.Contains(origins, origin) },
		AllowedMethods:  []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"},
		AllowedHeaders: []string{"Accept", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match",
			"Last-Event-ID", "X-Request-Id", minPositionHeader},
		ExposedHeaders: []string{"Allow", "ETag", "Location", "Retry-After", "WWW-Authenticate", "X-Request-Id",
			positionHeader, projectedHeader},
		MaxAge: 600, // seconds
	}).Handler(next)
}
