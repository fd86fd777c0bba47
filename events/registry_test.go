package events

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

var update = flag.Bool("update", false, "write golden files that are missing; never rewrites one")

func ptr[T any](v T) *T { return &v }

var at = time.Date(2025, 9, 1, 23, 35, 9, 123456000, time.UTC)

// samples holds one payload of every type, with every field set.
var samples = []Payload{
	UserRegistered{UserID: 3, Name: "John Doe", Email: "john@example.com", RegisteredAt: at},
	UserDisabled{UserID: 3},
	UserEnabled{UserID: 3},
	UserPasswordChanged{UserID: 3},
	UserRoleGranted{UserID: 3, Role: Auditor},
	UserRoleRevoked{UserID: 3, Role: Admin},
	PatientRegistered{PatientID: 42, OwnerID: 3, FirstName: "Alice", LastName: "Smith", Age: 30, Gender: "Female", CreatedAt: at},
	PatientAmended{PatientID: 42, OwnerID: 3, FirstName: ptr("Alicia"), LastName: ptr("Jones"), Age: ptr(31), Gender: ptr("Other")},
	PatientRemoved{PatientID: 42, OwnerID: 3},
	DoctorRegistered{DoctorID: 7, FirstName: "Dr. Sarah", LastName: "Johnson", Specialization: "Cardiology", Email: "sarah@hospital.com", Phone: "+1234567890", CreatedAt: at},
	DoctorAmended{DoctorID: 7, FirstName: ptr("Sara"), LastName: ptr("Smith"), Specialization: ptr("Oncology"), Email: ptr("sara@hospital.com"), Phone: ptr("1")},
	DoctorRemoved{DoctorID: 7},
	MappingCreated{MappingID: 5, PatientID: 42, DoctorID: 7, OwnerID: 3, AssignedAt: at},
	MappingRemoved{MappingID: 5, PatientID: 42, DoctorID: 7, OwnerID: 3},
	LogImported{SourceLog: "0198c6a1-7f3e-7c11-9d2a-3b5f0c4e8a76", Head: 1234, Events: 1234, Manifest: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Accounts: 3},
}

