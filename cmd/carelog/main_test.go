package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asProgram makes the test binary be carelog itself, for tests that kill it.
const asProgram = "CARELOG_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		main()
	}
	if point := os.Getenv(killRebuild); point != "" {
		rebuildAndDie(point)
	}
	goleak.VerifyTestMain(m)
}
