package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var units = []string{"carelog.service", "carelog-migrate.service"}

// unitValue is the value of a key that a unit has once.
func unitValue(t *testing.T, unit, key string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^`+key+`=(.*)$`).FindAllStringSubmatch(unit, -1)
	if len(found) != 1 {
		t.Fatalf("the unit has %s %d times", key, len(found))
	}
	return found[0][1]
}

// TestUnits: what the units of systemd say of Carelog is so, and the server takes the
// settings of the examples.
func TestUnits(t *testing.T) {
	t.Parallel()
	for _, name := range units {
		unit := readDeploy(t, "systemd/"+name)
		args, ok := strings.CutPrefix(unitValue(t, unit, "ExecStart"), "/usr/local/bin/carelog ")
		if !ok {
			t.Errorf("%s starts something else", name)
		}
		mustBeACommand(t, name, strings.Fields(args))
	}
	vars := map[string]string{}
	for _, name := range []string{"migrate", "carelog"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(readDeploy(t, "systemd/"+name+".env.example")), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		if vars, err = readDotenv(filepath.Join(dir, ".env")); err != nil { // of the same form
			t.Fatal(err)
		}
		vars["CARELOG_JWT_SECRET"] = testSecret
		mustConfigure(t, name, vars)
	}
	config := mustConfigure(t, "carelog", vars)
	unit := readDeploy(t, "systemd/carelog.service")
	if stop, err := time.ParseDuration(unitValue(t, unit, "TimeoutStopSec")); err != nil || stop < config.ShutdownTimeout+5*time.Second {
		t.Errorf("it has %v to stop, which takes %v; %v", stop, config.ShutdownTimeout, err)
	}
	if files := unitValue(t, unit, "LimitNOFILE"); files != "16384" || fitConnections(config.MaxConnections, config.DatabaseConns, 16384) != config.MaxConnections {
		t.Errorf("%s files are not enough for %d connections", files, config.MaxConnections)
	}
}

// TestSystemdTakesTheUnits, and finds that they expose little, where it is installed.
func TestSystemdTakesTheUnits(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed, so systemd was not asked whether it takes the units")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	complaints := func(change func(unit string) string) (complaints []string) {
		t.Helper()
		dir := t.TempDir()
		var paths []string
		for _, name := range units {
			path := filepath.Join(dir, name)
			unit := strings.Replace(readDeploy(t, "systemd/"+name), "/usr/local/bin/carelog ", program+" ", 1)
			if err := os.WriteFile(path, []byte(change(unit)), 0o644); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
		output, err := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify"}, paths...)...).CombinedOutput()
		for line := range strings.Lines(string(output)) {
			if strings.Contains(line, "carelog") { // other units of this machine are not ours
				complaints = append(complaints, line)
			}
		}
		if err != nil && complaints == nil {
			t.Skipf("systemd-analyze verify does not work here: %v: %s", err, output)
		}
		for _, path := range paths {
			output, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=yes", "--threshold=15", path).CombinedOutput()
			if strings.Contains(string(output), "unrecognized option") {
				t.Log("systemd-analyze is older than 250, so it was not seen what the units expose")
			} else if err != nil {
				_, summary, _ := strings.Cut(string(output), "→")
				complaints = append(complaints, filepath.Base(path)+": "+summary)
			}
		}
		return complaints
	}
	if found := complaints(func(unit string) string { return unit }); found != nil {
		t.Errorf("systemd: %q", found)
	}
	for what, change := range map[string]func(string) string{
		"a misspelt key": func(unit string) string { return strings.Replace(unit, "ProtectHome", "ProtectHouse", 1) },
		"no system calls?": func(unit string) string {
			return regexp.MustCompile(`(?m)^(Protect|Private|Restrict|SystemCall).*$`).ReplaceAllString(unit, "")
		},
	} {
		if complaints(change) == nil {
			t.Errorf("%s is not complained of", what)
		}
	}
}
