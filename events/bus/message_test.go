package bus

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/cloudevent"
)

func sample() events.Recorded {
	return events.Recorded{
		Event: events.Event{
			ID:            uuid.MustParse("0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8091"),
			Type:          events.PatientRegisteredType,
			SchemaVersion: 2,
			Tags:          []events.Tag{"patient:42", "owner:3"},
			Data:          json.RawMessage(`{"patient_id": 42,"first_name":"Ünal \"Ü\" \\ }"}`),
			Metadata:      json.RawMessage(`{"actor":{"user_id":3},"request_id":"r\\1"}`),
		},
		Position:   9007199254740993,
		RecordedAt: time.Date(2025, 9, 1, 23, 35, 9, 120000, time.UTC),
		GroupEnd:   9007199254740995,
	}
}

func TestWireFormat(t *testing.T) {
	msg := Encode(testLog, sample())
	if want := cloudevent.Append(nil, testLog, sample()); string(msg.Payload) != string(want) {
		t.Errorf("payload\n got %s\nwant %s", msg.Payload, want)
	}
	onWire := natsMessage("ignored", msg)
	if got, want := onWire.Subject, "carelog.events.patient.registered"; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	want := map[string]string{
		"Carelog-Position":        "9007199254740993",
		"Carelog-Group-End":       "9007199254740995",
		"Carelog-Log":             testLog.String(),
		"Carelog-Subject":         "patient/42",
		"Content-Type":            "application/cloudevents+json",
		"_watermill_message_uuid": sample().ID.String(),
	}
	got := map[string]string{}
	for name := range onWire.Header {
		got[name] = strings.Join(onWire.Header[name], "|")
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("headers %v, want %v", got, want)
	}
}

func TestRoundTrip(t *testing.T) {
	cases := map[string]func(*events.Recorded){
		"as it is":             func(*events.Recorded) {},
		"no subject":           func(e *events.Recorded) { e.Tags = []events.Tag{"owner:3"} },
		"no tags":              func(e *events.Recorded) { e.Tags = nil },
		"space and % in a tag": func(e *events.Recorded) { e.Tags = []events.Tag{"a:b c%20d", "%", "e"} },
		"quotes in a tag":      func(e *events.Recorded) { e.Tags = []events.Tag{`a:"\`} },
		"no data":              func(e *events.Recorded) { e.Data = nil },
		"data of other kinds":  func(e *events.Recorded) { e.Data = json.RawMessage(`[1, "}", null]`) },
		"spaces around data":   func(e *events.Recorded) { e.Data = json.RawMessage(" {}\n") },
		"no group end":         func(e *events.Recorded) { e.GroupEnd = 0 },
		"type with many parts": func(e *events.Recorded) { e.Type = "patient.very.v2.registered" },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			want := sample()
			change(&want)
			msg := Encode(testLog, want)
			if !json.Valid(msg.Payload) {
				t.Fatalf("not JSON: %s", msg.Payload)
			}
			log, got, err := Decode(msg)
			if err != nil {
				t.Fatal(err)
			}
			if name == "spaces around data" {
				// white space around a member is not part of its value
				got.Data = json.RawMessage(" " + strings.TrimSpace(string(got.Data)) + "\n")
			}
			want.Metadata = nil // is left out
			if log != testLog || !reflect.DeepEqual(got, want) {
				t.Errorf("log %v\n got %+v\nwant %+v", log, got, want)
			}
		})
	}
}

// realistic is of the size that a registration through the API has.
func realistic() events.Recorded {
	e := sample()
	e.Data = json.RawMessage(`{"patient_id":42,"owner_id":3,"first_name":"Elizabeth","last_name":"Johnson","age":34,"gender":"Female","created_at":"2025-09-01T23:35:09.123456Z"}`)
	e.Metadata = json.RawMessage(`{"actor":{"user_id":3},"correlation_id":"0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8091","request_id":"0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8091"}`)
	return e
}

func BenchmarkEncode(b *testing.B) {
	e := realistic()
	b.ReportAllocs()
	for b.Loop() {
		Encode(testLog, e)
	}
}

// Target: 5 microseconds.
func BenchmarkDecode(b *testing.B) {
	msg := Encode(testLog, realistic())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decode(msg); err != nil {
			b.Fatal(err)
		}
	}
}

// The same document as another program would write it.
func BenchmarkDecodeOtherLayout(b *testing.B) {
	msg := Encode(testLog, realistic())
	msg.Payload = append([]byte{' '}, msg.Payload...)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decode(msg); err != nil {
			b.Fatal(err)
		}
	}
}
