package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/carelog/carelog/events"
)

const dialect = "https://json-schema.org/draft/2020-12/schema"

func decode(t *testing.T, text []byte) map[string]any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		t.Fatalf("not an object: %s", text)
	}
	return object
}

func read(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := Read(name)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, text)
}

func names(t *testing.T) []string {
	t.Helper()
	names, err := Names()
	if err != nil || len(names) < 2 {
		t.Fatalf("schemas: %v, %v", names, err)
	}
	return names
}

// compiler knows the AsyncAPI document and every schema, by its $id, and takes formats
// seriously.
func compiler(t *testing.T) *jsonschema.Compiler {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	resources := map[string]any{"urn:asyncapi": read(t, AsyncAPI)}
	for _, name := range names(t) {
		schema := read(t, name)
		resources[schema["$id"].(string)] = schema
	}
	for id, resource := range resources {
		if err := c.AddResource(id, resource); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func compile(t *testing.T, c *jsonschema.Compiler, id string) *jsonschema.Schema {
	t.Helper()
	schema, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// sample is a golden file: data as logs hold it.
type sample struct {
	eventType events.Type
	version   int
	data      []byte
}

func (s sample) id() string { return fmt.Sprintf("urn:carelog:schema:%s:v%d", s.eventType, s.version) }

func samples(t *testing.T) map[string]sample {
	t.Helper()
	paths, err := filepath.Glob("../testdata/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("golden files: %v, %v", paths, err)
	}
	found := map[string]sample{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		stem := strings.TrimSuffix(name, ".json")
		cut := strings.LastIndex(stem, ".v")
		version, err := strconv.Atoi(stem[cut+2:])
		if err != nil {
			t.Fatal(err)
		}
		found[name] = sample{events.Type(stem[:cut]), version, bytes.TrimSpace(data)}
	}
	return found
}

func TestSchemasAreJSONSchema(t *testing.T) {
	c := compiler(t)
	meta := compile(t, c, dialect)
	for _, name := range names(t) {
		schema := read(t, name)
		if err := meta.Validate(schema); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if schema["$schema"] != dialect || schema["title"] == "" || schema["description"] == "" || schema["additionalProperties"] != nil {
			t.Errorf("%s: $schema %v, title %v, description %v, additionalProperties %v",
				name, schema["$schema"], schema["title"], schema["description"], schema["additionalProperties"])
		}
		valid := compile(t, c, schema["$id"].(string))
		examples := schema["examples"].([]any)
		if len(examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, example := range examples {
			if err := valid.Validate(example); err != nil {
				t.Errorf("example of %s: %v", name, err)
			}
		}
	}
	if meta.Validate(decode(t, []byte(`{"type":"int"}`))) == nil {
		t.Error("a schema that is none is valid")
	}
}

// Whatever was once written has its schema, is its example, and is valid; and nearly the
// same is not.
func TestGoldenFilesAreValid(t *testing.T) {
	c := compiler(t)
	for name, golden := range samples(t) {
		schema := read(t, "schemas/"+name)
		if schema["$id"] != golden.id() {
			t.Errorf("the $id of %s is %v", name, schema["$id"])
		}
		valid := compile(t, c, golden.id())
		data := decode(t, golden.data)
		if err := valid.Validate(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if example := schema["examples"].([]any)[0]; !reflect.DeepEqual(example, any(data)) {
			t.Errorf("the example of %s is %v", name, example)
		}
		for what, spoilt := range spoil(schema, data) {
			if valid.Validate(spoilt) == nil {
				t.Errorf("%s is valid with %s", name, what)
			}
		}
		more := maps.Clone(data)
		more["not_known_yet"] = "x"
		if err := valid.Validate(more); err != nil {
			t.Errorf("%s with a field more: %v", name, err)
		}
		for property := range data {
			if _, described := schema["properties"].(map[string]any)[property]; !described {
				t.Errorf("%s: %s is not described", name, property)
			}
		}
	}
}

// spoil makes wrong ones of a right document: without each of the required members,
// with each member of another type, and with times that are none.
func spoil(schema, right map[string]any) map[string]map[string]any {
	wrong := map[string]map[string]any{}
	change := func(what, member string, value any) {
		document := maps.Clone(right)
		if document[member] = value; value == nil {
			delete(document, member)
		}
		wrong[what+" "+member] = document
	}
	for _, required := range schema["required"].([]any) {
		change("no", required.(string), nil)
	}
	for name, property := range schema["properties"].(map[string]any) {
		change("an array as", name, []any{})
		if property.(map[string]any)["format"] == "date-time" {
			change("no time in", name, "yesterday")
		}
		if property.(map[string]any)["minimum"] != nil {
			change("a negative", name, json.Number("-1"))
		}
	}
	return wrong
}

func TestAmendedEventsChangeSomething(t *testing.T) {
	c := compiler(t)
	valid := compile(t, c, "urn:carelog:schema:patient.amended:v1")
	if err := valid.Validate(decode(t, []byte(`{"patient_id":1,"owner_id":1,"age":0}`))); err != nil {
		t.Error(err)
	}
	if valid.Validate(decode(t, []byte(`{"patient_id":1,"owner_id":1}`))) == nil {
		t.Error("an amendment of nothing is valid")
	}
}

// Every version that there is in the program has its schema, and there is none of
// versions that the program does not know.
func TestSchemasAreThoseOfTheRegistry(t *testing.T) {
	r := events.NewRegistry()
	want := []string{"schemas/cloudevent.json"}
	for name, golden := range samples(t) {
		if r.Version(golden.eventType) > 0 {
			want = append(want, "schemas/"+name)
		}
	}
	slices.Sort(want)
	if got := names(t); !slices.Equal(got, want) {
		t.Errorf("schemas\n%v\nwant\n%v", got, want)
	}
}
