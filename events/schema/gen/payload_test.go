package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
)

type (
	place struct {
		Ward string `json:"ward"`
		Bed  *int   `json:"bed,omitempty" schema:"minimum=1,maximum=9"`
	}

	// admitted knows every kind of field there may be.
	admitted struct {
		ID       uuid.UUID         `json:"id"`
		PlaceID  int64             `json:"place_id"`
		Places   []place           `json:"places,omitempty"`
		Nullable []string          `json:"nullable"`
		Names    map[string]string `json:"names,omitzero"`
		At       time.Time         `json:"at,omitempty"` // which does nothing
		Until    time.Time         `json:"until,omitzero"`
		Weight   float64           `json:"weight"`
		Urgent   bool              `json:"urgent"`
		Count    uint16            `json:"count"`
		Mail     string            `json:"mail" schema:"format=email,maxLength=99,minLength=3"`
		Left     string            `json:"-"`
	}
)

func TestStructsAreDescribed(t *testing.T) {
	d := describer{comments: comments{"admitted": "x", "admitted.Weight": "in kilograms, see PatientAmended"}, names: map[string]events.Type{"PatientAmended": "patient.amended"}}
	e, err := d.payload("patient.amended", 3, wrapped{}, json.RawMessage(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := encode(e)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"urn:carelog:schema:patient.amended:v3","title":"patient.amended.v3","description":"",` +
		`"type":"object","properties":{` +
		`"admitted":{"type":"object","properties":{` +
		`"id":{"type":"string","format":"uuid"},` +
		`"place_id":{"type":"integer","minimum":1},` +
		`"places":{"type":"array","items":{"type":"object","properties":{"ward":{"type":"string"},"bed":{"type":"integer","minimum":1,"maximum":9}},"required":["ward"]}},` +
		`"nullable":{"type":["array","null"],"items":{"type":"string"}},` +
		`"names":{"type":"object","additionalProperties":{"type":"string"}},` +
		`"at":{"type":"string","format":"date-time"},` +
		`"until":{"type":"string","format":"date-time"},` +
		`"weight":{"type":"number","description":"in kilograms, see patient.amended"},` +
		`"urgent":{"type":"boolean"},` +
		`"count":{"type":"integer","minimum":0},` +
		`"mail":{"type":"string","format":"email","maxLength":99,"minLength":3}},` +
		`"required":["id","place_id","nullable","at","weight","urgent","count","mail"]},` +
		`"note":{"type":"string"}},"required":["admitted"],"minProperties":2,"examples":[{}]}`
	if string(got) != want {
		t.Errorf("described as\n%s\nwant\n%s", got, want)
	}
}

type wrapped struct {
	Admitted admitted `json:"admitted"`
	Note     string   `json:"note,omitempty"`
}

func (wrapped) EventType() events.Type { return "patient.amended" }

type embedding struct{ place }

func (embedding) EventType() events.Type { return "x.done" }

type odd[T any] struct {
	Value T `json:"value"`
}

func (odd[T]) EventType() events.Type { return "x.done" }

type mistagged struct {
	Age int `json:"age" schema:"minimun=0"`
}

func (mistagged) EventType() events.Type { return "x.done" }

// Nobody is to get a schema that says less than it seems.
func TestWhatCannotBeDescribedIsRefused(t *testing.T) {
	for _, payload := range []events.Payload{embedding{}, odd[chan int]{}, odd[[]byte]{}, odd[json.RawMessage]{}, odd[any]{}, mistagged{}} {
		if schema, err := (describer{}).payload("x.done", 1, payload, nil); err == nil {
			t.Errorf("%T is described as %v", payload, schema)
		}
	}
}
