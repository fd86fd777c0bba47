package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/cloudevent"
)

// dialect is the JSON Schema that the schemas are written in.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// describer makes schemas of Go structs, by the rules in the doc.go of package events.
type describer struct {
	comments comments
	names    map[string]events.Type // Go's names of payloads, which comments use
}

func newDescriber(comments comments, r *events.Registry) describer {
	names := map[string]events.Type{}
	for _, t := range r.Types() {
		names[reflect.TypeOf(r.Zero(t)).Name()] = t
	}
	return describer{comments, names}
}

// payload is the schema of an event's data.
func (d describer) payload(t events.Type, version int, payload events.Payload, example json.RawMessage) (object, error) {
	structure := reflect.TypeOf(payload)
	described, err := d.structure(structure)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", t, err)
	}
	schema := object{
		{"$schema", dialect},
		{"$id", cloudevent.SchemaOf(t, version)},
		{"title", versioned(t, version)},
		{"description", d.words(structure.Name())},
	}
	schema = append(schema, described...)
	if strings.HasSuffix(string(t), ".amended") {
		schema = schema.with("minProperties", required(structure)+1)
	}
	return schema.with("examples", []json.RawMessage{example}), nil
}

func versioned(t events.Type, version int) string { return fmt.Sprintf("%s.v%d", t, version) }

// words are a comment in which other events have the names that subscribers know.
func (d describer) words(of string) string {
	return goName.ReplaceAllStringFunc(d.comments[of], func(word string) string {
		if t, is := d.names[word]; is {
			return string(t)
		}
		return word
	})
}

var goName = regexp.MustCompile(`\b[A-Z]\w+`)

// structure describes a struct as encoding/json writes it.
func (d describer) structure(structure reflect.Type) (object, error) {
	properties, names := object{}, []string{}
	for field := range structure.Fields() {
		if field.Anonymous {
			return nil, fmt.Errorf("%s is embedded: write its fields out", field.Name)
		}
		name, optional, written := written(field)
		if !written {
			continue
		}
		described, err := d.field(field, name, optional)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field.Name, err)
		}
		if words := d.words(structure.Name() + "." + field.Name); words != "" {
			described = described.with("description", words)
		}
		properties = append(properties, member{name, described})
		if !optional {
			names = append(names, name)
		}
	}
	described := object{{"type", "object"}, {"properties", properties}}
	if len(names) > 0 {
		described = described.with("required", names)
	}
	return described, nil
}

// required counts the fields that are always there.
func required(structure reflect.Type) int {
	n := 0
	for field := range structure.Fields() {
		if _, optional, written := written(field); written && !optional {
			n++
		}
	}
	return n
}

// written tells under which name a field is written, and whether it may be left out.
func written(field reflect.StructField) (name string, optional, is bool) {
	tag := field.Tag.Get("json")
	name, options, _ := strings.Cut(tag, ",")
	if name == "" {
		name = field.Name
	}
	given := strings.Split(options, ",")
	optional = slices.Contains(given, "omitzero") || slices.Contains(given, "omitempty") && field.Type.Kind() != reflect.Struct
	return name, optional, tag != "-" && field.IsExported()
}

// field describes one field: its type, what its name tells, what its tag adds.
func (d describer) field(field reflect.StructField, name string, optional bool) (object, error) {
	described, err := d.value(field.Type)
	if err != nil {
		return nil, err
	}
	kind := described[0].value
	if strings.HasSuffix(name, "_id") && kind == "integer" {
		described = described.with("minimum", 1)
	}
	if slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map}, field.Type.Kind()) && !optional {
		described = described.with("type", []any{kind, "null"})
	}
	return more(described, field.Tag.Get("schema"))
}

// more adds the keywords of a tag like `schema:"minimum=0,maximum=100"`.
func more(described object, tag string) (object, error) {
	if tag == "" {
		return described, nil
	}
	for keyword := range strings.SplitSeq(tag, ",") {
		name, text, _ := strings.Cut(keyword, "=")
		switch name {
		case "minimum", "maximum", "minLength", "maxLength":
			number, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s in the tag schema is not a whole number", name)
			}
			described = described.with(name, number)
		case "format":
			described = described.with(name, text)
		default:
			return nil, fmt.Errorf("the tag schema knows minimum, maximum, minLength, maxLength and format, not %q", name)
		}
	}
	return described, nil
}

// value describes a Go type as encoding/json writes its values. The first member
// tells the type.
func (d describer) value(t reflect.Type) (object, error) {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{{"type", "string"}, {"format", "date-time"}}, nil
	case reflect.TypeFor[uuid.UUID]():
		return object{{"type", "string"}, {"format", "uuid"}}, nil
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return d.value(t.Elem())
	case t.Implements(reflect.TypeFor[json.Marshaler]()):
		return nil, fmt.Errorf("%s writes its JSON itself: describe it in value", t)
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()), t.Kind() == reflect.String:
		return object{{"type", "string"}}, nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{{"type", "boolean"}}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{{"type", "integer"}}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{{"type", "integer"}, {"minimum", 0}}, nil
	case reflect.Float32, reflect.Float64:
		return object{{"type", "number"}}, nil
	case reflect.Struct:
		return d.structure(t)
	case reflect.Slice, reflect.Map:
		if t.Elem().Kind() == reflect.Uint8 {
			return nil, fmt.Errorf("%s: bytes are not described", t)
		}
		element, err := d.value(t.Elem())
		if err != nil {
			return nil, err
		}
		if t.Kind() == reflect.Map {
			return object{{"type", "object"}, {"additionalProperties", element}}, nil
		}
		return object{{"type", "array"}, {"items", element}}, nil
	}
	return nil, fmt.Errorf("%s is not described", t)
}
