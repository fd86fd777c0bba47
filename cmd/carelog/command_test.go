package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
)

func TestCommandLine(t *testing.T) {
	t.Chdir(t.TempDir()) // without a .env
	for _, test := range []struct {
		args   string
		status int
		stdout string
		stderr string
	}{
		{"", 0, "Available Commands", ""},
		{"--help", 0, "projections", ""},
		{"serve --help", 0, "CARELOG_JWT_SECRET", ""},
		{"version", 0, "carelog ", ""},
		{"find-postgres", 0, "/", ""},
		{"frobnicate", exitUsage, "", "carelog: there is no command \"frobnicate\"\nSee `carelog --help`.\n"},
		{"serve --frobnicate", exitUsage, "", "carelog: unknown flag: --frobnicate\nSee `carelog serve --help`.\n"},
		{"serve now", exitUsage, "", "See `carelog serve --help`.\n"},
		{"serve --addr nowhere --log-level loud", exitUsage, "", "--log-level: \"loud\" is not a level"},
		{"with-postgres", exitUsage, "", "See `carelog with-postgres --help`.\n"},
		{"with-postgres sh -c false", 1, "", ""},
		{"with-postgres --durable sh -c exit", 0, "", ""},
		{"with-postgres no-such-program", exitError, "", "carelog: exec: \"no-such-program\""},
	} {
		var stdout, stderr bytes.Buffer
		status := execute(t.Context(), strings.Fields(test.args), &stdout, &stderr)
		if status != test.status || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
			t.Errorf("%q: status %d\n%s%s", test.args, status, &stdout, &stderr)
		}
		if strings.Contains(stderr.String(), "Usage:") || strings.Contains(stderr.String(), "goroutine") {
			t.Errorf("%q: not one clear message:\n%s", test.args, &stderr)
		}
	}
}

// TestWithPostgres uses the server while the command waits, and sends the
// command a signal.
func TestWithPostgres(t *testing.T) {
	child := exec.Command("sh", "-c", `trap 'exit 9' TERM; echo "$`+testDatabaseVariable+`"; while :; do sleep 0.02; done`)
	reader, writer := io.Pipe()
	child.Stdout = writer
	ended := make(chan error, 1)
	go func() { ended <- withPostgres(t.Context(), "", false, os.Stderr, child) }()
	server, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	server = strings.TrimSpace(server)
	for setting, want := range map[string]string{"fsync": "off", "max_connections": "500", "is_superuser": "on"} {
		if got := query[string](t, server, "show "+setting); got != want {
			t.Errorf("%s is %q", setting, got)
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = <-ended
	if exit, ok := errors.AsType[*childExit](err); !ok || exit.code != 9 {
		t.Errorf("got %v", err)
	}
	parsed, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(parsed.Query().Get("host")); !os.IsNotExist(err) {
		t.Errorf("the server's files are left: %v", err)
	}
}

func TestVersion(t *testing.T) {
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef"}
	changed := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for want, info := range map[string]*debug.BuildInfo{
		"(devel)":                           {},
		"(devel) 0123456789ab":              {Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{revision}},
		"(devel) 0123456789ab with changes": {Settings: []debug.BuildSetting{revision, changed}},
		"v1.2.0":                            {Main: debug.Module{Version: "v1.2.0"}, Settings: []debug.BuildSetting{revision}},
	} {
		if got := versionOf(info); got != want {
			t.Errorf("%q where %q was expected", got, want)
		}
	}
}
