package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// asProgram makes the test binary be bench itself: it starts itself for the
// yardstick and the load generator.
const asProgram = "BENCH_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		os.RemoveAll(built.dir)
		os.Exit(status)
	}))
}

// built is Carelog's program, made once for all tests.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func buildCarelog(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "carelog-bench-test-"); built.err != nil {
			return
		}
		output, err := exec.Command("go", "build", "-buildvcs=false", "-o", built.dir, "../carelog").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, output)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "carelog")
}

// beProgram makes it so.
func beProgram(t *testing.T) {
	t.Setenv(asProgram, "yes")
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each process ends after a second
}

func TestCommandLine(t *testing.T) {
	t.Setenv("CARELOG_TEST_DATABASE_URL", "")
	for args, want := range map[string]string{
		"frobnicate":       `no command "frobnicate"`,
		"":                 "no PostgreSQL server",
		"run":              "no PostgreSQL server",
		"-rows get,put":    `no row "put"`,
		"-connections 1,x": `"x" is not a number`,
		"-rounds 0":        "more than 0",
		"-rounds 1 now":    `what is "now"?`,
	} {
		var stdout, stderr bytes.Buffer
		err := execute(t.Context(), strings.Fields(args), strings.NewReader(""), &stdout, &stderr)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
