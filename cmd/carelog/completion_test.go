package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// TestCompletionScripts can be read by the shells they are for, where those are
// there.
func TestCompletionScripts(t *testing.T) {
	for shell, check := range map[string]string{"bash": "__start_carelog", "zsh": "#compdef carelog"} {
		var script, stderr bytes.Buffer
		if status := execute(t.Context(), []string{"completion", shell}, &script, &stderr); status != 0 || !strings.Contains(script.String(), check) {
			t.Fatalf("%s: status %d\n%s%s", shell, status, &script, &stderr)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("there is no %s here", shell)
			continue
		}
		read := exec.CommandContext(t.Context(), path, "-n")
		read.Stdin = &script
		if output, err := read.CombinedOutput(); err != nil || len(output) > 0 {
			t.Errorf("%s: %v\n%s", shell, err, output)
		}
	}
}

// TestCompletion asks what the scripts ask.
func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"":                     "events history show diff doctor projections users completion",
		"events --":            "--tag --type --actor --since --until --limit --follow --json --data-dir",
		"events --type ":       "patient doctor mapping user patient.amended user.password_changed",
		"events --tag ":        "patient: owner:",
		"history ":             "patient doctor mapping user",
		"show --":              "--as-of --json",
		"diff patient 1 --":    "--from --to",
		"projections ":         "list rebuild verify",
		"projections rebuild ": "users mappings patients doctors",
		"serve --log-level ":   "debug info warn error",
		"doctor --log-format ": "text json",
		"completion ":          "bash zsh",
	} {
		words := append([]string{"__complete"}, strings.Split(line, " ")...)
		var stdout, stderr bytes.Buffer
		if status := execute(t.Context(), words, &stdout, &stderr); status != 0 {
			t.Errorf("%q: status %d, %s", line, status, &stderr)
		}
		offered := map[string]bool{}
		for text := range strings.Lines(stdout.String()) {
			name, _, _ := strings.Cut(strings.TrimSpace(text), "\t")
			offered[name] = true
		}
		for _, want := range strings.Fields(want) {
			if !offered[want] {
				t.Errorf("%q: %s is not offered:\n%s", line, want, &stdout)
			}
		}
		if !strings.HasSuffix(stdout.String(), ":4\n") && !strings.HasSuffix(stdout.String(), ":36\n") { // no file names
			t.Errorf("%q: files are offered:\n%s", line, &stdout)
		}
	}
	var stdout, stderr bytes.Buffer
	status := execute(t.Context(), []string{"completion", "csh"}, &stdout, &stderr)
	if want := "carelog: name one shell, bash or zsh\nSee `carelog completion --help`.\n"; status != exitUsage || stderr.String() != want {
		t.Errorf("status %d, %s", status, &stderr)
	}
}

// TestEveryCommandTellsItsExitStatuses in its help.
func TestEveryCommandTellsItsExitStatuses(t *testing.T) {
	root := newRootCommand()
	for _, name := range []string{"serve", "users", "events", "history", "show", "diff", "projections", "projections list", "projections rebuild",
		"projections verify", "doctor", "completion"} {
		cmd, _, err := root.Find(strings.Fields(name))
		if err != nil || !strings.Contains(cmd.Long, "Exit status: 0 ") {
			t.Errorf("carelog %s --help does not tell: %v\n%s", name, err, cmd.Long)
		}
	}
}
