package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// TestPostmanCollection has newman send every request of the collection, from top to
// bottom, twice: as to a server that is in use.
func TestPostmanCollection(t *testing.T) {
	t.Parallel()
	newman := filepath.Join(npmPackages(t, "testdata/newman"), "node_modules", ".bin", "newman")
	server := start(t, testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret}))
	for range 2 {
		command := exec.CommandContext(t.Context(), newman, "run", "carelog.postman_collection.json",
			"--environment", "carelog.postman_environment.json", "--env-var", "baseUrl="+server.url, "--color", "off")
		command.Dir = "../../deploy/postman"
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("newman: %v\n%s", err, output)
		}
	}
}
