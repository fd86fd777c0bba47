package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/projections"
)

// request is what is known of a request beyond net/http's own: filled in on its
// way, and told in the access log.
type request struct {
	id       string
	trace    string              // the client's place in a trace, as it told: a valid traceparent, or empty
	route    string              // the pattern, never the path: that could hold anything
	began    time.Time           // when it did
	toStream time.Duration       // until its stream of events had begun; 0 for none
	user     projections.Session // zero when nobody authenticated

	client context.Context // ends when the client is gone, and not for taking long

	standing *standing // of the user; nil when nobody authenticated
	ticket   *checked  // that the user came with, not used up yet; nil for none

	idempotency commands.Idempotency // of a change with an Idempotency-Key

	admission *admission // whose place it needs; nil for none
	placed    bool       // it has it
	bodies    *room      // for its body, where that is large
	kept      int        // bytes that it has taken of that
}

// noRoute stands for the route of a path that has none.
const noRoute = "none"

type requestKey struct{}

// requestOf answers what identify put into the context.
func requestOf(ctx context.Context) *request {
	if known, ok := ctx.Value(requestKey{}).(*request); ok {
		return known
	}
	return &request{}
}

// userOf is the user whose token came with the request.
func userOf(r *http.Request) projections.Session { return requestOf(r.Context()).user }

// callerOf names the request's user, and the request itself, in events.
func callerOf(r *http.Request) commands.Caller {
	known := requestOf(r.Context())
	caller := commands.Caller{UserID: known.user.User, CorrelationID: known.id, RequestID: known.id, TraceParent: known.traceParentFor(r.Context()), Idempotency: known.idempotency}
	if known.standing != nil {
		caller.Standing = known.standing
	}
	return caller
}

// identify gives a request its id, the client's own where that is harmless, and has it
// logged when it was answered.
func (a *api) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.metrics.inFlight.Inc()
		known := &request{began: time.Now(), id: r.Header.Get("X-Request-Id"), trace: traceParent(r.Header), route: noRoute}
		if !harmlessID(known.id) {
			known.id = uuid.NewString()
		}
		w.Header().Set("X-Request-Id", known.id)
		ctx, span := a.beginSpan(context.WithValue(r.Context(), requestKey{}, known), r, known)

		observed := &observedWriter{ResponseWriter: w, request: known, isHead: r.Method == http.MethodHead}
		defer func() {
			if observed.status == http.StatusServiceUnavailable && r.Context().Err() != nil {
				observed.status = statusGone
			}
			endSpan(span, r, known, observed)
			a.metrics.inFlight.Dec()
			a.logAnswer(r, known, observed, traceID(ctx))
		}()
		next.ServeHTTP(observed, r.WithContext(ctx))
	})
}

// harmlessID tells whether a client's request id can stand in logs and events:
// ^[A-Za-z0-9._-]{1,64}$
func harmlessID(id string) bool {
	if len(id) < 1 || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
