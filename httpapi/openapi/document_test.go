package openapi_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/schema"
	"github.com/carelog/carelog/httpapi/openapi"
)

type object = map[string]any

func document(t *testing.T) object {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(openapi.JSON))
	if err != nil {
		t.Fatal(err)
	}
	return parsed.(object)
}

// at is what a JSON pointer names; nil for nothing.
func at(root any, pointer string) any {
	for _, name := range strings.Split(pointer, "/")[1:] {
		o, _ := root.(object)
		root = o[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
	}
	return root
}

// walk visits all objects.
func walk(value any, pointer string, visit func(o object, pointer string)) {
	switch v := value.(type) {
	case object:
		visit(v, pointer)
		for name, member := range v {
			walk(member, pointer+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), visit)
		}
	case []any:
		for _, element := range v {
			walk(element, pointer+"/-", visit)
		}
	}
}

// The document is one of OpenAPI 3.1, as the OpenAPI Initiative's own schema says.
func TestDocumentIsOpenAPI(t *testing.T) {
	packed, err := os.Open("testdata/openapi-3.1-2022-10-07.json.gz")
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
	valid, err := c.Compile("urn:official")
	if err != nil {
		t.Fatal(err)
	}
	root := document(t)
	if err := valid.Validate(root); err != nil {
		t.Error(err)
	}
	at(root, "/paths/~1livez/get/responses/200").(object)["desciption"] = "a slip"
	if valid.Validate(root) == nil {
		t.Error("a member that OpenAPI does not know is valid")
	}
}

// Every $ref leads somewhere, and every component is asked for.
func TestReferences(t *testing.T) {
	root := document(t)
	used := map[string]bool{"/components/pathItems/EveryPath": true, "/components/securitySchemes/bearer": true, "/components/securitySchemes/ticket": true}
	walk(root, "", func(o object, pointer string) {
		ref, ok := o["$ref"].(string)
		if !ok {
			return
		}
		to, local := strings.CutPrefix(ref, "#")
		if !local || at(root, to) == nil || len(o) != 1 {
			t.Errorf("%s: %v", pointer, o)
		}
		used[to] = true
	})
	for kind, components := range at(root, "/components").(object) {
		for name := range components.(object) {
			if at := "/components/" + kind + "/" + name; !used[at] {
				t.Errorf("nothing has %s", at)
			}
		}
	}
	walk(root, "", func(o object, pointer string) {
		for _, need := range listOf(o["security"]) {
			for name := range need.(object) {
				if at(root, "/components/securitySchemes/"+name) == nil {
					t.Errorf("%s: there is no security scheme %s", pointer, name)
				}
			}
		}
	})
}

func listOf(value any) []any {
	list, _ := value.([]any)
	return list
}

// What clients are generated from: each operation has a name of its own, and a summary.
func TestOperationsHaveNames(t *testing.T) {
	root := document(t)
	var tags []any
	for _, tag := range listOf(root["tags"]) {
		tags = append(tags, tag.(object)["name"])
	}
	seen := map[string]string{}
	walk(root, "", func(o object, pointer string) {
		id, ok := o["operationId"].(string)
		if !ok {
			return
		}
		if before := seen[id]; before != "" || id == "" || o["summary"] == nil {
			t.Errorf("%s: %q, as %s", pointer, id, before)
		}
		seen[id] = pointer
		if given := listOf(o["tags"]); len(given) != 1 || !slices.Contains(tags, given[0]) {
			t.Errorf("%s: tags %v", pointer, given)
		}
	})
	if len(seen) < 30 {
		t.Errorf("only %d operations", len(seen))
	}
}

// A type of events that there is can be asked for.
func TestEventTypes(t *testing.T) {
	var described []string
	for _, name := range listOf(at(document(t), "/components/schemas/EventType/enum")) {
		described = append(described, name.(string))
	}
	slices.Sort(described)
	var types []string
	for _, of := range events.NewRegistry().Types() {
		types = append(types, string(of))
	}
	slices.Sort(types)
	if !slices.Equal(described, types) {
		t.Errorf("described are %v\n       there are %v", described, types)
	}
}

// The event of this document is the CloudEvent of the schemas, but for its words.
func TestEventIsTheCloudEvent(t *testing.T) {
	file, err := schema.Read("schemas/cloudevent.json")
	if err != nil {
		t.Fatal(err)
	}
	var published object
	if err := json.Unmarshal(file, &published); err != nil {
		t.Fatal(err)
	}
	described := at(document(t), "/components/schemas/Event").(object)
	if !reflect.DeepEqual(described["required"], published["required"]) {
		t.Errorf("required are %v, published %v", described["required"], published["required"])
	}
	ours, theirs := described["properties"].(object), published["properties"].(object)
	if !slices.Equal(slices.Sorted(maps.Keys(ours)), slices.Sorted(maps.Keys(theirs))) {
		t.Errorf("fields are %v, published %v", slices.Sorted(maps.Keys(ours)), slices.Sorted(maps.Keys(theirs)))
	}
	for name := range ours {
		for _, keyword := range []string{"const", "format"} {
			if a, b := ours[name].(object)[keyword], theirs[name].(object)[keyword]; ours[name].(object)["$ref"] == nil && a != b {
				t.Errorf("%s: %s is %v, published %v", name, keyword, a, b)
			}
		}
	}
}
