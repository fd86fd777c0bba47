package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// apiError is an answer that is not a success: a status, a JSON body and
// headers. Values are shared between requests and not changed.
type apiError struct {
	status int
	body   []byte
	header map[string]string
}

// Error names the status alone: the body may quote what the client sent.
func (e *apiError) Error() string { return fmt.Sprintf("answered with status %d", e.status) }

// newDetail is an answer with the body {"detail": "..."}.
func newDetail(status int, detail string) *apiError {
	return newError(status, "detail", detail)
}

// newError is an answer whose body has these keys and texts, in this order.
func newError(status int, keysAndTexts ...string) *apiError {
	return &apiError{status: status, body: appendTexts(nil, keysAndTexts...)}
}

// newFieldError is a 400 about one field: {"field": ["message"]}.
func newFieldError(field, message string) *apiError {
	body := appendString([]byte{'{'}, field)
	body = append(body, ":["...)
	body = appendString(body, message)
	return &apiError{status: http.StatusBadRequest, body: append(body, "]}"...)}
}

// newUnavailable is a 503 that asks to be tried again in a second.
func newUnavailable(detail string) *apiError {
	e := newDetail(http.StatusServiceUnavailable, detail)
	e.header = map[string]string{"Retry-After": "1"}
	return e
}

var (
	notFound       = newDetail(http.StatusNotFound, "Not found.")
	serverError    = newDetail(http.StatusInternalServerError, "A server error occurred.")
	unreachable    = newUnavailable("Service temporarily unavailable, try again later.")
	unknownOutcome = newUnavailable("It is not known whether the change was stored: look before sending it again.")
	noChanges      = newUnavailable("No changes can be taken at the moment, try again later.")

	userNotFound    = newError(http.StatusUnauthorized, "detail", "User not found", "code", "user_not_found")
	userInactive    = newError(http.StatusUnauthorized, "detail", "User is inactive", "code", "user_inactive")
	passwordChanged = newError(http.StatusUnauthorized, "detail", "The user's password has been changed.", "code", "password_changed")
	blacklisted     = newError(http.StatusUnauthorized, "detail", "Token is blacklisted", "code", "token_not_valid")
)

// answers is the one table from error to answer. What a handler answers more
// precisely than this (a taken e-mail address, unknown keys) it turns into an
// apiError itself.
var answers = []struct {
	err    error
	answer *apiError
}{
	{commands.ErrNotFound, notFound},
	{projections.ErrNotFound, notFound},
	{commands.ErrPairTaken, newFieldError("non_field_errors", "The fields patient, doctor must make a unique set.")},
	{commands.ErrPreconditionFailed, newDetail(http.StatusPreconditionFailed, "The record's ETag is none of those in If-Match.")},
	{commands.ErrKeyReused, newDetail(http.StatusUnprocessableEntity, "This Idempotency-Key was used for another request.")},

	{projections.ErrUnknownUser, userNotFound},
	{projections.ErrInactiveUser, userInactive},
	{projections.ErrSessionEnded, passwordChanged},
	{ErrTokenReused, blacklisted},
	{ErrTokenRevoked, blacklisted},

	{ErrBusy, newUnavailable("The server is busy, try again later.")},
	{commands.ErrBusy, newUnavailable("The server is busy, try again later.")},
	{projections.ErrNoRunner, noChanges},
	{projections.ErrPending, newUnavailable("The latest changes cannot be read yet, try again later.")},
	{projections.ErrWentBack, unknownOutcome},
	{events.ErrOutcomeUnknown, unknownOutcome},
	{events.ErrUnavailable, unreachable},
	{context.DeadlineExceeded, unreachable},
	{context.Canceled, unreachable}, // the client is gone, nobody reads it
}

// answerTo finds the answer to an error; unknown errors are server errors.
func answerTo(err error) *apiError {
	var answer *apiError
	if errors.As(err, &answer) {
		return answer
	}
	for _, row := range answers {
		if errors.Is(err, row.err) {
			return row.answer
		}
	}
	var stopped *projections.StoppedError
	if errors.As(err, &stopped) {
		return noChanges
	}
	return serverError
}

// fail answers a request with an error. What is the server's fault is logged
// here, once; the client is not told more than that.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	answer := answerTo(err)
	if answer.status >= http.StatusInternalServerError && answer != overloaded && !errors.Is(err, context.Canceled) {
		level := slog.LevelWarn // a dependency is down or behind: it passes
		if answer == serverError {
			level = slog.LevelError
		}
		a.logger.LogAttrs(r.Context(), level, "a request failed",
			slog.Int("status", answer.status),
			slog.String("error", err.Error()))
	}
	writeError(w, answer)
}
