package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

const testWait = 100 * time.Millisecond

func newTestAdmission(places, queue int) *admission {
	return &admission{kind: "changes", bound: Bound{places, queue, testWait}, logger: testLogger(&syncBuffer{})}
}

// isLeft tells that nobody has a place and nobody waits for one.
func (a *admission) isLeft(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.served != 0 || len(a.waiting) != 0 {
		t.Errorf("%d places are taken and %d requests wait", a.served, len(a.waiting))
	}
}

func TestAdmissionIsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestAdmission(2, 10)
		for range 2 {
			if err := a.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		entered := make(chan int, 5)
		for i := range 5 {
			go func() {
				if err := a.enter(t.Context()); err != nil {
					t.Error(err)
				}
				entered <- i
			}()
			synctest.Wait()
		}
		for i := range 5 {
			if len(entered) != 0 {
				t.Fatal("more are served than there are places")
			}
			a.leave()
			if got := <-entered; got != i {
				t.Errorf("%d came before %d", got, i)
			}
		}
		a.leave()
		a.leave()
		a.isLeft(t)
	})
}

func TestAdmissionHasBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestAdmission(1, 3)
		if err := a.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		waited := make(chan time.Duration, 3)
		for range 3 {
			go func() {
				began := time.Now()
				if err := a.enter(t.Context()); err != overloaded {
					t.Errorf("got %v", err)
				}
				waited <- time.Since(began)
			}()
		}
		synctest.Wait()
		began := time.Now()
		if err := a.enter(t.Context()); err != overloaded || time.Since(began) != 0 || !a.isFull() {
			t.Errorf("with a full queue: %v after %v", err, time.Since(began))
		}
		for range 3 {
			if d := <-waited; d != testWait {
				t.Errorf("one waited %v", d)
			}
		}
		if a.isFull() {
			t.Error("an empty queue is full")
		}
		if a.refused.total() != 4 {
			t.Errorf("%d refusals were counted", a.refused.total())
		}
		a.leave()
		a.isLeft(t)
	})
}

func TestAdmissionOfAClientThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestAdmission(1, 3)
		if err := a.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone, next := make(chan error), make(chan error)
		go func() { gone <- a.enter(ctx) }()
		synctest.Wait()
		go func() { next <- a.enter(t.Context()) }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		a.leave()
		if err := <-next; err != nil {
			t.Error(err)
		}
		a.leave()
		a.isLeft(t)
		if a.refused.total() != 0 {
			t.Error("who goes away was counted as refused")
		}
	})
}

// A place that comes in the moment of giving up is taken, or goes to the next.
// What is first is chance, so it is tried many times.
func TestAdmissionLosesNoPlace(t *testing.T) {
	for i := range 100 {
		synctest.Test(t, func(t *testing.T) {
			a := newTestAdmission(1, 3)
			if err := a.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), map[bool]time.Duration{true: testWait, false: time.Hour}[i%2 == 0])
			defer cancel()
			done := make(chan struct{}, 2)
			for _, ctx := range []context.Context{ctx, t.Context()} {
				go func() {
					if a.enter(ctx) == nil {
						a.leave()
					}
					done <- struct{}{}
				}()
				synctest.Wait()
			}
			time.Sleep(testWait)
			a.leave()
			<-done
			<-done
			a.isLeft(t)
		})
	}
}

func TestRefusalsAreToldFromTimeToTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &syncBuffer{}
		a := &admission{kind: "lists", logger: testLogger(log)}
		for range 100 {
			_ = a.refuse(t.Context())
			time.Sleep(tellEvery / 50)
		}
		lines := log.lines("too many were under way")
		if len(lines) != 2 || !strings.Contains(lines[0], `"level":"WARN"`) || !strings.Contains(lines[0], `"kind":"lists","refused":1}`) || !strings.Contains(lines[1], `"refused":50}`) {
			t.Errorf("told %q", lines)
		}
	})
}

// gate holds up who passes it, until it is opened.
type gate struct {
	passed chan struct{}
	open   chan struct{}
}

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan struct{})} }

func (g *gate) pass() {
	g.passed <- struct{}{}
	<-g.open
}

// crowded is a world where one of each kind is served and one may wait; changes,
// and reads of patients, are held up at the gate.
func crowded(t *testing.T) (*world, *gate) {
	g := newGate()
	w := newWorld(t, func(c *Config) {
		one := Bound{1, 1, testWait}
		c.Bounds = Bounds{Changes: one, Reads: one, Lists: one, Accounts: one}
		c.Progress = gatedProgress{g}
		c.Queries = gatedQueries{c.Queries, g}
	})
	return w, g
}

