package main

import (
	"bytes"
	"os"
	"path/filepath"
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

// What is missing is written, old versions stay, and a published schema that has
// changed is told.
func TestRun(t *testing.T) {
	root := filepath.Join(t.TempDir(), "events")
	if err := os.CopyFS(root, os.DirFS(filepath.Join(dir, ".."))); err != nil {
		t.Fatal(err)
	}
	made, copied := mustGenerate(t), filepath.Join(root, "schema")
	for name := range made.files {
		if err := os.Remove(filepath.Join(copied, name)); err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(copied, "schemas", "ward.opened.v1.json")
	if err := os.WriteFile(old, fixture()[wardFile], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(copied); err != nil {
		t.Fatal(err)
	}
	for name, want := range made.schemas {
		if got, err := os.ReadFile(filepath.Join(copied, "schemas", name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if kept, err := os.ReadFile(old); err != nil || !bytes.Equal(kept, fixture()[wardFile]) {
		t.Errorf("an old version became %s, %v", kept, err)
	}

	published := filepath.Join(copied, "published.json")
	text, err := os.ReadFile(published)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(published, bytes.Replace(text, []byte(`"integer"`), []byte(`"number"`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(copied); err == nil {
		t.Error("a changed schema was not told")
	}
}
