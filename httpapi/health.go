package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// Readiness is what /readyz tells: whether requests should be sent here, and
// what that depends on.
type Readiness struct {
	Ready        bool         `json:"ready"` // for all requests
	Reads        bool         `json:"reads"` // for those that change nothing
	Dependencies []Dependency `json:"dependencies"`
	Projections  []Projection `json:"projections"`
	Applied      Applied      `json:"applied"`
	Refused      Refused      `json:"refused"` // filled in by this package
}

// Refused counts the requests that this process has refused since its start
// because too many were under way.
type Refused struct {
	Changes  int64 `json:"changes"`
	Reads    int64 `json:"reads"`
	Lists    int64 `json:"lists"`
	Accounts int64 `json:"accounts"`
	Streams  int64 `json:"streams"`
}

// Applied counts the events that this process has put into the read tables.
type Applied struct {
	FromBus int64 `json:"from_bus"` // delivered over NATS, as in normal running
	FromLog int64 `json:"from_log"` // read from the log, because NATS did not deliver them
}

// Dependency is something that the server needs: Postgres, NATS.
type Dependency struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"` // without addresses and credentials
}

// Projection tells how far one projection's tables are.
type Projection struct {
	Name     string `json:"name"`
	Position int64  `json:"position"`
	Lag      int64  `json:"lag"`             // events that are in the log and not in the tables
	Error    string `json:"error,omitempty"` // why it stopped: a position, a type and an error
}

var starting = newUnavailable("The server is starting, try again later.")

// Starting answers while there is no API yet: alive, and not ready. Metrics are
// served where there is a handler for them.
func Starting(scrape http.Handler) http.Handler {
	return secure(false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimSuffix(r.URL.Path, "/"); {
		case path == "/livez":
			writeBody(w, http.StatusOK, alive)
		case path == "/metrics" && scrape != nil:
			scrape.ServeHTTP(w, r)
		default:
			writeError(w, starting)
		}
	}))
}

var alive = []byte(`{"live":true}`)

// livez answers GET /livez: the process serves requests, whatever else is down.
func (a *api) livez(w http.ResponseWriter, _ *http.Request) error {
	writeBody(w, http.StatusOK, alive)
	return nil
}

// looks answers what somebody sees who looks: at how the server is (/readyz), or at
// its metrics (/metrics). Those who ask while somebody is looking
// share the next look: anybody may ask, as often as they like, and is never
// refused, so it must not cost more.
type looks[A any] struct {
	look func(context.Context) A
	turn chan struct{} // holds a token while somebody looks

	mu   sync.Mutex
	next *look[A] // that has not begun
}

type look[A any] struct {
	done chan struct{}
	seen A
}

func newLooks[A any](how func(context.Context) A) *looks[A] {
	return &looks[A]{look: how, turn: make(chan struct{}, 1)}
}

func (l *looks[A]) ask(ctx context.Context) (seen A, err error) {
	l.mu.Lock()
	mine, leads := l.next, l.next == nil
	if leads {
		mine = &look[A]{done: make(chan struct{})}
		l.next = mine
	}
	l.mu.Unlock()
	if leads {
		l.lead(ctx, mine)
	}
	select {
	case <-mine.done:
		return mine.seen, nil
	case <-ctx.Done():
		return seen, fmt.Errorf("wait for a look: %w", ctx.Err())
	}
}

// lead looks, when it is the look's turn. Who leads may go away, the others stay.
func (l *looks[A]) lead(ctx context.Context, mine *look[A]) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.mu.Lock()
	l.next = nil
	l.mu.Unlock()
	defer close(mine.done)
	mine.seen = l.look(context.WithoutCancel(ctx))
}

// readyz answers GET /readyz: 200 or 503, and why. With ?for=reads it is 200 also
// while only changes cannot be served: whoever decides by it where requests are sent
// would keep reads from everybody, since then no server takes changes.
func (a *api) readyz(w http.ResponseWriter, r *http.Request) error {
	readiness, err := a.ready.ask(r.Context())
	if err != nil {
		return err
	}
	readiness.Refused = a.admissions.refused()
	body, err := json.Marshal(readiness)
	if err != nil {
		return fmt.Errorf("encode the readiness: %w", err)
	}
	status := http.StatusOK
	if reads := r.URL.Query().Get("for") == "reads"; !readiness.Ready && !(reads && readiness.Reads) {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	writeBody(w, status, body)
	return nil
}

// welcome answers GET /. It leads a person's browser to the API page.
func (a *api) welcome(w http.ResponseWriter, r *http.Request) error {
	if prefersHTML(r) {
		http.Redirect(w, r, docsPath, http.StatusSeeOther)
		return nil
	}
	writeJSON(w, http.StatusOK, func(dst []byte) []byte {
		return appendTexts(dst,
			"name", "Carelog",
			"version", a.version,
			"register", "/api/auth/register/",
			"login", "/api/auth/login/",
			"refresh", "/api/auth/refresh/",
			"patients", "/api/patients/",
			"doctors", "/api/doctors/",
			"mappings", "/api/patients/mappings/",
			"docs", docsPath,
			"openapi", "/api/openapi.json",
			"schemas", schemasPath,
			"asyncapi", "/api/events/asyncapi.json",
			"liveness", "/livez",
			"readiness", "/readyz")
	})
	return nil
}
