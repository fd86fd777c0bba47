package cloudevent

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
)

var testLog = uuid.MustParse("0198a000-0000-7000-8000-000000000001")

var sampleMetadata = events.Metadata{
	Actor: events.Actor{UserID: 3}, CorrelationID: "c1", CausationID: "0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8090", RequestID: `r\1`,
	TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Fingerprint: "kept for the log",
}

func sample() events.Recorded {
	return events.Recorded{
		Event: events.Event{
			ID:            uuid.MustParse("0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8091"),
			Type:          events.PatientRegisteredType,
			SchemaVersion: 2,
			Tags:          []events.Tag{"patient:42", "owner:3"},
			Data:          json.RawMessage(`{"patient_id": 42,"first_name":"Ünal \"Ü\" \\ }"}`),
			Metadata:      encode(sampleMetadata),
		},
		Position:   9007199254740993,
		RecordedAt: time.Date(2025, 9, 1, 23, 35, 9, 120000, time.UTC),
	}
}

func encode(m events.Metadata) json.RawMessage {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return text
}

const sampleDocument = `{"specversion":"1.0","id":"0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8091",` +
	`"source":"/carelog/logs/0198a000-0000-7000-8000-000000000001","type":"carelog.patient.registered.v2",` +
	`"subject":"patient/42","time":"2025-09-01T23:35:09.000120Z","datacontenttype":"application/json",` +
	`"dataschema":"urn:carelog:schema:patient.registered:v2",` +
	`"position":"9007199254740993","tags":"patient:42 owner:3",` +
	`"actor":"user/3","correlationid":"c1","causationid":"0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8090","requestid":"r\\1",` +
	`"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",` +
	`"data":{"patient_id": 42,"first_name":"Ünal \"Ü\" \\ }"}}`

func TestWireFormat(t *testing.T) {
	if got := string(Append(nil, testLog, sample())); got != sampleDocument {
		t.Errorf("document\n got %s\nwant %s", got, sampleDocument)
	}
}

