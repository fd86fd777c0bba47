package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// Wrapped or not, every error of the packages behind this one has its status.
func TestErrorsAndTheirAnswers(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		body   string
	}{
		{commands.ErrNotFound, 404, `{"detail":"Not found."}`},
		{projections.ErrNotFound, 404, `{"detail":"Not found."}`},
		{commands.ErrPairTaken, 400, `{"non_field_errors":["The fields patient, doctor must make a unique set."]}`},
		{commands.ErrPreconditionFailed, 412, `{"detail":"The record's ETag is none of those in If-Match."}`},
		{commands.ErrKeyReused, 422, `{"detail":"This Idempotency-Key was used for another request."}`},
		{projections.ErrUnknownUser, 401, `{"detail":"User not found","code":"user_not_found"}`},
		{projections.ErrInactiveUser, 401, `{"detail":"User is inactive","code":"user_inactive"}`},
		{ErrTokenReused, 401, `{"detail":"Token is blacklisted","code":"token_not_valid"}`},
		{ErrTokenRevoked, 401, `{"detail":"Token is blacklisted","code":"token_not_valid"}`},
		{ErrBusy, 503, `{"detail":"The server is busy, try again later."}`},
		{commands.ErrBusy, 503, `{"detail":"The server is busy, try again later."}`},
		{projections.ErrNoRunner, 503, `{"detail":"No changes can be taken at the moment, try again later."}`},
		{&projections.StoppedError{Position: 3, Err: errors.New("no")}, 503, `{"detail":"No changes can be taken at the moment, try again later."}`},
		{projections.ErrPending, 503, `{"detail":"The latest changes cannot be read yet, try again later."}`},
		{events.ErrUnavailable, 503, `{"detail":"Service temporarily unavailable, try again later."}`},
		{errors.Join(events.ErrUnavailable, events.ErrOutcomeUnknown), 503, `{"detail":"It is not known whether the change was stored: look before sending it again."}`},
		{context.DeadlineExceeded, 503, `{"detail":"Service temporarily unavailable, try again later."}`},
		{context.Canceled, 503, `{"detail":"Service temporarily unavailable, try again later."}`},
		{errors.New("pq: password of alice@example.com"), 500, `{"detail":"A server error occurred."}`},
		{newFieldError("email", `"é" <b>`), 400, `{"email":["\"é\" <b>"]}`},
	} {
		for _, err := range []error{test.err, fmt.Errorf("do something: %w", test.err)} {
			w := &world{log: &syncBuffer{}}
			answer := httptest.NewRecorder()
			(&api{logger: testLogger(w.log)}).fail(answer, httptest.NewRequest("GET", "/", nil), err)
			expect(t, answer, test.status, test.body)
			h := answer.Header()
			if !json.Valid(answer.Body.Bytes()) || h.Get("Content-Type") != "application/json" || h.Get("Content-Length") != fmt.Sprint(len(test.body)) {
				t.Errorf("%v: %v", err, h)
			}
			if (h.Get("Retry-After") != "") != (test.status == 503) {
				t.Errorf("%v: Retry-After: %q", err, h.Get("Retry-After"))
			}
			if (h.Get("WWW-Authenticate") != "") != (test.status == 401) {
				t.Errorf("%v: WWW-Authenticate: %q", err, h.Get("WWW-Authenticate"))
			}
		}
	}
}

func TestUnknownErrorsAreLoggedOnce(t *testing.T) {
	w := newWorld(t)
	w.queries.err = errors.New("something nobody thought of")
	answer := w.do("GET", "/api/patients/", "", "X-Request-Id: r-1")
	expect(t, answer, 500, `{"detail":"A server error occurred."}`)
	if lines := w.log.lines("nobody thought of"); len(lines) != 1 || !strings.Contains(lines[0], `"request_id":"r-1"`) || !strings.Contains(lines[0], `"ERROR"`) {
		t.Errorf("logged %q", lines)
	}
}

func TestRefusalsAreNotLogged(t *testing.T) {
	w := newWorld(t)
	w.do("GET", "/api/patients/999/", "")
	w.do("GET", "/api/patients/", "", nobody)
	w.do("POST", "/api/patients/", "{")
	if lines := w.log.lines("failed"); len(lines) != 0 {
		t.Errorf("logged %q", lines)
	}
}

// An error's text goes to the log; what a client sent does not.
func TestErrorTextHoldsNoBody(t *testing.T) {
	if text := newFieldError("gender", `"secret" is not a valid choice.`).Error(); text != "answered with status 400" {
		t.Error(text)
	}
}
