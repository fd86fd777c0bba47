package schema

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/bus"
	"github.com/carelog/carelog/events/cloudevent"
)

// recorded is a golden file as an event of the log.
func recorded(s sample) events.Recorded {
	return events.Recorded{
		Event: events.Event{
			ID: uuid.MustParse("0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8091"), Type: s.eventType, SchemaVersion: s.version,
			Tags: []events.Tag{events.Tag(s.eventType.Entity() + ":42"), "a b:100%"}, Data: s.data,
			Metadata: json.RawMessage(`{"actor":{"tool":"carelog users","operator":"root"},"correlation_id":"c","causation_id":"0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8090",` +
				`"request_id":"r","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`),
		},
		Position:   9007199254740993,
		RecordedAt: time.Date(2025, 9, 1, 23, 35, 9, 0, time.UTC),
	}
}

var log = uuid.MustParse("0198a000-0000-7000-8000-000000000001")

// What Carelog sends of every event is as the schema of CloudEvents and the message in
// the AsyncAPI document say.
func TestCloudEventsAreValid(t *testing.T) {
	c := compiler(t)
	envelope := compile(t, c, cloudevent.EnvelopeSchema)
	anyEvent := compile(t, c, "urn:asyncapi#/components/messages/event/payload")
	for name, golden := range samples(t) {
		stem := strings.TrimSuffix(name, ".json")
		message := compile(t, c, "urn:asyncapi#/components/messages/"+stem+"/payload")
		for _, metadata := range []json.RawMessage{recorded(golden).Metadata, []byte(`{"actor":{"user_id":3}}`), []byte(`{"actor":{}}`)} {
			e := recorded(golden)
			e.Metadata = metadata
			text := cloudevent.Append(nil, log, e)
			document := decode(t, text)
			var official sdk.Event
			if err := errors.Join(json.Unmarshal(text, &official), official.Validate()); err != nil {
				t.Errorf("%s: for the CloudEvents SDK: %v", name, err)
			}
			for what, valid := range map[string]*jsonschema.Schema{"envelope": envelope, "message": message, "feed": anyEvent} {
				if err := valid.Validate(document); err != nil {
					t.Errorf("%s: %s\n%s\n%v", name, what, text, err)
				}
			}
		}
		document := decode(t, cloudevent.Append(nil, log, recorded(golden)))
		for what, wrong := range spoil(read(t, "schemas/cloudevent.json"), document) {
			if envelope.Validate(wrong) == nil {
				t.Errorf("%s: a CloudEvent is valid with %s", name, what)
			}
		}
		document["data"] = map[string]any{}
		if message.Validate(document) == nil || anyEvent.Validate(document) == nil {
			t.Errorf("%s: a message without data is valid", name)
		}
	}
}

func TestAsyncAPIIsValid(t *testing.T) {
	packed, err := os.Open("testdata/asyncapi-3.0.0.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	official, err := jsonschema.UnmarshalJSON(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("urn:official", official); err != nil {
		t.Fatal(err)
	}
	valid := compile(t, c, "urn:official")
	document := read(t, AsyncAPI)
	if err := valid.Validate(document); err != nil {
		t.Error(err)
	}
	operation := document["operations"].(map[string]any)["patient.registered"].(map[string]any)
	operation["action"] = "subscribe"
	if valid.Validate(document) == nil {
		t.Error("an unknown action is valid")
	}
}

// The subject and the headers of what is published on NATS are those of the document.
func TestMessagesOnNATSAreAsDescribed(t *testing.T) {
	valid := compile(t, compiler(t), "urn:asyncapi#/components/schemas/headers")
	channels := read(t, AsyncAPI)["channels"].(map[string]any)
	for name, golden := range samples(t) {
		e := recorded(golden)
		e.GroupEnd = e.Position
		message := bus.Encode(log, e)
		headers := map[string]any{bus.HeaderUUID: message.UUID}
		for header, value := range message.Metadata {
			headers[header] = value
		}
		if address := channels[string(golden.eventType)].(map[string]any)["address"]; address != headers["nats-subject"] {
			t.Errorf("%s is published on %v, not on %v", name, headers["nats-subject"], address)
		}
		if err := valid.Validate(headers); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		headers[bus.HeaderPosition] = "0"
		if valid.Validate(headers) == nil {
			t.Errorf("%s: position 0 is valid", name)
		}
	}
}

// Every registered type has its subject in the AsyncAPI document, and every schema is
// there as it is by itself.
func TestAsyncAPIHasEverything(t *testing.T) {
	document := read(t, AsyncAPI)
	member := func(path ...string) any {
		var value any = document
		for _, name := range path {
			object, _ := value.(map[string]any)
			value = object[name]
		}
		return value
	}
	for _, name := range events.NewRegistry().Types() {
		if address := member("channels", string(name), "address"); address != "carelog.events."+string(name) {
			t.Errorf("%s is at %v", name, address)
		}
		if action := member("operations", string(name), "action"); action != "receive" {
			t.Errorf("%s: %v", name, action)
		}
	}
	for name, golden := range samples(t) {
		message := strings.TrimSuffix(name, ".json")
		if ref := member("channels", string(golden.eventType), "messages", message, "$ref"); ref != "#/components/messages/"+message {
			t.Errorf("%s: message %v", name, ref)
		}
	}
	for _, name := range names(t) {
		stem := strings.TrimSuffix(filepath.Base(name), ".json")
		if !reflect.DeepEqual(member("components", "schemas", stem), any(read(t, name))) {
			t.Errorf("%s is another in the AsyncAPI document", name)
		}
	}
}
