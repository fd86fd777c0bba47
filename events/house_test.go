package events

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// house says, for each package, what of ours and which infrastructure it may
// import; everything named anywhere here and not in a package's own line is
// forbidden to it. Tests are free to import what they test with.
var house = map[string][]string{
	"events":                      {"github.com/google/uuid"},
	"commands":                    {"events", "github.com/google/uuid", "events/tracing", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/attribute", "github.com/prometheus/client_golang"},
	"eventstore":                  {"events", "github.com/jackc/pgx/v5", "github.com/google/uuid", "events/tracing", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/attribute", "github.com/prometheus/client_golang"},
	"eventstore/pgtest":           {"eventstore", "github.com/jackc/pgx/v5", "github.com/google/uuid"},
	"eventstore/archive":          {"events", "eventstore", "github.com/klauspost/compress", "github.com/google/uuid"},
	"eventstore/accounts":         {"events", "github.com/jackc/pgx/v5", "github.com/google/uuid", "github.com/prometheus/client_golang"},
	"events/cloudevent":           {"events", "github.com/google/uuid"},
	"events/client":               {"events", "events/cloudevent", "github.com/nats-io", "github.com/google/uuid"},
	"events/bus":                  {"events", "events/cloudevent", "github.com/ThreeDotsLabs/watermill", "github.com/nats-io", "github.com/google/uuid", "events/tracing", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/attribute", "github.com/prometheus/client_golang"},
	"events/metricstest":          {"github.com/prometheus/client_golang"},
	"events/schema":               {},
	"events/schema/gen":           {"events", "events/bus", "events/cloudevent", "github.com/google/uuid"}, // makes the files of events/schema
	"projections":                 {"events", "github.com/jackc/pgx/v5", "github.com/google/uuid", "events/tracing", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/attribute", "github.com/prometheus/client_golang"},
	"projections/history":         {"events", "projections", "github.com/google/uuid"},
	"projections/feed/feedtest":   {"events", "projections", "github.com/google/uuid"},
	"projections/feed":            {"events", "events/cloudevent", "projections", "projections/history", "github.com/google/uuid", "github.com/prometheus/client_golang"},
	"httpapi":                     {"commands", "projections", "projections/history", "projections/feed", "events", "events/schema", "httpapi/openapi", "github.com/go-chi", "github.com/golang-jwt/jwt/v5", "github.com/google/uuid", "events/tracing", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes", "github.com/prometheus/client_golang"},
	"httpapi/openapi":             {},
	"httpapi/openapi/openapitest": {"httpapi/openapi"},
	"httpapi/openapi/gen":         {},                                                                               // makes the JSON of the YAML
	"cmd/bench":                   {"github.com/go-chi", "github.com/golang-jwt/jwt/v5", "github.com/jackc/pgx/v5"}, // nothing of ours: it measures from outside
	"cmd/carelog":                 {"commands", "projections", "projections/history", "projections/feed", "events", "events/bus", "events/cloudevent", "eventstore", "eventstore/accounts", "eventstore/archive", "httpapi", "github.com/jackc/pgx/v5", "github.com/nats-io", "github.com/google/uuid", "events/tracing", "go.opentelemetry.io/otel", "github.com/prometheus/client_golang"},
	"events/tracing":              {"events", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes", "go.opentelemetry.io/otel/propagation"},
}

const module = "github.com/carelog/carelog/"

func TestPackagesImportWhatTheHouseAllows(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if entry.IsDir() && path != root {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir // a module of its own
			}
		}
		if entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(filepath.Dir(relative))
		allowed, known := house[name]
		if !known {
			t.Errorf("%s: the house has no package %s", relative, name)
			return nil
		}
		seen[name] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if restricted(imported) && !covers(allowed, imported) {
				t.Errorf("%s imports %s, which the house forbids", relative, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range house {
		if !seen[name] {
			t.Errorf("the house has no files in %s", name)
		}
	}
}

// restricted: what is ours, and the infrastructure that some package is home to.
func restricted(imported string) bool {
	if strings.HasPrefix(imported, module) {
		return true
	}
	for _, allowed := range house {
		if covers(allowed, imported) {
			return true
		}
	}
	return false
}

func covers(allowed []string, imported string) bool {
	for _, a := range allowed {
		if imported == module+a || strings.Contains(a, ".") && (imported == a || strings.HasPrefix(imported, a+"/")) {
			return true
		}
	}
	return false
}
