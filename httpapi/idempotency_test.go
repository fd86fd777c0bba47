package httpapi

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/carelog/carelog/commands"
)

// What the commands are told of a request's key.
func TestIdempotencyKeys(t *testing.T) {
	longest := strings.Repeat("k", 255)
	for _, write := range everyWrite {
		parts := strings.SplitN(write.request, " ", 3)
		method, path, body := parts[0], parts[1], parts[2]
		for _, key := range []string{"k", `"8e03978e-40d5-43dd-bc93-6894a57f9324"`, "a b ~!", longest} {
			for _, path := range []string{path, strings.TrimSuffix(path, "/")} {
				w := newWorld(t)
				answer := w.do(method, path+"?x=1", body, "Idempotency-Key: "+key, "X-Request-Id: r-1")
				want := commands.Caller{UserID: 1, CorrelationID: "r-1", RequestID: "r-1"}
				if !strings.HasPrefix(path, "/api/auth/") {
					want.Idempotency = commands.Idempotency{Key: key, Method: method, Path: strings.TrimSuffix(path, "/")}
				}
				if answer.Code != write.status || w.commands.caller != want {
					t.Errorf("%s %s with %s: %d, caller %+v", method, path, key, answer.Code, w.commands.caller)
				}
			}
		}
		for _, key := range []string{"", longest + "k", "tab\tkey", "é", "\x7f"} {
			w := newWorld(t)
			answer := w.do(method, path, body, "Idempotency-Key: "+key)
			if strings.HasPrefix(path, "/api/auth/") {
				if answer.Code != write.status {
					t.Errorf("%s: %d", path, answer.Code)
				}
				continue
			}
			expect(t, answer, 400, `{"detail":"Idempotency-Key must be one text of 1 to 255 printable ASCII characters."}`)
			if w.commands.got != nil {
				t.Errorf("%s %s with %q: command %+v", method, path, key, w.commands.got)
			}
		}
	}
}

func TestTwoIdempotencyKeysAreNone(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("POST", "/api/patients/", strings.NewReader(goodPatient))
	r.Header.Set("Authorization", "Bearer "+w.token(1))
	r.Header.Set("Content-Type", "application/json")
	r.Header["Idempotency-Key"] = []string{"a", "b"}
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	if answer.Code != 400 || w.commands.got != nil {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

func TestAReusedIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	w.commands.err = commands.ErrKeyReused
	for _, write := range everyWrite[1:] {
		parts := strings.SplitN(write.request, " ", 3)
		expect(t, w.do(parts[0], parts[1], parts[2], "Idempotency-Key: k"), 422, `{"detail":"This Idempotency-Key was used for another request."}`)
	}
}

// A read changes nothing, however often it is sent.
func TestReadsHaveNoIdempotencyKeys(t *testing.T) {
	w := newWorld(t)
	expect(t, w.do("GET", "/api/patients/42/", "", "Idempotency-Key: é"), 200, patientJSON)
}
