package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5"
)

// balance is what became of all that clients asked.
type balance struct {
	ok, refused, unavailable, unknown, unsent, pending, retried int64

	recovered  int      // writes whose answer nobody got, and which are there
	lost       []string // writes that were answered as done, and are not there
	doubled    []string // requests that were done twice
	unexpected []string // what is there and should not be, and answers that none should get
	suspects   []string // the requests of all those
}

func (a balance) String() string {
	return fmt.Sprintf("requests: %d ok, %d refused, %d unavailable, %d unknown, %d retried until known, %d pending, %d never sent; writes: %d recovered, %d lost, %d doubled, %d unexpected",
		a.ok, a.refused, a.unavailable, a.unknown, a.retried, a.pending, a.unsent, a.recovered, len(a.lost), len(a.doubled), len(a.unexpected))
}

// wrong are examples of what must not be.
func (a balance) wrong() []string {
	var all []string
	for what, which := range map[string][]string{"lost": a.lost, "doubled": a.doubled, "unexpected": a.unexpected} {
		if len(which) > 0 {
			all = append(all, fmt.Sprintf("%d %s: %s", len(which), what, which[:min(5, len(which))]))
		}
	}
	return all
}

// logged is the first event that a request has caused.
type logged struct {
	data  map[string]any
	count int // of events without a cause in the same request: more than one is one too many
}

// audit holds what clients were told against the log. Outcomes that were
// unknown are known then: the log has the request's id, or it has not.
func (s *site) audit(ctx context.Context) (balance, error) {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return balance{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `select metadata->>'request_id', data from events where metadata->>'causation_id' is null order by position`)
	if err != nil {
		return balance{}, err
	}
	log := map[string]*logged{}
	var request string
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&request, &data}, func() error {
		if log[request] == nil {
			log[request] = &logged{}
			if err := json.Unmarshal(data, &log[request].data); err != nil {
				return err
			}
		}
		log[request].count++
		return nil
	})
	if err != nil {
		return balance{}, err
	}
	a := balance{
		ok: s.tally.ok.Load(), refused: s.tally.refused.Load(), unavailable: s.tally.unavailable.Load(),
		unknown: s.tally.unknown.Load(), unsent: s.tally.unsent.Load(), pending: s.tally.pending.Load(), retried: s.tally.retried.Load(),
		unexpected: slices.Clone(s.tally.unexpected),
	}
	for _, h := range append([]*recording{s.accounts, s.probes}, s.practice...) {
		for _, o := range h.operations {
			a.add(o, log[o.request])
			delete(log, o.request)
		}
	}
	for request := range log {
		a.unexpected = append(a.unexpected, fmt.Sprintf("events of a request %q that nobody sent", request))
	}
	return a, nil
}

// add counts one operation, and resolves it when its outcome was unknown.
func (a *balance) add(o *operation, found *logged) {
	known := len(a.lost) + len(a.doubled) + len(a.unexpected)
	defer func() {
		if len(a.lost)+len(a.doubled)+len(a.unexpected) > known {
			a.suspects = append(a.suspects, o.request)
		}
	}()
	what := fmt.Sprintf("%s (%s, answered %d)", o.call.kind, o.request, o.answer.status)
	switch {
	case found != nil && found.count > 1:
		a.doubled = append(a.doubled, what)
	case found != nil && o.unknown:
		a.recovered++
		o.answer = found.answer(o.call)
	case found != nil && !o.done():
		a.unexpected = append(a.unexpected, what+" is in the log")
	case found == nil && o.unknown:
		o.answer.status = -1
	case found == nil && o.done() && !(o.call.kind == amendDoctor && o.call.email != ""): // which may have been the same
		a.lost = append(a.lost, what)
	}
}

// answer is what the client would have been told, as far as the client cannot
// know it: the id of a new record.
func (l *logged) answer(c call) answer {
	id := func(name string) int64 {
		number, _ := l.data[name].(float64)
		return int64(number)
	}
	var a answer
	switch c.kind {
	case registerPatient:
		a.patients = []patientRow{{id("patient_id"), c.first, c.last}}
	case registerDoctor:
		a.doctors = []doctorRow{{id("doctor_id"), c.first, c.last, c.email}}
	case mapDoctor:
		a.mappings = []mappingRow{{ID: id("mapping_id")}}
	}
	return a
}

// checkWithin bounds the search for an order; a history of some hundred calls
// takes milliseconds.
const checkWithin = time.Minute

// check tells whether the answers could have been given by the model, asked one
// call at a time in an order that contradicts no clock. What did not happen is
// left out; the audit must have resolved what was unknown.
func (h *recording) check(model porcupine.Model) error {
	var operations []porcupine.Operation
	for _, o := range h.operations {
		if o.answer.status >= 0 {
			operations = append(operations, porcupine.Operation{ClientId: o.client, Input: o.call, Output: o.answer, Call: o.called, Return: o.returned})
		}
	}
	switch result := porcupine.CheckOperationsTimeout(model, operations, checkWithin); result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("history %s: no order was found for %d calls within %v, nor that there is none", h.name, len(operations), checkWithin)
	default:
		return fmt.Errorf("history %s of %d calls is not linearizable", h.name, len(operations))
	}
}
