package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestAPIPage has somebody new use the API page in a real browser: register, log in,
// come back, create a patient, see it. Nothing is asked of another server. With
// API_PAGE_SCREENSHOT=FILE it takes the picture of the README.
func TestAPIPage(t *testing.T) {
	t.Parallel()
	browser := findBrowser(t)
	dir := npmPackages(t, "testdata/browser")
	server := start(t, databaseConfig(t))
	args := []string{"api.mjs", browser, server.url}
	if screenshot := os.Getenv("API_PAGE_SCREENSHOT"); screenshot != "" {
		screenshot, err := filepath.Abs(screenshot)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, screenshot)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "node", args...)
	command.Dir, command.WaitDelay = dir, time.Second
	command.Env = append(os.Environ(), "HOME="+dir) // a browser wants one that it can write to
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// findBrowser answers the program of a browser, or skips the test.
func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("Chromium is not installed, so the API page was not tried in a browser. On Debian: apt-get install chromium; then: bin/carelog with-postgres -- go test -run TestAPIPage ./cmd/carelog")
	return ""
}
