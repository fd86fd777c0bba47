package httpapi

import (
	"log/slog"
	"net/http"
	"slices"
	"time"
)

// logAnswer writes a request's line to the access log, and counts it. The line holds no
// path, no query and no header: those can hold personal data.
func (a *api) logAnswer(r *http.Request, known *request, observed *observedWriter, traceID slog.Attr) {
	method, took := loggedMethod(r.Method), time.Since(known.began)
	a.metrics.done(known, method, observed.status, took)
	// Not with the request's own context: that would have its id added a second time.
	a.logger.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("method", method),
		slog.String("route", known.route),
		slog.Int("status", observed.status),
		slog.Int64("bytes", observed.bytes),
		slog.Duration("duration", took),
		slog.String("request_id", known.id),
		slog.Int64("user_id", known.user.User),
		traceID)
}

// statusGone is told of a request that was given up since its client is gone, in place
// of a status that nobody has seen. Where it would be 503, alarms would mean the server.
const statusGone = 499

// loggedMethods are all that loggedMethod answers.
var loggedMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect, otherMethod,
}

const otherMethod = "other"

// loggedMethod keeps what a client invented as a method out of the log, the metrics
// and traces.
func loggedMethod(method string) string {
	if slices.Contains(loggedMethods, method) {
		return method
	}
	return otherMethod
}

// observedWriter remembers what was answered, and drops the body of an answer
// to HEAD. The request's place is left when the answer begins.
type observedWriter struct {
	http.ResponseWriter
	request *request
	isHead  bool
	status  int // 0 until the header is written
	bytes   int64
}

func (o *observedWriter) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
		o.request.leave()
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *observedWriter) Write(p []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	if o.isHead {
		return len(p), nil
	}
	n, err := o.ResponseWriter.Write(p)
	o.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the writer underneath.
func (o *observedWriter) Unwrap() http.ResponseWriter { return o.ResponseWriter }
