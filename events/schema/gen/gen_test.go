package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carelog/carelog/events"
)

const dir = ".." // package schema

func mustGenerate(t *testing.T) generated {
	t.Helper()
	made, err := generate(dir, events.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestFilesAreWhatIsGenerated(t *testing.T) {
	for name, content := range mustGenerate(t).files {
		if there, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(there, content) {
			t.Errorf("%s is not what make generate writes: %v", name, err)
		}
	}
}

// What was published stays as it is: this is the test that a change of an event without
// a new version fails.
func TestPublishedSchemasDoNotChange(t *testing.T) {
	made := mustGenerate(t)
	if err := broken(made.published, made.schemas); err != nil {
		t.Error(err)
	}
	if len(made.published) != len(made.schemas) {
		t.Errorf("%d schemas, of which %d are published", len(made.schemas), len(made.published))
	}
}

// A new version of an event is a file more. That of the old version stays, in what is
// published and in the AsyncAPI document.
func TestNewVersions(t *testing.T) {
	made := mustGenerate(t)
	v2 := strings.Replace(string(made.schemas["patient.registered.v1.json"]), "integer", "string", 1)
	made.schemas["patient.registered.v2.json"] = json.RawMessage(v2)
	made.schemas["patient.registered.v10.json"] = json.RawMessage(v2)
	if err := publish(made.published, made.schemas); err != nil {
		t.Fatal(err)
	}
	if err := broken(made.published, made.schemas); err != nil || made.published["patient.registered.v2.json"] == nil {
		t.Errorf("published %v, %v", made.published["patient.registered.v2.json"], err)
	}
	versions, err := versionsOf(made.schemas)
	if err != nil {
		t.Fatal(err)
	}
	text, err := encode(asyncAPI("", versions, made.schemas))
	if err != nil {
		t.Fatal(err)
	}
	messages := `"patient.registered":{"address":"carelog.events.patient.registered","servers":[{"$ref":"#/servers/nats"}],"messages":{` +
		`"patient.registered.v1":{"$ref":"#/components/messages/patient.registered.v1"},` +
		`"patient.registered.v2":{"$ref":"#/components/messages/patient.registered.v2"},` +
		`"patient.registered.v10":{"$ref":"#/components/messages/patient.registered.v10"}}}`
	if !strings.Contains(string(text), messages) || strings.Count(string(text), messages[:20]+`:{"address"`) != 1 {
		t.Errorf("the document is %s", text)
	}
}

func TestSchemaFilesHaveNamesOfVersions(t *testing.T) {
	for _, name := range []string{"patient.json", "patient.registered.vx.json"} {
		if _, err := versionsOf(map[string]json.RawMessage{name: nil}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// The files are written where they are missing, old versions stay, and a published
// schema that has changed is told.
func TestRun(t *testing.T) {
	root := t.TempDir()
	copyTree(t, root, "*.go", "testdata/*.json", "cloudevent/doc.go", "schema/published.json")
	old := filepath.Join(root, "schema", "schemas", "patient.registered.v0.json")
	if err := os.MkdirAll(filepath.Dir(old), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, []byte(`{"type":"object"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(filepath.Join(root, "schema")); err != nil {
		t.Fatal(err)
	}
	for name, want := range mustGenerate(t).schemas {
		got, err := os.ReadFile(filepath.Join(root, "schema", "schemas", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if kept, err := os.ReadFile(old); err != nil || string(kept) != `{"type":"object"}` {
		t.Errorf("an old version became %s, %v", kept, err)
	}

	published := filepath.Join(root, "schema", "published.json")
	text, err := os.ReadFile(published)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(published, bytes.Replace(text, []byte("integer"), []byte("number"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(filepath.Join(root, "schema")); err == nil {
		t.Error("a changed schema was not told")
	}
}

// copyTree copies files of package events.
func copyTree(t *testing.T, to string, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(dir, "..", pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v, %v", pattern, paths, err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			target := filepath.Join(to, strings.TrimPrefix(path, filepath.Join(dir, "..")))
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(target, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
