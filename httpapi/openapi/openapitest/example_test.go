package openapitest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// documents are answered by these, and are too long for an example.
var documents = []string{"getAsyncAPI", "getOpenAPI"}

// Every example fits its schema, of what is sent and what is answered, in headers and in
// bodies; and every JSON body, parameter and header has one.
func TestExamplesFitTheirSchemas(t *testing.T) {
	document, err := Carelog()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	document.walk(document.root, "", func(at object, pointer string) {
		if _, ok := at["schema"].(object); !ok {
			return
		}
		examples := document.examples(at, pointer)
		if len(examples) == 0 && document.wantsExample(pointer) {
			t.Errorf("%s has no example", pointer)
		}
		for _, example := range examples {
			seen++
			if err := document.checkExample(at, pointer, example); err != nil {
				t.Errorf("%s: %v", pointer, err)
			}
		}
	})
	if seen < 80 {
		t.Errorf("only %d examples", seen)
	}
}

func TestExamplesThatDoNotFitAreFound(t *testing.T) {
	document, err := Carelog()
	if err != nil {
		t.Fatal(err)
	}
	for pointer, example := range map[string]any{
		"/components/requestBodies/Patient/content/application~1json":            object{"first_name": "Alice"},
		"/components/requestBodies/PatientAmendment/content/application~1json":   object{"lastname": "Johnson"},
		"/components/parameters/EventTypes":                                      []any{"patient.born"},
		"/components/headers/Carelog-Position":                                   json.Number("0"),
		"/paths/~1api~1events~1/get/responses/200/content/application~1x-ndjson": "{}\n",
		"/components/responses/BadRequest/content/application~1json":             object{"age": "too high"},
	} {
		at := document.at(pointer)
		if at == nil {
			t.Fatalf("there is no %s", pointer)
		}
		if document.checkExample(at, pointer, example) == nil {
			t.Errorf("%s: %v fits", pointer, example)
		}
	}
}

func (d *Document) checkExample(at object, pointer string, example any) error {
	schema, err := d.Schema(pointer + "/schema")
	if err != nil {
		return err
	}
	if at["x-item-schema"] != nil {
		item, err := d.Schema(pointer + "/x-item-schema")
		if err != nil {
			return err
		}
		mediaType := unescape.Replace(pointer[strings.LastIndexByte(pointer, '/')+1:])
		text, _ := example.(string)
		return media{schema, item}.check(mediaType, []byte(text), false)
	}
	return schema.Validate(example)
}

// examples of a parameter, a header or a body.
func (d *Document) examples(of object, pointer string) []any {
	var all []any
	if example, ok := of["example"]; ok {
		all = append(all, example)
	}
	named, _ := of["examples"].(object)
	for name := range named {
		all = append(all, d.at(d.follow(pointer + "/examples/" + escape.Replace(name)))["value"])
	}
	return all
}

// wantsExample: of bodies, those in JSON. Forms have the same fields.
func (d *Document) wantsExample(pointer string) bool {
	operation, _, _ := strings.Cut(pointer, "/responses/")
	id, _ := d.at(operation)["operationId"].(string)
	_, mediaType, isBody := strings.Cut(pointer, "/content/")
	return !isBody || mediaType == "application~1json" && !slices.Contains(documents, id)
}

// walk visits all objects.
func (d *Document) walk(value any, pointer string, visit func(at object, pointer string)) {
	switch v := value.(type) {
	case object:
		visit(v, pointer)
		for name, member := range v {
			d.walk(member, pointer+"/"+escape.Replace(name), visit)
		}
	case []any:
		for _, element := range v {
			d.walk(element, pointer+"/-", visit) // nothing with examples is in a list
		}
	}
}
