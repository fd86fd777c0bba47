package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/carelog/carelog/projections"
)

// slowReader is a client that does not read its answer before the gate is open.
type slowReader struct {
	*httptest.ResponseRecorder
	gate *gate
}

func (s slowReader) Write(p []byte) (int, error) {
	s.gate.pass()
	return s.ResponseRecorder.Write(p)
}

type longLists struct {
	Queries
	patients []projections.Patient
}

func (q longLists) Patients(context.Context, projections.Session) ([]projections.Patient, error) {
	return q.patients, nil
}

// While a client does not read its answer, it has no place; and what such clients
// keep of memory has a bound.
func TestASlowReaderHasNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := slices.Repeat([]projections.Patient{projections.Patient(testPatient)}, 2*shortAnswer/(2+len(patientJSON))) // somewhat less than twice shortAnswer
		w := newWorld(t, func(c *Config) {
			c.Bounds = Bounds{Lists: Bound{1, 1, testWait}, LongAnswers: 6 * shortAnswer}
			c.Queries = longLists{c.Queries, long}
		})
		slow := newGate()
		list := func(answer http.ResponseWriter) {
			r := httptest.NewRequest("GET", "/api/patients/", nil)
			r.Header.Set("Authorization", "Bearer "+w.token(1))
			w.handler.ServeHTTP(answer, r)
		}
		ended := make(chan *httptest.ResponseRecorder)
		for range 3 {
			go func() {
				answer := httptest.NewRecorder()
				list(slowReader{answer, slow})
				ended <- answer
			}()
			<-slow.passed
		}
		fourth := httptest.NewRecorder()
		list(fourth)
		expect(t, fourth, 503, tooMany)
		expect(t, w.do("GET", "/api/doctors/", ""), 200, "["+doctorJSON+"]")
		close(slow.open)
		for range 3 {
			if got := <-ended; got.Code != 200 || got.Body.Len() < shortAnswer {
				t.Errorf("%d with %d bytes", got.Code, got.Body.Len())
			}
		}
		again := httptest.NewRecorder()
		list(again)
		if again.Code != 200 {
			t.Errorf("afterwards: %d", again.Code)
		}
	})
}

// What clients keep of memory by sending large bodies slowly has a bound, and
// small bodies need none.
func TestLargeBodiesShareRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Bounds.LargeBodies = 3 * maxBody })
		ended := make(chan *httptest.ResponseRecorder)
		var senders []*io.PipeWriter
		for range 3 {
			body, sender := io.Pipe() // of unknown length
			senders = append(senders, sender)
			go func() {
				answer := httptest.NewRecorder()
				r := httptest.NewRequest("POST", "/api/auth/login/", body)
				r.Header.Set("Content-Type", "application/json")
				w.handler.ServeHTTP(answer, r)
				ended <- answer
			}()
			if _, err := io.WriteString(sender, strings.Repeat(" ", smallBody+1)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		large := strings.Repeat(" ", smallBody) + goodPatient
		expect(t, w.do("POST", "/api/patients/", large), 503, tooMany)
		expect(t, w.do("PATCH", "/api/patients/42/", large), 503, tooMany)
		expect(t, w.do("POST", "/api/patients/", goodPatient), 201, patientJSON)
		for _, sender := range senders {
			if _, err := io.WriteString(sender, `{}`); err != nil {
				t.Fatal(err)
			}
			sender.Close()
			if got := <-ended; got.Code != 400 {
				t.Errorf("%d %s", got.Code, got.Body)
			}
		}
		for range 4 {
			expect(t, w.do("POST", "/api/patients/", large), 201, patientJSON)
		}
	})
}
