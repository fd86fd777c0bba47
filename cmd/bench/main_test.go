package main

import (
	"bytes"
	"os"
	"strings"
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
	goleak.VerifyTestMain(m)
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