// A golden file pins what was written under a type and schema version. What is
// in logs out there can never change, so neither can these files: a change of a
// payload needs a new version and an upcaster.
func TestGoldenFilesPinEveryTypeAndVersion(t *testing.T) {
	r := NewRegistry()
	covered := map[string]bool{}
	for _, payload := range samples {
		eventType, version, data, err := r.Encode(payload)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", fmt.Sprintf("%s.v%d.json", eventType, version))
		covered[path] = true
		golden, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && *update {
			golden = append(data, '\n')
			err = os.WriteFile(path, golden, 0o644)
		}
		if err != nil {
			t.Fatalf("%v (go test ./events -update writes what is missing)", err)
		}
		if string(data) != strings.TrimSpace(string(golden)) {
			t.Errorf("%s v%d is written as\n%s\nbut logs hold\n%s", eventType, version, data, golden)
		}
	}
	files, _ := filepath.Glob("testdata/*.json")
	for _, path := range files {
		var eventType Type
		var version int
		name := filepath.Base(path)
		cut := strings.LastIndex(name, ".v")
		if cut < 0 {
			t.Fatalf("%s is not named type.vN.json", path)
		}
		eventType = Type(name[:cut])
		if _, err := fmt.Sscanf(name[cut:], ".v%d.json", &version); err != nil {
			t.Fatalf("%s is not named type.vN.json", path)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := r.Decode(Event{Type: eventType, SchemaVersion: version, Data: data})
		if err != nil {
			t.Errorf("what was once written cannot be read: %v", err)
			continue
		}
		if !containsEqual(samples, payload) {
			t.Errorf("%s is read as %+v, which is not its sample", path, payload)
		}
	}
	for _, eventType := range r.Types() {
		for version := 1; version <= r.Version(eventType); version++ {
			if _, err := os.Stat(filepath.Join("testdata", fmt.Sprintf("%s.v%d.json", eventType, version))); err != nil {
				t.Errorf("%s v%d has no golden file", eventType, version)
			}
		}
	}
	if len(covered) != len(samples) {
		t.Errorf("%d samples for %d files", len(samples), len(covered))
	}
}

func containsEqual(all []Payload, one Payload) bool {
	for _, p := range all {
		if reflect.DeepEqual(p, one) {
			return true
		}
	}
	return false
}

// temperature has had three versions: a text, a number of degrees Fahrenheit,
// and now degrees Celsius under a name that says so.
type temperatureTaken struct {
	Celsius float64 `json:"celsius"`
}

func (temperatureTaken) EventType() Type { return "temperature.taken" }

func registryWithTemperature() *Registry {
	r := NewRegistry()
	register[temperatureTaken](r,
		func(data json.RawMessage) (json.RawMessage, error) {
			var v1 struct{ Temperature string }
			var v2 struct {
				Fahrenheit float64 `json:"fahrenheit"`
			}
			if err := json.Unmarshal(data, &v1); err != nil {
				return nil, err
			}
			if _, err := fmt.Sscanf(v1.Temperature, "%fF", &v2.Fahrenheit); err != nil {
				return nil, err
			}
			return json.Marshal(v2)
		},
		func(data json.RawMessage) (json.RawMessage, error) {
			var v2 struct{ Fahrenheit float64 }
			if err := json.Unmarshal(data, &v2); err != nil {
				return nil, err
			}
			return json.Marshal(temperatureTaken{(v2.Fahrenheit - 32) / 1.8})
		})
	return r
}

func TestUpcastersChainOldVersionsToTheCurrentOne(t *testing.T) {
	r := registryWithTemperature()
	for version, data := range map[int]string{1: `{"temperature":"212F"}`, 2: `{"fahrenheit":212}`, 3: `{"celsius":100}`} {
		got, err := r.Decode(Event{Type: "temperature.taken", SchemaVersion: version, Data: []byte(data)})
		if err != nil || got != (temperatureTaken{100}) {
			t.Errorf("version %d: %v, %v", version, got, err)
		}
	}
	if _, version, _, err := r.Encode(temperatureTaken{1}); version != 3 || err != nil {
		t.Errorf("written as version %d, %v", version, err)
	}
	if _, err := r.Decode(Event{Type: "temperature.taken", SchemaVersion: 1, Data: []byte(`{"temperature":"hot"}`)}); err == nil {
		t.Error("data that cannot be lifted was read")
	}
}

func TestWhatANewerProgramWroteIsNamed(t *testing.T) {
	r := NewRegistry()
	for _, e := range []Event{
		{Type: "patient.vaccinated", SchemaVersion: 1},
		{Type: PatientRegisteredType, SchemaVersion: 2},
		{Type: PatientRegisteredType, SchemaVersion: 0},
	} {
		var unknown *UnknownTypeError
		if _, err := r.Decode(e); !errors.As(err, &unknown) || unknown.Type != e.Type || unknown.SchemaVersion != e.SchemaVersion {
			t.Errorf("%s v%d: %v", e.Type, e.SchemaVersion, err)
		}
	}
	if _, _, _, err := r.Encode(temperatureTaken{}); err == nil {
		t.Error("a payload of an unregistered type was written")
	}
}

func TestQueriesMatchByAnyTypeAndAllTags(t *testing.T) {
	tags := []Tag{"a:1", "b:2"}
	for _, c := range []struct {
		query Query
		want  bool
	}{
		{nil, false},
		{Query{{Types: []Type{"x.done"}}}, true},
		{Query{{Types: []Type{"y.done", "x.done"}, Tags: []Tag{"b:2", "a:1"}}}, true},
		{Query{{Types: []Type{"y.done"}, Tags: []Tag{"a:1"}}}, false},
		{Query{{Tags: []Tag{"a:1", "c:3"}}}, false},
		{Query{{Tags: []Tag{"c:3"}}, {Tags: []Tag{"a:1"}}}, true},
	} {
		if got := c.query.Matches("x.done", tags); got != c.want {
			t.Errorf("%v: %t", c.query, got)
		}
	}
	if (Query{{}}).Validate() == nil || make(Query, MaxQueryItems+1).Validate() == nil {
		t.Error("an unanswerable query is valid")
	}
}

func TestTagsHoldNoPersonalData(t *testing.T) {
	key, other := TagKey("0123456789abcdef0123456789abcdef"), TagKey("1123456789abcdef0123456789abcdef")
	email := "john@example.com"
	tag := key.UserEmail(email)
	if strings.Contains(string(tag), "john") || tag != key.UserEmail(email) {
		t.Errorf("tag %s", tag)
	}
	for _, different := range []Tag{key.DoctorEmail(email), key.UserEmail("John@example.com"), other.UserEmail(email)} {
		if different[strings.Index(string(different), ":"):] == tag[strings.Index(string(tag), ":"):] {
			t.Errorf("%s and %s share a hash", tag, different)
		}
	}
}

func TestIdempotencyTagsTellRequestsApart(t *testing.T) {
	key := TagKey("0123456789abcdef0123456789abcdef")
	tag := key.Idempotency(3, "POST", "/api/patients", "john")
	if !strings.HasPrefix(string(tag), "idem:") || strings.Contains(string(tag), "john") || tag != key.Idempotency(3, "POST", "/api/patients", "john") {
		t.Errorf("tag %s", tag)
	}
	for _, different := range []Tag{
		key.Idempotency(31, "POST", "/api/patients", "john"),
		key.Idempotency(3, "PUT", "/api/patients", "john"),
		key.Idempotency(3, "POST", "/api/patient", "sjohn"),
		key.Idempotency(3, "POST", "/api/patients", "John"),
		TagKey("1123456789abcdef0123456789abcdef").Idempotency(3, "POST", "/api/patients", "john"),
	} {
		if different == tag {
			t.Errorf("two requests have the tag %s", tag)
		}
	}
}

func TestSubjectNamesTheRecord(t *testing.T) {
	e := Event{ID: uuid.New(), Type: MappingCreatedType, Tags: MappingTags(5, 42, 7, 3)}
	if e.Subject() != "mapping/5" {
		t.Error(e.Subject())
	}
	if (Event{Type: "log.imported"}).Subject() != "" {
		t.Error("an event without a tag of its entity has a subject")
	}
}
