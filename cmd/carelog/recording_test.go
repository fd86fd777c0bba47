package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// call is what a client asked for. Its kind decides which fields count.
type call struct {
	kind                     callKind
	patient, doctor, mapping int64
	first, last, email       string // of a new record; of an amendment the one that is not empty
	password                 string
}

type callKind string

// The kinds of calls there are.
const (
	registerPatient callKind = "register patient"
	amendPatient    callKind = "amend patient"
	replacePatient  callKind = "replace patient"
	removePatient   callKind = "remove patient"
	getPatient      callKind = "get patient"
	listPatients    callKind = "list patients"
	registerDoctor  callKind = "register doctor"
	amendDoctor     callKind = "amend doctor"
	removeDoctor    callKind = "remove doctor"
	getDoctor       callKind = "get doctor"
	listDoctors     callKind = "list doctors"
	mapDoctor       callKind = "map"
	unmapDoctor     callKind = "unmap"
	listMappings    callKind = "list mappings"
	mappingsOf      callKind = "list mappings of patient"
	registerUser    callKind = "register user"
	logIn           callKind = "log in"
)

// patientRow, doctorRow and mappingRow are what the API answers of a record,
// as far as it can change.
type (
	patientRow struct {
		ID          int64
		First, Last string
	}
	doctorRow struct {
		ID                 int64
		First, Last, Email string
	}
	mappingRow struct {
		ID, Patient, Doctor     int64
		PatientName, DoctorName string
	}
)

// answer is what a client was told: a status, 0 when it does not know but the
// log does: it happened. Of the rows there is one where one record was answered.
type answer struct {
	status   int
	text     string // of a refusal
	patients []patientRow
	doctors  []doctorRow
	mappings []mappingRow
}

// operation is a call and its answer.
type operation struct {
	request          string // its id, which the log keeps with what it caused
	client           int
	call             call
	answer           answer
	called, returned int64 // nanoseconds since the beginning; never is for an outcome that is not known, or not to be read yet
	unknown          bool
}

const never = math.MaxInt64

func (o *operation) writes() bool {
	switch o.call.kind {
	case getPatient, listPatients, getDoctor, listDoctors, listMappings, mappingsOf, logIn:
		return false
	}
	return true
}

// done is a write that was answered as done.
func (o *operation) done() bool {
	return o.writes() && (o.answer.status == 200 || o.answer.status == 201 || o.answer.status == 204)
}

// recording holds what clients asked and were told. What certainly did not
// happen is counted and left out.
type recording struct {
	name  string // of its requests
	began time.Time

	mu         sync.Mutex
	operations []*operation
	tally      *tally
}

// tally counts answers.
type tally struct {
	ok, refused, unavailable, unknown, unsent, pending, retried atomic.Int64

	mu         sync.Mutex
	unexpected []string
}

func (t *tally) wrong(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unexpected = append(t.unexpected, fmt.Sprintf(format, args...))
}

var histories atomic.Int64

func newRecording(tally *tally) *recording {
	return &recording{name: fmt.Sprintf("h%d", histories.Add(1)), began: time.Now(), tally: tally}
}

// unknownOutcome is the answer of a server that does not know itself.
const unknownOutcome = "It is not known whether the change was stored"

// retries is how often a client that does not know what became of a request
// sends it again, where it has an idempotency key.
const retries = 100

// do sends one request and records what became of it. Every second write has an
// idempotency key, and is sent again while its outcome is not known. It reports
// whether the server could be asked at all.
func (h *recording) do(server func() *running, access string, client int, c call) (operation, bool) {
	h.mu.Lock()
	number := len(h.operations)
	o := &operation{request: fmt.Sprintf("%s-%d", h.name, number), client: client, call: c}
	h.operations = append(h.operations, o)
	h.mu.Unlock()
	method, path, body := c.request(h.name)
	header := http.Header{"X-Request-Id": {o.request}, "Content-Type": {"application/json"}}
	if access != "" {
		header.Set("Authorization", "Bearer "+access)
	}
	again := o.writes() && c.kind != registerUser && number%2 == 0
	if again {
		header.Set("Idempotency-Key", o.request)
	}
	o.called = time.Since(h.began).Nanoseconds()
	for try := 0; ; try++ {
		got, err := server().try(method, path, header, strings.NewReader(body))
		known := h.outcome(o, c, got, err)
		if known == unreached && again {
			known = unknown // net/http itself sends again what has a key, and tells of the last attempt only
		}
		switch {
		case known == answered:
			if o.unknown {
				h.tally.retried.Add(1)
			}
			h.record(o, c, got)
			return *o, true
		case known == unknown:
			o.unknown = true
		case !o.unknown: // nor did it happen before
			h.drop(o)
			return *o, known != unreached
		}
		if !again || try == retries {
			h.tally.unknown.Add(1)
			h.settle(o, answer{}, never, true)
			return *o, known != unreached
		}
		pause(context.Background(), 50*time.Millisecond)
	}
}

// outcome is what a client can tell of a request.
type outcome int

const (
	answered    outcome = iota
	unreached           // the server could not be asked
	notHappened         // refused for now
	unknown
)

