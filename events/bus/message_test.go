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

// TestRoundTrip is of what the headers carry, and what is left of the metadata; all else
// is that of package cloudevent.
func TestRoundTrip(t *testing.T) {
	const traceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, groupEnd := range []events.Position{0, sample().GroupEnd} {
		want := sample()
		want.GroupEnd = groupEnd
		want.Metadata = json.RawMessage(`{"actor":{"user_id":3},"traceparent":"` + traceParent + `"}`)
		msg := Encode(testLog, want)
		log, got, err := decode(msg.Payload, msg.Metadata.Get(HeaderGroupEnd))
		if err != nil {
			t.Fatal(err)
		}
		want.Metadata, want.TraceParent = nil, traceParent
		if log != testLog || !reflect.DeepEqual(got, want) {
			t.Errorf("log %v\n got %+v\nwant %+v", log, got, want)
		}
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
		if _, _, err := decode(msg.Payload, ""); err != nil {
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
		if _, _, err := decode(msg.Payload, ""); err != nil {
			b.Fatal(err)
		}
	}
}
