package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// readDeploy reads a file of the directory deploy.
func readDeploy(t *testing.T, name string) string {
	t.Helper()
	return readFile(t, filepath.Join("../../deploy", name))
}

// yamlDocuments are the documents of a YAML file, as JSON has them.
func yamlDocuments(t *testing.T, text string) (documents []any) {
	t.Helper()
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var document any
		err := decoder.Decode(&document)
		if err == io.EOF {
			return documents
		}
		if err != nil {
			t.Fatal(err)
		}
		asJSON, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, value)
	}
}

// readYAML reads what a YAML text holds first as a T.
func readYAML[T any](t *testing.T, text string) (value T) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// deploySchemas are those of a file in testdata/deploy, by what follows its URN.
func deploySchemas(t *testing.T, name string) func(pointer string) (*jsonschema.Schema, error) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata/deploy", name+".json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("urn:"+name, document); err != nil {
		t.Fatal(err)
	}
	return func(pointer string) (*jsonschema.Schema, error) { return compiler.Compile("urn:" + name + pointer) }
}

// mustConfigure: these variables are settings that the server takes, without a warning.
func mustConfigure(t *testing.T, where string, vars map[string]string) Config {
	t.Helper()
	vars = maps.Clone(vars)
	vars["HOME"] = "/"
	config, warnings, err := loadConfig(environment{vars: vars}, nil)
	if err != nil || len(warnings) > 0 {
		t.Errorf("%s: %v %v", where, err, warnings)
	}
	return config
}

// mustBeACommand: carelog has this command, with these flags and arguments.
func mustBeACommand(t *testing.T, where string, args []string) {
	t.Helper()
	if err := isCommand(args); err != nil {
		t.Errorf("%s: carelog %v is no command: %v", where, args, err)
	}
}

func isCommand(args []string) error {
	command, rest, err := newRootCommand().Find(args)
	if err == nil {
		err = command.ParseFlags(rest)
	}
	if err == nil {
		err = command.ValidateArgs(command.Flags().Args())
	}
	if err == nil && (!command.HasParent() || command.Flags().NArg() > 0) {
		err = errors.New("it does nothing, or takes no arguments")
	}
	return err
}

// TestWhatADeploymentMayNotSay is what mustBeACommand and mustConfigure are to notice.
func TestWhatADeploymentMayNotSay(t *testing.T) {
	for _, args := range [][]string{{"migrate", "--gramt", "x"}, {"migrat"}, {"serve", "now"}, {}} {
		if isCommand(args) == nil {
			t.Errorf("%v is taken for a command", args)
		}
	}
	if _, warnings, _ := loadConfig(environment{vars: map[string]string{"HOME": "/", "CARELOG_ADRR": "x"}}, nil); !slices.ContainsFunc(warnings, func(w string) bool {
		return strings.Contains(w, "CARELOG_ADRR")
	}) {
		t.Errorf("a misspelt setting is not warned of: %v", warnings)
	}
}

// spoilt is a copy of a document in which the first property of this name has another
// name, as after a slip.
func spoilt(document any, name string) any {
	done := false
	var walk func(any) any
	walk = func(value any) any {
		switch value := value.(type) {
		case map[string]any:
			copied := map[string]any{}
			for _, key := range slices.Sorted(maps.Keys(value)) {
				if key == name && !done {
					done = true
					copied[key+"x"] = value[key]
					continue
				}
				copied[key] = walk(value[key])
			}
			return copied
		case []any:
			copied := make([]any, len(value))
			for i := range value {
				copied[i] = walk(value[i])
			}
			return copied
		}
		return value
	}
	return walk(document)
}
