package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// composeFile is what is looked at of a file of Docker Compose, beyond its schema.
type composeFile struct {
	Services map[string]composeService
	Networks map[string]any
	Volumes  map[string]any
}

type composeService struct {
	Image       string
	Command     []string
	Environment map[string]string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Volumes     []string
	Networks    []string
	Healthcheck struct {
		Test    []string
		Disable bool
	}
	Extends struct{ File, Service string }
}

var composeVariable = regexp.MustCompile(`\$\{(\w+)(?:(:[?-])([^}]*))?\}`)

// interpolate puts variables into a text, as Compose does, and answers those that are not
// set and must be.
func interpolate(text string, vars map[string]string) (result string, missing []string) {
	result = composeVariable.ReplaceAllStringFunc(text, func(match string) string {
		found := composeVariable.FindStringSubmatch(match)
		value, ok := vars[found[1]]
		switch {
		case ok && value != "":
			return value
		case found[2] == ":-":
			return found[3]
		case found[2] == ":?" && !slices.Contains(missing, found[1]):
			missing = append(missing, found[1])
		}
		return ""
	})
	return result, missing
}

// secretsOf runs the script of deploy/README.md that makes .env.
func secretsOf(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	runScript(t, dir, "deploy/README.md", "secrets")
	vars, err := readDotenv(filepath.Join(dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	return vars
}

// compose reads the files with the secrets, each on top of those before it.
func compose(t *testing.T, secrets map[string]string, files ...string) composeFile {
	t.Helper()
	all := composeFile{Services: map[string]composeService{}, Networks: map[string]any{}, Volumes: map[string]any{}}
	for _, name := range files {
		text, missing := interpolate(readDeploy(t, name), secrets)
		if missing != nil {
			t.Errorf("%s needs %v, which the README does not make", name, missing)
		}
		file := readYAML[composeFile](t, text)
		maps.Copy(all.Networks, file.Networks)
		maps.Copy(all.Volumes, file.Volumes)
		for name, service := range file.Services {
			base, ok := all.Services[name]
			if !ok {
				base = all.Services[service.Extends.Service]
			}
			all.Services[name] = service.over(base)
		}
	}
	return all
}

// over is the service of a file on top of the same, or of one that it extends.
func (s composeService) over(base composeService) composeService {
	environment := maps.Clone(base.Environment)
	if environment == nil {
		return s
	}
	maps.Copy(environment, s.Environment)
	dependsOn := maps.Clone(base.DependsOn)
	maps.Copy(dependsOn, s.DependsOn)
	base.Environment, base.DependsOn = environment, dependsOn
	base.Volumes = slices.Concat(base.Volumes, s.Volumes)
	if s.Command != nil {
		base.Command = s.Command
	}
	return base
}

// TestCompose: both files are as the schema of Compose says, each secret must be set, and
// what they name is there.
func TestCompose(t *testing.T) {
	t.Parallel()
	schema, err := deploySchemas(t, "compose-spec")("")
	if err != nil {
		t.Fatal(err)
	}
	secrets := secretsOf(t)
	for name, want := range map[string]string{
		"compose.yaml":         "[CARELOG_APP_PASSWORD CARELOG_JWT_SECRET CARELOG_OWNER_PASSWORD NATS_CARELOG_PASSWORD POSTGRES_PASSWORD]",
		"compose.cluster.yaml": "[NATS_CARELOG_PASSWORD NATS_ROUTE_PASSWORD]",
	} {
		_, missing := interpolate(readDeploy(t, name), nil)
		slices.Sort(missing)
		if fmt.Sprint(missing) != want {
			t.Errorf("%s: with nothing set %v are missed", name, missing)
		}
		text, _ := interpolate(readDeploy(t, name), secrets)
		document := yamlDocuments(t, text)[0]
		if err := schema.Validate(document); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, property := range []string{"services", "depends_on", "environment"} {
			if schema.Validate(spoilt(document, property)) == nil {
				t.Errorf("%s: a misspelt %s is not noticed", name, property)
			}
		}
	}
	for _, files := range [][]string{{"compose.yaml"}, {"compose.yaml", "compose.cluster.yaml"}} {
		all := compose(t, secrets, files...)
		for name, service := range all.Services {
			all.mustBeThere(t, fmt.Sprint(files, " ", name), service)
			if service.Image == "carelog" {
				vars := maps.Clone(service.Environment)
				if name == "migrate" {
					mustBeACommand(t, name, service.Command)
					vars["CARELOG_JWT_SECRET"] = testSecret // it needs none
				}
				config := mustConfigure(t, name, vars)
				if servers := strings.Count(config.NATSURL, "nats://"); name != "migrate" && (servers != 2*len(files)-1 || config.StreamReplicas != servers) {
					t.Errorf("%s: %d NATS servers, and the NATS stream has %d replicas", name, servers, config.StreamReplicas)
				}
			}
		}
	}
}

func (all composeFile) mustBeThere(t *testing.T, where string, service composeService) {
	t.Helper()
	for on, how := range service.DependsOn {
		other, ok := all.Services[on]
		healthy := other.Healthcheck.Test != nil || other.Image == "carelog" && !other.Healthcheck.Disable
		if !ok || how.Condition == "service_healthy" && !healthy {
			t.Errorf("%s waits for %s to be %s, and it never is", where, on, how.Condition)
		}
	}
	for _, network := range service.Networks {
		if _, ok := all.Networks[network]; !ok {
			t.Errorf("%s: there is no network %s", where, network)
		}
	}
	for _, volume := range service.Volumes {
		source, _, _ := strings.Cut(volume, ":")
		if _, ok := all.Volumes[source]; ok {
			continue
		}
		if _, err := os.Stat(filepath.Join("../../deploy", source)); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}
