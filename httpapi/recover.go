package httpapi

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
)

// recoverPanics answers 500 to a request whose handler panicked, and logs where
// it did, once. What was passed to panic is told by its type alone unless the
// Go runtime made it: anything else could hold personal data.
func (a *api) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler {
				panic(cause) // how net/http is told to cut the connection
			}
			what := fmt.Sprintf("%T", cause)
			if fault, ok := cause.(runtime.Error); ok {
				what = fault.Error()
			}
			a.logger.LogAttrs(r.Context(), slog.LevelError, "a handler panicked",
				slog.String("panic", what),
				slog.String("stack", string(debug.Stack())))
			if observed, ok := w.(*observedWriter); ok && observed.status != 0 {
				panic(http.ErrAbortHandler) // half an answer is out: it must not look whole
			}
			writeError(w, serverError)
		}()
		next.ServeHTTP(w, r)
	})
}