// TestTheOfficialSDKReadsIt: the CloudEvents SDK finds the document valid, and in it
// what is meant.
func TestTheOfficialSDKReadsIt(t *testing.T) {
	var e sdk.Event
	if err := json.Unmarshal([]byte(sampleDocument), &e); err != nil {
		t.Fatal(err)
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	want := map[string]any{
		"position": "9007199254740993", "tags": "patient:42 owner:3", "actor": "user/3", "correlationid": "c1",
		"causationid": sampleMetadata.CausationID, "requestid": `r\1`, "traceparent": sampleMetadata.TraceParent,
	}
	if got := e.Extensions(); !reflect.DeepEqual(got, want) {
		t.Errorf("extensions %v, want %v", got, want)
	}
	if e.ID() != sample().ID.String() || e.Type() != "carelog.patient.registered.v2" || e.Subject() != "patient/42" || !e.Time().Equal(sample().RecordedAt) ||
		e.DataContentType() != "application/json" || e.DataSchema() != "urn:carelog:schema:patient.registered:v2" || string(e.Data()) != string(sample().Data) {
		t.Errorf("read as %v", e)
	}
	again, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(again)
	if err != nil || got.Log != testLog || got.Recorded.Position != sample().Position {
		t.Errorf("what the SDK writes is read as %v, %v", got, err)
	}
}

func TestAttributeNamesAreThoseOfCloudEvents(t *testing.T) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(Append(nil, testLog, sample()), &members); err != nil {
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
	cases := map[string]func(*events.Recorded, *events.Metadata){
		"as it is":             func(*events.Recorded, *events.Metadata) {},
		"no subject":           func(e *events.Recorded, _ *events.Metadata) { e.Tags = []events.Tag{"owner:3"} },
		"no tags":              func(e *events.Recorded, _ *events.Metadata) { e.Tags = nil },
		"space and % in a tag": func(e *events.Recorded, _ *events.Metadata) { e.Tags = []events.Tag{"a:b c%20d", "%", "e"} },
		"quotes in a tag":      func(e *events.Recorded, _ *events.Metadata) { e.Tags = []events.Tag{`a:"\`} },
		"no data":              func(e *events.Recorded, _ *events.Metadata) { e.Data = nil },
		"data of other kinds":  func(e *events.Recorded, _ *events.Metadata) { e.Data = json.RawMessage(`[1, "}", null]`) },
		"type of many parts":   func(e *events.Recorded, _ *events.Metadata) { e.Type = "patient.very.v2.registered" },
		"nothing is known":     func(_ *events.Recorded, m *events.Metadata) { *m = events.Metadata{} },
		"a tool": func(_ *events.Recorded, m *events.Metadata) {
			m.Actor = events.Actor{Tool: "carelog users", Operator: "o\"hara\n\\"}
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			want, metadata := sample(), sampleMetadata
			change(&want, &metadata)
			want.Metadata = encode(metadata)
			doc := Append(nil, testLog, want)
			if !json.Valid(doc) {
				t.Fatalf("not JSON: %s", doc)
			}
			got, err := Parse(doc)
			if err != nil {
				t.Fatal(err)
			}
			want.Metadata, metadata.Fingerprint = nil, ""
			if !reflect.DeepEqual(got, Event{testLog, want, metadata}) {
				t.Errorf("\n got %+v\nwant %+v", got, Event{testLog, want, metadata})
			}
		})
	}
}

// TestMetadataAreScanned: as they are stored, and only so; what is scanned is what
// encoding/json reads.
func TestMetadataAreScanned(t *testing.T) {
	stored := sampleMetadata
	for text, want := range map[string]bool{
		string(encode(stored)): true,
		string(encode(events.Metadata{Actor: events.Actor{UserID: 1}})):                               true,
		string(encode(events.Metadata{Actor: events.Actor{UserID: 1<<63 - 1}})):                       false,
		string(encode(events.Metadata{Actor: events.Actor{Tool: "carelog users", Operator: "root"}})): false,
		string(encode(events.Metadata{})):                                                             false,
		``:                                                                                            false,
		`{"actor":{"user_id":1}`:                                                                      false,
		`{"actor":{"user_id":1}}}`:                                                                    false,
		`{"actor":{"user_id":1},}`:                                                                    false,
		`{"actor":{"user_id":1},"request_id":1}`:                                                      false,
		`{"actor":{"user_id":1},"request_id":"\u0041"}`:                                               false,
		`{"actor":{"user_id":1},"unknown":"x"}`:                                                       true,
		`{"actor": {"user_id":1}}`:                                                                    false,
	} {
		got, ok := scanMetadata([]byte(text))
		if ok != want {
			t.Errorf("%s: %v", text, ok)
		}
		var read events.Metadata
		if err := json.Unmarshal([]byte(text), &read); ok && (err != nil || got != withoutFingerprint(read)) {
			t.Errorf("%s: scanned as %+v, read as %+v, %v", text, got, read, err)
		}
	}
}

func withoutFingerprint(m events.Metadata) events.Metadata {
	m.Fingerprint = ""
	return m
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
		got, err := Parse([]byte(doc))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// indentation reaches into data
		var a, b any
		if json.Unmarshal(got.Recorded.Data, &a) != nil || json.Unmarshal(sample().Data, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: data %s", name, got.Recorded.Data)
		}
		want := sample()
		metadata := sampleMetadata
		want.Data, got.Recorded.Data, want.Metadata, metadata.Fingerprint = nil, nil, nil, ""
		if want := (Event{testLog, want, metadata}); !reflect.DeepEqual(got, want) {
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
		"actor":           change("user/3", "user/x"),
		"no position":     change(`"position":"9007199254740993",`, ""),
	} {
		if _, err := Parse([]byte(doc)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
