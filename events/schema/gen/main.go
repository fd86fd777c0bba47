// Gen writes the files of package events/schema, by go generate, in that directory. It
// fails when a published schema has changed; see that package.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/cloudevent"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run writes what has changed in the directory of package schema.
func run(dir string) error {
	made, err := generate(dir, events.NewRegistry())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "schemas"), 0o755); err != nil {
		return err
	}
	for name, content := range made.files {
		path := filepath.Join(dir, name)
		if before, err := os.ReadFile(path); err == nil && bytes.Equal(before, content) {
			continue
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return broken(made.published, made.schemas)
}

// generated is what the generator makes.
type generated struct {
	files     map[string][]byte          // by path
	schemas   map[string]json.RawMessage // by file name, those of old versions as they were
	published map[string]any             // what they demand, or did when they were published
}

// generate makes the files, from the sources and the files around dir.
func generate(dir string, r *events.Registry) (generated, error) {
	made := generated{files: map[string][]byte{}}
	var err error
	if made.schemas, err = readSchemas(dir); err != nil {
		return made, err
	}
	if err := describe(made, dir, r); err != nil {
		return made, err
	}
	if made.published, err = readPublished(dir); err != nil {
		return made, err
	}
	if err := publish(made.published, made.schemas); err != nil {
		return made, err
	}
	if made.files["published.json"], err = file(made.published); err != nil {
		return made, err
	}
	contract, err := packageDoc(filepath.Join(dir, "..", "cloudevent"))
	if err != nil {
		return made, err
	}
	versions, err := versionsOf(made.schemas)
	if err != nil {
		return made, err
	}
	made.files["asyncapi.json"], err = file(asyncAPI(contract, versions, made.schemas))
	return made, err
}

// describe makes the schemas of the current version of every type, and the envelope's.
func describe(made generated, dir string, r *events.Registry) error {
	words, err := readComments(filepath.Join(dir, ".."))
	if err != nil {
		return err
	}
	describer := newDescriber(words, r)
	add := func(name string, schema object) error {
		content, err := file(schema)
		made.files["schemas/"+name], made.schemas[name] = content, content
		return err
	}
	for _, t := range r.Types() {
		v := r.Version(t)
		example, err := golden(dir, t, v)
		if err != nil {
			return err
		}
		schema, err := describer.payload(t, v, r.Zero(t), example)
		if err != nil {
			return err
		}
		if err := add(versioned(t, v)+".json", schema); err != nil {
			return err
		}
	}
	data, err := golden(dir, events.PatientRegisteredType, 1)
	if err != nil {
		return err
	}
	return add(envelopeFile, envelope(sample(data)))
}

func golden(dir string, t events.Type, version int) (json.RawMessage, error) {
	data, err := os.ReadFile(filepath.Join(dir, "..", "testdata", versioned(t, version)+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s v%d has no golden file: go test ./events -update writes it", t, version)
	}
	return bytes.TrimSpace(data), err
}

// sample is the document of a patient who was registered.
func sample(data json.RawMessage) json.RawMessage {
	return cloudevent.Append(nil, uuid.MustParse("0198a000-0000-7000-8000-000000000001"), events.Recorded{
		Event: events.Event{
			ID:            uuid.MustParse("0198a3b2-7c1d-7e2f-8a3b-4c5d6e7f8091"),
			Type:          events.PatientRegisteredType,
			SchemaVersion: 1,
			Tags:          []events.Tag{events.PatientTag(42), events.OwnerTag(3)},
			Data:          data,
			Metadata:      json.RawMessage(`{"actor":{"user_id":3},"correlation_id":"49eab7dc-b1d6-4cf1-95e6-6ced26e3a574","request_id":"49eab7dc-b1d6-4cf1-95e6-6ced26e3a574"}`),
		},
		Position:   2,
		RecordedAt: time.Date(2025, 9, 1, 23, 35, 9, 123456000, time.UTC),
	})
}

// readSchemas reads the schemas that are there, by file name.
func readSchemas(dir string) (map[string]json.RawMessage, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "schemas", "*.json"))
	if err != nil {
		return nil, err
	}
	schemas := map[string]json.RawMessage{}
	for _, path := range paths {
		if schemas[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	return schemas, nil
}

func readPublished(dir string) (map[string]any, error) {
	published := map[string]any{}
	content, err := os.ReadFile(filepath.Join(dir, "published.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return published, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(content, &published); err != nil {
		return nil, fmt.Errorf("read published.json: %w", err)
	}
	return published, nil
}

// versionsOf takes the names of schemas apart: all versions that were ever written,
// by type, the oldest first.
func versionsOf(schemas map[string]json.RawMessage) ([]version, error) {
	var versions []version
	for name := range schemas {
		if name == envelopeFile {
			continue
		}
		stem := strings.TrimSuffix(name, ".json")
		i := strings.LastIndex(stem, ".v")
		if i < 0 {
			return nil, fmt.Errorf("%s is not named type.vN.json", name)
		}
		number, err := strconv.Atoi(stem[i+2:])
		if err != nil {
			return nil, fmt.Errorf("%s is not named type.vN.json", name)
		}
		versions = append(versions, version{events.Type(stem[:i]), number})
	}
	slices.SortFunc(versions, func(a, b version) int {
		return cmp.Or(cmp.Compare(a.of, b.of), cmp.Compare(a.number, b.number))
	})
	return versions, nil
}
