package bus

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
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

const sampleDocument = `{"specversion":"1.0","id":"0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8091",` +
	`"source":"/carelog/logs/0198a000-0000-7000-8000-000000000001","type":"carelog.patient.registered.v2",` +
	`"subject":"patient/42","time":"2025-09-01T23:35:09.000120Z","datacontenttype":"application/json",` +
	`"position":"9007199254740993","tags":"patient:42 owner:3",` +
	`"metadata":"{\"actor\":{\"user_id\":3},\"request_id\":\"r\\\\1\"}",` +
	`"data":{"patient_id": 42,"first_name":"Ünal \"Ü\" \\ }"}}`

func TestWireFormat(t *testing.T) {
	msg := Encode(testLog, sample())
	if got := string(msg.Payload); got != sampleDocument {
		t.Errorf("document\n got %s\nwant %s", got, sampleDocument)
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

func TestAttributeNamesAreThoseOfCloudEvents(t *testing.T) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(Encode(testLog, sample()).Payload, &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		if !regexp.MustCompile(`^[a-z0-9]{1,20}$`).MatchString(name) {
			t.Errorf("attribute %q", name)
		}
		if name != "data" && value[0] != '"' {
			t.Errorf("attribute %s is %s, not a string", name, value)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	cases := map[string]func(*events.Recorded){
		"as it is":                func(*events.Recorded) {},
		"no subject":              func(e *events.Recorded) { e.Tags = []events.Tag{"owner:3"} },
		"no tags":                 func(e *events.Recorded) { e.Tags = nil },
		"space and % in a tag":    func(e *events.Recorded) { e.Tags = []events.Tag{"a:b c%20d", "%", "e"} },
		"quotes in a tag":         func(e *events.Recorded) { e.Tags = []events.Tag{`a:"\`} },
		"no metadata, no data":    func(e *events.Recorded) { e.Metadata, e.Data = nil, nil },
		"line breaks in metadata": func(e *events.Recorded) { e.Metadata = json.RawMessage("{\n\t\"a\": \"\\n\"\r}") },
		"data of other kinds":     func(e *events.Recorded) { e.Data = json.RawMessage(`[1, "}", null]`) },
		"spaces around data":      func(e *events.Recorded) { e.Data = json.RawMessage(" {}\n") },
		"no group end":            func(e *events.Recorded) { e.GroupEnd = 0 },
		"type with many parts":    func(e *events.Recorded) { e.Type = "patient.very.v2.registered" },
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
			if log != testLog || !reflect.DeepEqual(got, want) {
				t.Errorf("log %v\n got %+v\nwant %+v", log, got, want)
			}
		})
	}
}

// What a proxy or another CloudEvents library makes of a document must be read
// the same.
func TestOtherLayoutsOfADocument(t *testing.T) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(sampleDocument), &members); err != nil {
		t.Fatal(err)
	}
	members["unknown"] = json.RawMessage(`{"a":[1]}`)
	sorted, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	indented, err := json.MarshalIndent(members, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for name, doc := range map[string]string{
		"sorted":         string(sorted),
		"indented":       string(indented),
		"data not last":  strings.TrimSuffix(sampleDocument, "}") + `,"more":"x"}`,
		"escapes":        strings.Replace(sampleDocument, "patient:42 ", `\u0070atient:42 `, 1),
		"a slash is \\/": strings.Replace(sampleDocument, "/carelog/", `\/carelog\/`, 1),
	} {
		var d document
		if d.scan([]byte(doc)) {
			t.Errorf("%s: taken for our own layout", name)
		}
		log, got, err := parseCloudEvent([]byte(doc))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// indentation reaches into data
		var a, b any
		if json.Unmarshal(got.Data, &a) != nil || json.Unmarshal(sample().Data, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: data %s", name, got.Data)
		}
		want := sample()
		want.GroupEnd, want.Data, got.Data = 0, nil, nil
		if log != testLog || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
}

func TestDocumentsThatAreRefused(t *testing.T) {
	change := func(old, new string) string {
		changed := strings.Replace(sampleDocument, old, new, 1)
		if changed == sampleDocument {
			t.Fatalf("%q is not in the document", old)
		}
		return changed
	}
	for name, doc := range map[string]string{
		"empty":            "",
		"not JSON":         "hello",
		"cut off":          sampleDocument[:len(sampleDocument)-1],
		"cut in a string":  sampleDocument[:40],
		"data is not JSON": change(`{"patient_id": 42,`, `{"patient_id": ,`),
		"version":          change(`"1.0"`, `"0.3"`),
		"content type":     change("application/json", "text/plain"),
		"id":               change("0198a3b2", "x"),
		"source":           change("/carelog/logs/", "/other/logs/"),
		"source without a log": change("/carelog/logs/0198a000-0000-7000-8000-000000000001",
			"/carelog/logs/"),
		"type of others":  change("carelog.patient", "other.patient"),
		"no version":      change(".v2", ""),
		"version 0":       change(".v2", ".v0"),
		"version is text": change(".v2", ".vx"),
		"no name":         change("carelog.patient.registered.v2", "carelog..v2"),
		"time":            change("2025-09-01T", "yesterday"),
		"position":        change("9007199254740993", "-1"),
		"no position":     change(`"position":"9007199254740993",`, ""),
	} {
		if _, _, err := parseCloudEvent([]byte(doc)); err == nil {
			t.Errorf("%s: accepted", name)
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
