package httpapi

import (
	"strings"
	"testing"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// TestStandingIsAskedForOnce: what was seen counts for the changes that follow
// with the same token, since commands check it against the log. Whatever is
// refused before a command asks first, and so does what is no change.
func TestStandingIsAskedForOnce(t *testing.T) {
	w := newWorld(t)
	token := "Authorization: Bearer " + w.token(1)
	asked := func(method, path, body string, status, want int) {
		t.Helper()
		before := w.queries.calls
		if got := w.do(method, path, body, token); got.Code != status {
			t.Errorf("%s %s: %d %s, want %d", method, path, got.Code, got.Body, status)
		}
		if asked := w.queries.calls - before; asked != want {
			t.Errorf("%s %s asked %d times, want %d", method, path, asked, want)
		}
	}
	asked("DELETE", "/api/patients/42/", "", 204, 1)
	asked("DELETE", "/api/patients/42/", "", 204, 0)
	if w.commands.seen != 1 {
		t.Errorf("the command rests on position %d", w.commands.seen)
	}
	asked("POST", "/api/patients/", "{broken", 400, 1)
	asked("POST", "/api/patients/", "{}", 400, 1)
	asked("OPTIONS", "/api/patients/", "", 200, 1)
	asked("FOO", "/api/patients/", "", 405, 1)

	w.queries.users[1] = projections.ErrInactiveUser
	for _, request := range []string{"POST /api/patients/ {broken", "POST /api/patients/ {}", "PATCH /api/patients/42/ {broken", "OPTIONS /api/patients/ {}", "FOO /api/patients/ {}"} {
		parts := strings.SplitN(request, " ", 3)
		if got := w.do(parts[0], parts[1], parts[2], token); got.Code != 401 || !strings.Contains(got.Body.String(), "user_inactive") {
			t.Errorf("inactive, %s: %d %s", request, got.Code, got.Body)
		}
	}
	w.queries.users[1] = nil
	another := "Authorization: Bearer " + w.signed(accessType, 1)
	before := w.queries.calls
	if w.do("DELETE", "/api/patients/42/", "", another); w.queries.calls == before && another != token {
		t.Error("another token counts as seen")
	}
}

// TestWhatWasSeenCountsOnlyInItsLog: when the database went back to an earlier
// state, other events have the positions that were seen.
func TestWhatWasSeenCountsOnlyInItsLog(t *testing.T) {
	w := newWorld(t)
	token := "Authorization: Bearer " + w.token(1)
	change := func(asked int, seen events.Position) {
		t.Helper()
		before := w.queries.calls
		if got := w.do("DELETE", "/api/patients/42/", "", token); got.Code != 204 {
			t.Fatalf("%d %s", got.Code, got.Body)
		}
		if n := w.queries.calls - before; n != asked || w.commands.seen != seen {
			t.Errorf("asked %d times, the command rests on position %d, want %d and %d", n, w.commands.seen, asked, seen)
		}
	}
	w.queries.position = 9
	change(1, 9)
	change(0, 9)
	w.queries.position = 4
	change(0, 9) // nobody knows yet: the log refuses it
	w.progress.restarts++
	change(1, 4)
	change(0, 4)
	w.reconnects++
	change(1, 4)
	change(0, 4)
}
