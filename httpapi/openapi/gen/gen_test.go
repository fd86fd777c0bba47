package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/carelog/carelog/httpapi/openapi"
)

func TestTheJSONIsThatOfTheYAML(t *testing.T) {
	source, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	made, err := toJSON(source)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, openapi.JSON) {
		t.Error("openapi.json is not made of openapi.yaml: make generate")
	}
}

func TestToJSON(t *testing.T) {
	got, err := toJSON([]byte("b: [1, true, null, '1', <é>]\na: {} # why\n"))
	want := "{\n  \"b\": [\n    1,\n    true,\n    null,\n    \"1\",\n    \"<é>\"\n  ],\n  \"a\": {}\n}\n"
	if string(got) != want || err != nil {
		t.Errorf("%s %v", got, err)
	}
}

// What a reader would take for something else than YAML does is refused.
func TestWhatIsNotWritten(t *testing.T) {
	for source, want := range map[string]string{
		"version: 3.1":     "line 1: put 3.1 in quotes",
		"time: 2025-09-01": "line 1: put 2025-09-01 in quotes",
		"200: {}":          "line 1: put the key 200 in quotes",
		"a: 1\na: 2":       "a",
		"a: &x 1\nb: *x":   "line 2: write it out",
		"a: {b, c: 1}":     "line 1: b has no value",
		"a: [":             "yaml",
		"":                 "it is empty",
	} {
		if got, err := toJSON([]byte(source)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %s %v", source, got, err)
		}
	}
}
