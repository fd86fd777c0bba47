package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/httpapi/openapi/openapitest"
	"github.com/carelog/carelog/projections"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "a key of thirty-two bytes or more"

var testTime = time.Date(2026, 11, 23, 2, 35, 36, 958725000, time.UTC)

// world is an API whose surroundings are fakes. Users 1 and 2 are active.
type world struct {
	t          *testing.T
	handler    http.Handler
	commands   *fakeCommands
	queries    *fakeQueries
	progress   *fakeProgress
	accounts   *fakeAccounts
	head       events.Position
	reconnects int64
	ready      Readiness
	log        *syncBuffer
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{
		t:        t,
		commands: &fakeCommands{pos: 7, emails: map[string]int64{}, ids: map[int64]events.Position{}},
		queries:  &fakeQueries{users: map[int64]error{1: nil, 2: nil}, epochs: map[int64]events.Position{}},
		progress: &fakeProgress{},
		accounts: &fakeAccounts{passwords: map[int64]string{}},
		head:     10,
		ready:    Readiness{Ready: true, Dependencies: []Dependency{}, Projections: []Projection{}},
		log:      &syncBuffer{},
	}
	config := Config{
		Commands: w.commands,
		Queries:  w.queries,
		Progress: w.progress,
		Log:      w,
		Accounts: w.accounts,
		Ready:    func(context.Context) Readiness { return w.ready },
		Logger:   testLogger(w.log),
		TokenKey: []byte(testKey),
		Version:  "1.2.3",
		Now:      func() time.Time { return testTime },
	}
	for _, c := range change {
		c(&config)
	}
	handler, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	w.handler = openapitest.Handler(t, handler)
	return w
}

func testLogger(log *syncBuffer) *slog.Logger { return slog.New(slog.NewJSONHandler(log, nil)) }

// Head implements Log.
func (w *world) Head(context.Context) (events.Position, error) { return w.head, nil }

// Reconnects implements Log.
func (w *world) Reconnects() int64 { return w.reconnects }

// PositionAt implements Log.
func (w *world) PositionAt(_ context.Context, at time.Time) (events.Position, error) {
	if at.After(testTime) {
		return 0, events.ErrFuture
	}
	return 5, nil
}

// token is a good access token.
func (w *world) token(user int64) string {
	w.t.Helper()
	return w.signed(accessType, user)
}

// signed is a good token of epoch 0.
func (w *world) signed(tokenType string, user int64) string {
	w.t.Helper()
	return w.signedIn(tokenType, projections.Session{User: user})
}

func (w *world) signedIn(tokenType string, session projections.Session) string {
	w.t.Helper()
	issuer := newTokens(newKeys([]byte(testKey)), func() time.Time { return testTime }, 5*time.Minute, 24*time.Hour)
	token, err := issuer.sign(issuer.claim(tokenType, session))
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// do sends a request as user 1, as nobody when a header line sets
// Authorization, with a JSON body unless it is empty.
func (w *world) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	target, query, _ := strings.Cut(path, "?")
	r.RequestURI, r.URL.Path, r.URL.RawQuery = path, target, query
	r.Header.Set("Authorization", "Bearer "+w.token(1))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, given := strings.Cut(line, ": ")
		if !given {
			r.Header.Del(name)
			continue
		}
		r.Header.Set(name, value)
	}
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	return answer
}

// nobody takes the token from a request.
const nobody = "Authorization"

// expect checks status and body of an answer.
func expect(t *testing.T, got *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if got.Code != status || got.Body.String() != body {
		t.Errorf("answered %d %s\n       want %d %s", got.Code, got.Body, status, body)
	}
}
