package httpapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPanics(t *testing.T) {
	w := newWorld(t)
	var nothing map[string]int
	for name, test := range map[string]struct {
		panic any
		told  string
	}{
		"an error":       {errors.New("secret of alice@example.com"), "*errors.errorString"},
		"a text":         {"secret of alice@example.com", "string"},
		"by the runtime": {runtimePanic(func() { nothing["x"] = 1 }), "assignment to entry in nil map"},
	} {
		w.queries.panic = test.panic
		answer := w.do("GET", "/api/patients/", "", "X-Request-Id: "+strings.ReplaceAll(name, " ", "-"))
		expect(t, answer, 500, `{"detail":"A server error occurred."}`)
		lines := w.log.lines(`"request_id":"` + strings.ReplaceAll(name, " ", "-") + `"}`) // that of the access log goes on
		if len(lines) != 1 || !strings.Contains(lines[0], `"msg":"a handler panicked"`) || !strings.Contains(lines[0], test.told) || !strings.Contains(lines[0], "fakeQueries") || strings.Contains(lines[0], "secret") {
			t.Errorf("%s: logged %q", name, lines)
		}
		if answer.Header().Get("X-Content-Type-Options") == "" {
			t.Errorf("%s: no security headers", name)
		}
	}
	w.queries.panic = nil
	expect(t, w.do("GET", "/api/patients/42/", ""), 200, patientJSON)
}

func runtimePanic(provoke func()) (cause any) {
	defer func() { cause = recover() }()
	provoke()
	return nil
}

// Half an answer must not look like a whole one: the connection is cut.
func TestPanicInTheMiddleOfAnAnswer(t *testing.T) {
	w := newWorld(t)
	a := &api{logger: testLogger(w.log), metrics: newMetrics(nil, nil)}
	half := a.identify(a.recoverPanics(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeBody(w, http.StatusOK, []byte("["))
		panic("halfway")
	})))
	cause := runtimePanic(func() { half.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) })
	if cause != http.ErrAbortHandler {
		t.Errorf("panicked with %v", cause)
	}
	if lines := w.log.lines(`"msg":"request"`); len(lines) != 1 {
		t.Errorf("access log: %q", lines)
	}
}
