package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/carelog/carelog/projections"
)

const (
	ourID   = "X-Request-Id: r-1"
	inTrace = "Traceparent: " + clientParent
)

// Whatever goes wrong with a request, each line that is logged in its course has its id,
// once, and that of its trace.
func TestEveryLineOfARequestHasItsID(t *testing.T) {
	for what, provoke := range map[string]func(*world){
		"a request failed": func(w *world) {
			w.commands.err = errors.New("nobody thought of this")
			w.do("POST", "/api/patients/", goodPatient, ourID, inTrace)
		},
		"a handler panicked": func(w *world) {
			w.queries.panic = "text"
			w.do("GET", "/api/patients/", "", ourID, inTrace)
		},
		"a change is stored and cannot be read yet": func(w *world) {
			w.progress.err = projections.ErrPending
			w.do("POST", "/api/patients/", goodPatient, ourID, inTrace)
		},
		"requests were refused because too many were under way": func(w *world) {
			w.progress.arrives = func() { w.do("POST", "/api/patients/", goodPatient, ourID, inTrace) }
			w.do("POST", "/api/patients/", goodPatient, ourID, inTrace)
		},
	} {
		w := newWorld(t, func(c *Config) {
			c.Tracer = sdktrace.NewTracerProvider().Tracer("test")
			c.Bounds.Changes = Bound{Places: 1, Queue: 1, Wait: time.Millisecond}
		})
		provoke(w)
		if len(w.log.lines(`"msg":"`+what+`"`)) == 0 {
			t.Errorf("%s: logged %s", what, w.log)
		}
		if lines := unidentified(w.log); len(lines) > 0 {
			t.Errorf("%s: logged %s", what, lines)
		}
		if lines := w.log.lines(`"trace_id":"` + clientTrace + `"`); len(lines) != len(w.log.lines("")) {
			t.Errorf("%s: not all of the trace: %s", what, w.log)
		}
	}
}

// A stream that is cut off has logged its line when net/http is told to cut. Without
// what adds ids the same line is found to have none.
func TestTheLineOfAStreamThatIsCutOffHasItsID(t *testing.T) {
	for _, adds := range []bool{true, false} {
		log := &syncBuffer{}
		a := &api{logger: testLogger(log), metrics: newMetrics(nil, nil)}
		if adds {
			a.logger = slog.New(requestLog{a.logger.Handler()})
		}
		cut := a.identify(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			requestOf(r.Context()).client = r.Context()
			panic(a.cutOff(r, errors.New("the log is away")))
		}))
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Request-Id", "r-1")
		_ = runtimePanic(func() { cut.ServeHTTP(httptest.NewRecorder(), r) })
		if len(log.lines("a stream of events was cut off")) != 1 || (len(unidentified(log)) == 0) != adds {
			t.Errorf("with ids %v: logged %s", adds, log)
		}
	}
}

// unidentified are the lines that do not have the request's id exactly once.
func unidentified(log *syncBuffer) (lines []string) {
	for _, line := range log.lines("") {
		if strings.Count(line, `"request_id":`) != 1 || !strings.Contains(line, `"request_id":"r-1"`) {
			lines = append(lines, line)
		}
	}
	return lines
}

// What is not logged in the course of a request is left as it is, and groups and
// attributes of a logger stay.
func TestOtherLines(t *testing.T) {
	log := &syncBuffer{}
	logger := slog.New(requestLog{testLogger(log).Handler()})
	logger.With("part", "x").WithGroup("more").InfoContext(t.Context(), "other", "n", 1)
	if lines := log.lines(`"part":"x","more":{"n":1}}`); len(lines) != 1 || strings.Contains(log.String(), "_id") {
		t.Errorf("logged %s", log)
	}
}
