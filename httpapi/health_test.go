package httpapi

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

func TestHealth(t *testing.T) {
	w := newWorld(t)
	w.queries.err, w.progress.live = events.ErrUnavailable, projections.ErrNoRunner // neither matters to liveness
	expect(t, w.do("GET", "/livez", "", nobody), 200, `{"live":true}`)

	w.ready = Readiness{Ready: true, Reads: true,
		Dependencies: []Dependency{{Name: "postgres", OK: true}, {Name: "nats", Error: "no connection"}},
		Projections:  []Projection{{Name: "patients", Position: 7, Lag: 3}},
		Applied:      Applied{FromBus: 12, FromLog: 1},
	}
	expect(t, w.do("GET", "/readyz", "", "Authorization: Bearer garbage"), 200,
		`{"ready":true,"reads":true,"dependencies":[{"name":"postgres","ok":true},{"name":"nats","ok":false,"error":"no connection"}],"projections":[{"name":"patients","position":7,"lag":3}],"applied":{"from_bus":12,"from_log":1},"refused":{"changes":0,"reads":0,"lists":0,"accounts":0,"streams":0}}`)

	w.ready = Readiness{Dependencies: []Dependency{}, Projections: []Projection{{Name: "patients", Position: 7, Lag: 3, Error: errors.New("stopped").Error()}}}
	answer := w.do("GET", "/readyz/", "", nobody)
	expect(t, answer, 503, `{"ready":false,"reads":false,"dependencies":[],"projections":[{"name":"patients","position":7,"lag":3,"error":"stopped"}],"applied":{"from_bus":0,"from_log":0},"refused":{"changes":0,"reads":0,"lists":0,"accounts":0,"streams":0}}`)
	if answer.Header().Get("Retry-After") == "" || answer.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%v", answer.Header())
	}
	for path, statuses := range map[string][2]int{"/readyz": {503, 503}, "/readyz?for=reads": {503, 200}, "/readyz?for=changes": {503, 503}} {
		for i, status := range statuses {
			w.ready.Reads = i == 1
			if got := w.do("GET", path, "", nobody); got.Code != status {
				t.Errorf("%s answers %d when reads are served: %t", path, got.Code, w.ready.Reads)
			}
		}
	}
}

func TestStarting(t *testing.T) {
	for path, status := range map[string]int{"/livez": 200, "/livez/": 200, "/readyz": 503, "/api/patients/": 503} {
		answer := httptest.NewRecorder()
		Starting(nil).ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
		if answer.Code != status || answer.Header().Get("Retry-After") == "" && status == 503 {
			t.Errorf("%s: %d %v", path, answer.Code, answer.Header())
		}
	}
}

func TestWelcome(t *testing.T) {
	w := newWorld(t)
	answer := w.do("GET", "/", "", nobody)
	if body := answer.Body.String(); answer.Code != 200 || !strings.HasPrefix(body, `{"name":"Carelog","version":"1.2.3",`) || !strings.Contains(body, `"/api/patients/mappings/"`) {
		t.Errorf("%d %s", answer.Code, body)
	}
}

// However many ask at once, two looks answer them all: the one that was under
// way when they asked does not count for them.
func TestReadinessIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looked atomic.Int64
		l := newLooks(func(context.Context) Readiness {
			time.Sleep(time.Second)
			return Readiness{Applied: Applied{FromBus: looked.Add(1)}}
		})
		seen := make(chan int64)
		ask := func(ctx context.Context) {
			readiness, err := l.ask(ctx)
			if err != nil {
				t.Error(err)
			}
			seen <- readiness.Applied.FromBus
		}
		go ask(t.Context())
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		go func() { _, _ = l.ask(gone) }() // leads
		synctest.Wait()
		for range 100 {
			go ask(t.Context())
		}
		synctest.Wait()
		cancel()
		if n := <-seen; n != 1 {
			t.Errorf("the first saw look %d", n)
		}
		for range 100 {
			if n := <-seen; n != 2 {
				t.Errorf("one of those who came later saw look %d", n)
			}
		}
	})
}