func (h *recording) outcome(o *operation, c call, got reply, err error) outcome {
	var network *net.OpError
	switch {
	case errors.As(err, &network) && network.Op == "dial":
		h.tally.unsent.Add(1)
		return unreached
	case err != nil, got.status == 503 && strings.Contains(string(got.body), unknownOutcome):
		return unknown
	case got.status == 503:
		if got.header.Get("Retry-After") == "" {
			h.tally.wrong("%s: 503 without Retry-After", c.kind)
		}
		h.tally.unavailable.Add(1)
		return notHappened
	case got.status >= 500, got.status == 401 && c.kind != logIn:
		h.tally.wrong("%s (%s): %d %s", c.kind, o.request, got.status, got.body)
		return notHappened
	}
	return answered
}

func (h *recording) record(o *operation, c call, got reply) {
	returned := time.Since(h.began).Nanoseconds()
	if got.header.Get("Carelog-Projected") != "" {
		h.tally.pending.Add(1)
		returned = never // from when on it can be read is not told
	} else if got.status < 300 {
		h.tally.ok.Add(1)
	} else {
		h.tally.refused.Add(1)
	}
	a, err := readAnswer(c, h.name, got)
	if err != nil {
		h.tally.wrong("%s: %d %s: %v", c.kind, got.status, got.body, err)
	}
	h.settle(o, a, returned, false)
}

func (h *recording) settle(o *operation, a answer, returned int64, unknown bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.answer, o.returned, o.unknown = a, returned, unknown
}

// drop leaves out what did not happen. It stays in the list for its request id:
// should it have left events, that is found out.
func (h *recording) drop(o *operation) { h.settle(o, answer{status: -1}, 0, false) }

// request is the HTTP of a call. The doctors of a history are told from those of
// others by their specialization.
func (c call) request(name string) (method, path, body string) {
	patient, doctor := fmt.Sprintf("/api/patients/%d/", c.patient), fmt.Sprintf("/api/doctors/%d/", c.doctor)
	wholePatient := fmt.Sprintf(`{"first_name":%q,"last_name":%q,"age":30,"gender":"Other"}`, c.first, c.last)
	switch c.kind {
	case registerPatient:
		return "POST", "/api/patients/", wholePatient
	case amendPatient:
		return "PATCH", patient, fmt.Sprintf(`{"last_name":%q}`, c.last)
	case replacePatient:
		return "PUT", patient, wholePatient
	case removePatient:
		return "DELETE", patient, ""
	case getPatient:
		return "GET", patient, ""
	case listPatients:
		return "GET", "/api/patients/", ""
	case registerDoctor:
		return "POST", "/api/doctors/", fmt.Sprintf(`{"first_name":%q,"last_name":%q,"specialization":%q,"email":%q,"phone":"+1"}`, c.first, c.last, name, c.email)
	case amendDoctor:
		if c.email != "" {
			return "PATCH", doctor, fmt.Sprintf(`{"email":%q}`, c.email)
		}
		return "PATCH", doctor, fmt.Sprintf(`{"last_name":%q}`, c.last)
	case removeDoctor:
		return "DELETE", doctor, ""
	case getDoctor:
		return "GET", doctor, ""
	case listDoctors:
		return "GET", "/api/doctors/", ""
	case mapDoctor:
		return "POST", "/api/patients/mappings/", fmt.Sprintf(`{"patient":%d,"doctor":%d}`, c.patient, c.doctor)
	case unmapDoctor:
		return "DELETE", fmt.Sprintf("/api/patients/mappings/delete/%d/", c.mapping), ""
	case listMappings:
		return "GET", "/api/patients/mappings/", ""
	case mappingsOf:
		return "GET", fmt.Sprintf("/api/patients/mappings/%d/", c.patient), ""
	case registerUser:
		return "POST", "/api/auth/register/", fmt.Sprintf(`{"name":"Jane Roe","email":%q,"password":%q}`, c.email, c.password)
	default: // logIn
		return "POST", "/api/auth/login/", fmt.Sprintf(`{"username":%q,"password":%q}`, c.email, c.password)
	}
}

// readAnswer takes from a body what the model compares.
func readAnswer(c call, name string, got reply) (answer, error) {
	a := answer{status: got.status}
	switch {
	case got.status >= 300:
		a.text = string(got.body)
		return a, nil
	case got.status == 204, c.kind == registerUser, c.kind == logIn:
		return a, nil
	}
	body := got.body
	if body[0] != '[' {
		body = slices.Concat([]byte("["), body, []byte("]"))
	}
	var rows []struct {
		ID             int64
		FirstName      string `json:"first_name"`
		LastName       string `json:"last_name"`
		Email          string
		Specialization string
		Patient        int64
		Doctor         int64
		PatientName    string `json:"patient_name"`
		DoctorName     string `json:"doctor_name"`
	}
	if err := json.Unmarshal(body, &rows); err != nil {
		return a, err
	}
	for _, r := range rows {
		switch c.kind {
		case registerPatient, amendPatient, replacePatient, getPatient, listPatients:
			a.patients = append(a.patients, patientRow{r.ID, r.FirstName, r.LastName})
		case mapDoctor, listMappings, mappingsOf:
			a.mappings = append(a.mappings, mappingRow{r.ID, r.Patient, r.Doctor, r.PatientName, r.DoctorName})
		default:
			if r.Specialization == name { // others' doctors are no matter of this history
				a.doctors = append(a.doctors, doctorRow{r.ID, r.FirstName, r.LastName, r.Email})
			}
		}
	}
	return a, nil
}
