package httpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

const (
	goodPatient = `{"first_name":"A","last_name":"B","age":1,"gender":"Male"}`
	goodDoctor  = `{"first_name":"A","last_name":"B","specialization":"C","email":"a@b.io","phone":"1"}`
	goodMapping = `{"patient":42,"doctor":5}`
	goodAccount = `{"name":"Jo Doe","email":"jo@example.com","password":"correct horse battery"}`
)

// everyWrite is each command with a good body, and the status of its success.
var everyWrite = []struct {
	request string
	status  int
}{
	{"POST /api/auth/register/ " + goodAccount, 201},
	{"POST /api/patients/ " + goodPatient, 201},
	{"PUT /api/patients/42/ " + goodPatient, 200},
	{"PATCH /api/patients/42/ {}", 200},
	{"DELETE /api/patients/42/ ", 204},
	{"POST /api/doctors/ " + goodDoctor, 201},
	{"PUT /api/doctors/5/ " + goodDoctor, 200},
	{"PATCH /api/doctors/5/ {}", 200},
	{"DELETE /api/doctors/5/ ", 204},
	{"POST /api/patients/mappings/ " + goodMapping, 201},
	{"DELETE /api/patients/mappings/delete/9/ ", 204},
}

func TestWritesWaitForTheReadTables(t *testing.T) {
	for _, write := range everyWrite {
		parts := strings.SplitN(write.request, " ", 3)
		for _, test := range []struct {
			name      string
			refusal   error
			wait      error
			status    int
			projected string
		}{
			{"done", nil, nil, write.status, ""},
			{"done, not to be read yet", nil, projections.ErrPending, write.status, "pending"},
			{"done, deadline", nil, context.DeadlineExceeded, write.status, "pending"},
			{"done, database lost", nil, events.ErrUnavailable, write.status, "pending"},
			{"done, the database went back", nil, projections.ErrWentBack, 503, ""},
			{"refused", commands.ErrNotFound, nil, 404, ""},
			{"refused, not to be vouched for", commands.ErrNotFound, projections.ErrPending, 503, ""},
			{"refused, database lost", commands.ErrNotFound, events.ErrUnavailable, 503, ""},
		} {
			t.Run(parts[0]+" "+parts[1]+" "+test.name, func(t *testing.T) {
				w := newWorld(t)
				w.commands.err, w.progress.err = test.refusal, test.wait
				answer := w.do(parts[0], parts[1], parts[2])
				h := answer.Header()
				if answer.Code != test.status || h.Get("Carelog-Position") != "7" || h.Get("Carelog-Projected") != test.projected {
					t.Errorf("%d %s, Carelog-Position: %s, Carelog-Projected: %s", answer.Code, answer.Body, h.Get("Carelog-Position"), h.Get("Carelog-Projected"))
				}
				if !slices.Equal(w.progress.waited, []events.Position{7}) {
					t.Errorf("waited for %v", w.progress.waited)
				}
				if test.status == 204 && (answer.Body.Len() > 0 || h.Get("Content-Type") != "" || h.Get("Content-Length") != "") {
					t.Errorf("204 with %q, %v", answer.Body, h)
				}
			})
		}
	}
}

// A command that could not decide says so, without a position.
func TestWritesThatCouldNotDecide(t *testing.T) {
	for _, write := range everyWrite {
		parts := strings.SplitN(write.request, " ", 3)
		w := newWorld(t)
		w.commands.err, w.commands.pos = fmt.Errorf("load: %w", events.ErrUnavailable), 0
		answer := w.do(parts[0], parts[1], parts[2])
		if answer.Code != 503 || answer.Header().Get("Retry-After") == "" || answer.Header().Get("Carelog-Position") != "" || len(w.progress.waited) > 0 {
			t.Errorf("%s: %d %v, waited for %v", write.request, answer.Code, answer.Header(), w.progress.waited)
		}
	}
}

func TestNoWritesWithoutARunner(t *testing.T) {
	for _, live := range []error{projections.ErrNoRunner, &projections.StoppedError{Position: 3, Err: errors.New("no")}} {
		for _, write := range everyWrite {
			parts := strings.SplitN(write.request, " ", 3)
			w := newWorld(t)
			w.progress.live = live
			answer := w.do(parts[0], parts[1], parts[2])
			expect(t, answer, 503, `{"detail":"No changes can be taken at the moment, try again later."}`)
			if answer.Header().Get("Retry-After") == "" || w.commands.got != nil {
				t.Errorf("%s: %v, command %+v", write.request, answer.Header(), w.commands.got)
			}
		}
		w := newWorld(t)
		w.progress.live = live
		expect(t, w.do("GET", "/api/patients/42/", ""), 200, patientJSON)
		expect(t, w.do("POST", "/api/patients/", "{", nobody), 401, unauthenticated)
	}
}

func TestMinPosition(t *testing.T) {
	const notOne, beyond = `{"detail":"Carelog-Min-Position is not a position."}`, `{"detail":"Carelog-Min-Position is beyond the end of the log."}`
	for value, test := range map[string]struct {
		status int
		body   string
		waited []events.Position
	}{
		"0":                    {200, patientJSON, []events.Position{0}},
		"10":                   {200, patientJSON, []events.Position{10}},
		"007":                  {200, patientJSON, []events.Position{7}},
		"11":                   {400, beyond, nil},
		"9223372036854775807":  {400, beyond, nil},
		"9223372036854775808":  {400, notOne, nil},
		"-1":                   {400, notOne, nil},
		"+1":                   {400, notOne, nil},
		"1.0":                  {400, notOne, nil},
		"1e1":                  {400, notOne, nil},
		"now":                  {400, notOne, nil},
		"99999999999999999999": {400, notOne, nil},
	} {
		w := newWorld(t)
		expect(t, w.do("GET", "/api/patients/42/", "", "Carelog-Min-Position: "+value), test.status, test.body)
		if !slices.Equal(w.progress.waited, test.waited) {
			t.Errorf("%s: waited for %v", value, w.progress.waited)
		}
	}
	w := newWorld(t)
	w.progress.err = projections.ErrPending
	expect(t, w.do("GET", "/api/patients/42/", "", "Carelog-Min-Position: 10"), 503, `{"detail":"The latest changes cannot be read yet, try again later."}`)
	expect(t, w.do("GET", "/api/patients/42/", "", nobody, "Carelog-Min-Position: x"), 401, unauthenticated)
	expect(t, w.do("GET", "/api/patients/42/", "", "Carelog-Min-Position: "), 200, patientJSON)
}
