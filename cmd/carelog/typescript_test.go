package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// TestTypeScriptClient generates a client from the OpenAPI document that a server
// serves, compiles a program that uses it, and has that make the tour.
func TestTypeScriptClient(t *testing.T) {
	t.Parallel()
	dir := npmPackages(t, "testdata/typescript")
	server := start(t, testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret}))
	document := server.send(t, "GET", "/api/openapi.json", nil, nil)
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), document.body, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][]string{{"node_modules/.bin/openapi-ts"}, {"node_modules/.bin/tsc"}, {"node", "built/tour.js"}} {
		command := exec.CommandContext(t.Context(), step[0], step[1:]...)
		command.Dir, command.Env = dir, append(os.Environ(), "BASE="+server.url)
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", step, err, output)
		}
	}
}
