package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Readiness is what /readyz tells: whether requests should be sent here, and
// what that depends on.
type Readiness struct {
	Ready        bool         `json:"ready"`
	Dependencies []Dependency `json:"dependencies"`
	Projections  []Projection `json:"projections"`
	Applied      Applied      `json:"applied"`
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

// Starting answers while there is no API yet: alive, and not ready.
func Starting() http.Handler {
	return secure(false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.TrimSuffix(r.URL.Path, "/") == "/livez" {
			writeBody(w, http.StatusOK, alive)
			return
		}
		writeError(w, starting)
	}))
}

var alive = []byte(`{"live":true}`)

// livez answers GET /livez: the process serves requests, whatever else is down.
func (a *api) livez(w http.ResponseWriter, _ *http.Request) error {
	writeBody(w, http.StatusOK, alive)
	return nil
}

// readyz answers GET /readyz: 200 or 503, and why.
func (a *api) readyz(w http.ResponseWriter, r *http.Request) error {
	readiness := a.ready(r.Context())
	body, err := json.Marshal(readiness)
	if err != nil {
		return fmt.Errorf("encode the readiness: %w", err)
	}
	status := http.StatusOK
	if !readiness.Ready {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	writeBody(w, status, body)
	return nil
}

// welcome answers GET /.
func (a *api) welcome(w http.ResponseWriter, _ *http.Request) error {
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
			"liveness", "/livez",
			"readiness", "/readyz")
	})
	return nil
}
