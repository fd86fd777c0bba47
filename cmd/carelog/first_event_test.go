package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheFirstEventInThreeWays does what the README tells a newcomer to do, after the tour,
// in a directory with what a clone has: each of the ways prints the first event of those
// that the tour has made, and the next one when it happens.
func TestTheFirstEventInThreeWays(t *testing.T) {
	t.Parallel()
	clone := t.TempDir()
	for _, name := range []string{"events", "go.mod", "go.sum"} {
		copyOf(t, filepath.Join("../..", name), filepath.Join(clone, name))
	}
	// bin/carelog is this program, and so is what make run starts.
	program, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(clone, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"carelog": "exec " + program + ` "$@"`,
		"make":    `[ "$1" = run ] && CARELOG_DATA_DIR=.carelog exec ` + program + " serve",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	api, forSubscribers := freeAddress(t), freeAddress(t)
	shell := func(script string) *shellScript {
		t.Helper()
		s := &shellScript{command: exec.CommandContext(t.Context(), "sh", "-eu", "-c", strings.ReplaceAll(script, "127.0.0.1:4222", forSubscribers))}
		s.command.Dir = clone
		s.command.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), asProgram+"=1", "GORACE=atexit_sleep_ms=0",
			"CARELOG_ADDR="+api, "BASE=http://"+api, "DATABASE_URL=", "NATS_URL=")
		s.start(t)
		return s
	}
	server := &running{url: "http://" + api, client: newClient(t)}
	serve := func(script string) *shellScript {
		t.Helper()
		started := shell(script)
		eventually(t, "the server is ready", time.Minute, func() bool {
			got, err := server.as("", "GET", "/readyz", "")
			return err == nil && got.status == 200
		})
		return started
	}
	alone := serve("make run")
	tour, _ := readScript(t, "tour")
	shell("{ "+tour+"} >/dev/null").printsUntil(t, "")
	alone.stop()
	serve(readBlock(t, "README.md", "subscriber"))

	ways := map[string]*shellScript{}
	for name, first := range map[string]string{
		"by curl":   `^data: \{.*"type":"carelog.patient.registered.v1","subject":"patient/1".*"position":"2"`,
		"in Go":     `^2: user 1 has a new patient, Alice Smith$`,
		"over NATS": `^2 carelog.events.patient.registered \{.*"subject":"patient/1"`,
	} {
		ways[name] = shell(readBlock(t, "README.md", name))
		ways[name].printsUntil(t, first)
	}
	john, _ := server.login(t, "john@example.com", "securepassword123")
	server.mustAs(t, john, "POST", "/api/patients/", somePatient, 201)
	for name, next := range map[string]string{
		"by curl":   `^data: \{.*"position":"8"`,
		"in Go":     `^8: user 1 has a new patient, Alice Smith$`,
		"over NATS": `^8 carelog.events.patient.registered \{`,
	} {
		ways[name].printsUntil(t, next)
	}
	ways["in Go"].stop()
	server.mustAs(t, john, "POST", "/api/patients/", somePatient, 201)
	shell(readBlock(t, "README.md", "in Go")).printsFirst(t, "9: user 1 has a new patient, Alice Smith")
}

// TestAModuleThatFollows is made as the README tells, elsewhere than in the clone.
func TestAModuleThatFollows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	copyOf(t, "../../events/client/example/main.go", filepath.Join(dir, "main.go"))
	clone, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	script := exec.Command("sh", "-eu", "-c", readBlock(t, "README.md", "module")+"go build .")
	script.Dir, script.Env = dir, append(os.Environ(), "CLONE="+clone, "GOSUMDB=off") // what it takes is in our go.sum
	if output, err := script.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

// copyOf copies a file or directory.
func copyOf(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		err = os.CopyFS(to, os.DirFS(from))
	} else {
		err = os.WriteFile(to, []byte(readFile(t, from)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// shellScript runs in a process group of its own, which is ended with the test.
type shellScript struct {
	command *exec.Cmd
	lines   chan string // of its output, closed at its end
	stderr  logBuffer
}

func (s *shellScript) start(t *testing.T) {
	t.Helper()
	s.lines = make(chan string, 1000)
	s.command.Stderr = &s.stderr
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.command.Cancel = func() error { return syscall.Kill(-s.command.Process.Pid, syscall.SIGTERM) }
	stdout, err := s.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			s.lines <- lines.Text()
		}
		_ = s.command.Wait() // those that follow are killed
	}()
	t.Cleanup(s.stop)
}

// stop ends the group as Ctrl-C does, and waits for that.
func (s *shellScript) stop() {
	_ = syscall.Kill(-s.command.Process.Pid, syscall.SIGINT)
	for range s.lines {
	}
}

// printsFirst waits for the first line.
func (s *shellScript) printsFirst(t *testing.T, want string) {
	t.Helper()
	select {
	case line := <-s.lines:
		if line != want {
			t.Errorf("it prints %q, want %q\n%s", line, want, &s.stderr)
		}
	case <-time.After(2 * time.Minute):
		t.Errorf("it prints nothing\n%s", &s.stderr)
	}
}

// printsUntil waits for a line; without one for a good end.
func (s *shellScript) printsUntil(t *testing.T, pattern string) {
	t.Helper()
	wanted, end := regexp.MustCompile(pattern), time.After(2*time.Minute)
	for {
		select {
		case line, more := <-s.lines:
			switch {
			case !more && pattern == "" && s.command.ProcessState.Success():
				return
			case !more:
				t.Fatalf("it ends before it prints %q: %v\n%s", pattern, s.command.ProcessState, &s.stderr)
			case pattern != "" && wanted.MatchString(line):
				return
			}
		case <-end:
			t.Fatalf("it does not print %q\n%s", pattern, &s.stderr)
		}
	}
}

// TestTheContractOfTheREADME is what subscribers get with the AsyncAPI document.
func TestTheContractOfTheREADME(t *testing.T) {
	words := func(text, from, to string) string {
		t.Helper()
		_, text, found := strings.Cut(text, from)
		text, _, ended := strings.Cut(text, to)
		if !found || !ended {
			t.Fatalf("nothing is between %q and %q", from, to)
		}
		return strings.Join(strings.Fields(strings.ReplaceAll(text, "\n//", "\n")), " ")
	}
	want := words(readFile(t, "../../events/cloudevent/doc.go"), "# What subscribers can rely on", "package cloudevent")
	if got := words(readFile(t, "../../README.md"), "### What you can rely on", "### Over HTTP"); got != want {
		t.Errorf("README\n%s\nevents/cloudevent\n%s", got, want)
	}
}

// TestTheGoCodeOfTheREADME is part of an example, which is compiled with the tests of its package.
func TestTheGoCodeOfTheREADME(t *testing.T) {
	words := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	code := strings.Replace(readBlock(t, "README.md", "Go"), "err := ", "err = ", 1)
	if example := readFile(t, "../../events/client/example_test.go"); !strings.Contains(words(example), words(code)) {
		t.Errorf("events/client/example_test.go does not have\n%s", code)
	}
}