type gatedProgress struct{ gate *gate }

func (p gatedProgress) Wait(context.Context, events.Position) error { p.gate.pass(); return nil }
func (p gatedProgress) Live() error                                 { return nil }
func (p gatedProgress) Restarts() int64                             { return 0 }

type gatedQueries struct {
	Queries
	gate *gate
}

func (q gatedQueries) Patient(_ context.Context, _ projections.Session, id int64) (projections.Patient, error) {
	q.gate.pass()
	if id == 13 {
		panic("the patient of bad luck")
	}
	return projections.Patient(testPatient), nil
}

func (q gatedQueries) Patients(context.Context, projections.Session) ([]projections.Patient, error) {
	q.gate.pass()
	return []projections.Patient{}, nil
}

// CheckSession counts nothing: it is asked by many at once.
func (q gatedQueries) CheckSession(context.Context, projections.Session) (events.Position, error) {
	return 7, nil
}

const tooMany = `{"detail":"Too many requests are under way. Nothing was changed, try again later."}`

// unreadable is a body that must not be read.
type unreadable struct{ t *testing.T }

func (b unreadable) Read([]byte) (int, error) {
	b.t.Error("the body was read")
	return 0, io.EOF
}

// Every kind of request has places of its own. Who gets none is refused, the
// third of three at once and the second later; all else is answered as ever.
func TestTooManyRequests(t *testing.T) {
	for _, test := range []struct{ method, path, body, kind string }{
		{"GET", "/api/patients/42/", "", "reads"},
		{"HEAD", "/api/patients/42/", "", "reads"},
		{"GET", "/api/patients/", "", "lists"},
		{"GET", "/api/patients", "", "lists"},
		{"POST", "/api/patients/", goodPatient, "changes"},
		{"PATCH", "/api/patients/42/", goodPatient, "changes"},
		{"DELETE", "/api/patients/42/", "", "changes"},
		{"POST", "/api/auth/register/", `{"name":"Jo","email":"jo@example.com","password":"securepassword123"}`, "accounts"},
	} {
		t.Run(test.method+test.path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, g := crowded(t)
				served, refused := make(chan *httptest.ResponseRecorder), make(chan *httptest.ResponseRecorder)
				go func() { served <- w.do(test.method, test.path, test.body) }()
				<-g.passed
				go func() { refused <- w.do(test.method, test.path, test.body) }()
				synctest.Wait()

				began := time.Now()
				r := httptest.NewRequest(test.method, test.path, unreadable{t})
				r.Header.Set("Authorization", "Bearer "+w.token(1))
				third := httptest.NewRecorder()
				w.handler.ServeHTTP(third, r)
				if time.Since(began) != 0 {
					t.Errorf("the third was refused after %v", time.Since(began))
				}
				expect(t, w.do("GET", "/livez", "", nobody), 200, `{"live":true}`)
				if got := w.do("GET", "/", "", nobody); got.Code != 200 {
					t.Errorf("/: %d", got.Code)
				}
				for _, other := range []string{"OPTIONS", "TRACE"} {
					if got := w.do(other, test.path, ""); got.Code == 503 {
						t.Errorf("%s: %d", other, got.Code)
					}
				}

				second := <-refused
				if time.Since(began) != testWait {
					t.Errorf("the second was refused after %v", time.Since(began))
				}
				for _, got := range []*httptest.ResponseRecorder{second, third} {
					want := tooMany
					if test.method == "HEAD" {
						want = ""
					}
					expect(t, got, 503, want)
					if h := got.Header(); h.Get("Retry-After") == "" || h.Get("X-Request-Id") == "" || h.Get("X-Content-Type-Options") == "" {
						t.Errorf("%v", h)
					}
				}
				if got := w.do("GET", "/readyz", "", nobody); !strings.Contains(got.Body.String(), fmt.Sprintf(`"%s":2`, test.kind)) {
					t.Errorf("%s", got.Body)
				}
				if lines := w.log.lines(`"status":503`); len(lines) != 2 || !strings.Contains(lines[0], `"msg":"request"`) {
					t.Errorf("logged %q", lines)
				}
				if lines := w.log.lines(`"level":"WARN"`); len(lines) != 1 {
					t.Errorf("warned %q", lines)
				}

				close(g.open)
				if got := <-served; got.Code >= 300 {
					t.Errorf("the first: %d %s", got.Code, got.Body)
				}
				if got := w.do(test.method, test.path, test.body); got.Code >= 300 {
					t.Errorf("afterwards: %d %s", got.Code, got.Body)
				}
			})
		})
	}
}

// Changes that could not even wait are refused before all checks.
func TestChangesAreRefusedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowded(t)
		answers := make(chan *httptest.ResponseRecorder, 2)
		post := func() { answers <- w.do("POST", "/api/patients/", goodPatient) }
		go post()
		<-g.passed
		expect(t, w.do("POST", "/api/patients/", goodPatient, nobody), 401, unauthenticated)
		go post()
		synctest.Wait()
		expect(t, w.do("POST", "/api/patients/", goodPatient, nobody), 503, tooMany)
		expect(t, w.do("POST", "/nowhere", ""), 503, tooMany)
		expect(t, w.do("POST", "/api/auth/login/", "{}"), 400, `{"username":["This field is required."],"password":["This field is required."]}`)
		expect(t, w.do("GET", "/api/doctors/", "", nobody), 401, unauthenticated)
		expect(t, w.do("GET", "/api/doctors/", ""), 200, "["+doctorJSON+"]")
		close(g.open)
		for range 2 {
			expect(t, <-answers, 201, patientJSON)
		}
		expect(t, w.do("POST", "/api/patients/", goodPatient, nobody), 401, unauthenticated)
	})
}

func TestKindsDoNotShareTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowded(t)
		requests := [][3]string{{"GET", "/api/patients/42/"}, {"GET", "/api/patients/"}, {"POST", "/api/patients/", goodPatient},
			{"POST", "/api/auth/register/", `{"name":"Jo","email":"jo@example.com","password":"securepassword123"}`}}
		answers := make(chan int, len(requests))
		for _, r := range requests {
			go func() { answers <- w.do(r[0], r[1], r[2]).Code }()
			<-g.passed
		}
		close(g.open)
		for range requests {
			if status := <-answers; status >= 300 {
				t.Errorf("answered %d", status)
			}
		}
	})
}

func TestAPanicLeavesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowded(t)
		close(g.open)
		for range 3 {
			if got := w.do("GET", "/api/patients/13/", ""); got.Code != 500 {
				t.Errorf("%d %s", got.Code, got.Body)
			}
		}
		if got := w.do("GET", "/api/patients/42/", ""); got.Code != 200 {
			t.Errorf("%d %s", got.Code, got.Body)
		}
	})
}

// While a client has not sent its body, it has no place.
func TestASlowBodyHasNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowded(t)
		close(g.open)
		body, sender := io.Pipe()
		slow := make(chan *httptest.ResponseRecorder)
		go func() {
			r := httptest.NewRequest("POST", "/api/patients/", body)
			r.Header.Set("Authorization", "Bearer "+w.token(1))
			r.Header.Set("Content-Type", "application/json")
			answer := httptest.NewRecorder()
			w.handler.ServeHTTP(answer, r)
			slow <- answer
		}()
		synctest.Wait()
		for range 3 {
			expect(t, w.do("POST", "/api/patients/", goodPatient), 201, patientJSON)
		}
		if _, err := io.WriteString(sender, goodPatient); err != nil {
			t.Fatal(err)
		}
		sender.Close()
		expect(t, <-slow, 201, patientJSON)
	})
}

// Who waits for the read tables has no place meanwhile.
func TestAReadThatWaitsHasNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		w := newWorld(t, func(c *Config) {
			c.Bounds.Lists = Bound{1, 1, testWait}
			c.Progress = gatedProgress{g}
		})
		waiting := make(chan *httptest.ResponseRecorder)
		for range 3 {
			go func() { waiting <- w.do("GET", "/api/doctors/", "", "Carelog-Min-Position: 10") }()
			<-g.passed
		}
		expect(t, w.do("GET", "/api/doctors/", ""), 200, "["+doctorJSON+"]")
		close(g.open)
		for range 3 {
			if got := <-waiting; got.Code != 200 && got.Code != 503 { // three come at once, for two
				t.Errorf("%d %s", got.Code, got.Body)
			}
		}
		expect(t, w.do("GET", "/api/doctors/", ""), 200, "["+doctorJSON+"]")
	})
}
