package main

import (
	"context"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// image is what the Dockerfile makes, without what it is made upon.
type image struct {
	root        string            // the directory that is / there
	env         map[string]string // of ENV
	entry       []string
	command     []string // where no other is given
	health      []string
	uid         int
	dir         string // of the build
	git         bool   // can tell the commit
	instruction map[string]string
}

// buildImage follows the Dockerfile as docker build does, in a copy of what .dockerignore
// leaves of the repository. What it is made upon is not there: the machine's Go is that of
// the first stage, and the second begins with nothing.
func buildImage(t *testing.T) *image {
	t.Helper()
	stages := readDockerfile(t)
	if len(stages) != 2 {
		t.Fatalf("the Dockerfile has %d stages", len(stages))
	}
	i := &image{dir: t.TempDir(), root: t.TempDir(), env: map[string]string{}, instruction: map[string]string{}}
	copyContext(t, i.dir)
	// Go does not ask git in a worktree, whose .git is a file, and git does not tell root
	// of somebody else's clone.
	info, err := os.Lstat(filepath.Join(i.dir, ".git"))
	i.git = err == nil && !info.Mode().IsRegular() && exec.Command("git", "-C", "../..", "rev-parse", "--verify", "HEAD").Run() == nil
	for _, step := range stages[0] {
		if step.name == "RUN" {
			i.run(t, regexp.MustCompile(`--mount=\S+ `).ReplaceAllString(step.args, ""))
		}
	}
	for _, step := range stages[1] {
		i.instruction[step.name] = step.args
		switch step.name {
		case "RUN":
			t.Errorf("the last stage has nothing to run %q by", step.args)
		case "COPY":
			i.copy(t, step.args)
		case "ENV":
			for _, pair := range strings.Fields(step.args) {
				name, value, _ := strings.Cut(pair, "=")
				i.env[name] = value
			}
		case "ENTRYPOINT":
			i.entry = words(t, step.args)
		case "CMD":
			i.command = words(t, step.args)
		case "HEALTHCHECK":
			_, command, _ := strings.Cut(step.args, "CMD ")
			i.health = words(t, command)
		case "USER":
			uid, _, _ := strings.Cut(step.args, ":")
			var err error
			if i.uid, err = strconv.Atoi(uid); err != nil {
				t.Errorf("USER %s is no number, and Kubernetes cannot see that it is not root", step.args)
			}
		}
	}
	return i
}

// words reads the form of a command that needs no shell.
func words(t *testing.T, text string) []string {
	t.Helper()
	return readYAML[[]string](t, text)
}

func (i *image) run(t *testing.T, command string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-ec", command)
	shell.Dir = i.dir
	shell.Env = append(os.Environ(), "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH, "GIT_OPTIONAL_LOCKS=0", "GOFLAGS=-buildvcs=auto")
	if !i.git {
		shell.Env = append(shell.Env, "GOFLAGS=-buildvcs=false")
	}
	began := time.Now()
	output, err := shell.CombinedOutput()
	if err != nil && strings.HasPrefix(command, "go mod download") && regexp.MustCompile(`dial tcp|lookup |connect:`).Match(output) {
		t.Logf("the module proxy cannot be reached, so this was not tried: %s", command)
		return
	}
	if err != nil {
		t.Fatalf("RUN %s: %v: %s", command, err, output)
	}
	t.Logf("RUN %s took %v", command, time.Since(began).Round(time.Millisecond))
}

// copy follows COPY --from=build.
func (i *image) copy(t *testing.T, args string) {
	t.Helper()
	paths := slices.DeleteFunc(strings.Fields(args), func(word string) bool { return strings.HasPrefix(word, "--") })
	source, target := filepath.Join(i.dir, strings.TrimPrefix(paths[0], "/src/")), filepath.Join(i.root, paths[1])
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(source, target); err != nil {
		t.Fatal(err)
	}
}

// process is a program of the image with an environment, as in a container whose files
// cannot be written: where the tests are root's it has the image's user, and no other file
// than those of the image.
func (i *image) process(ctx context.Context, env map[string]string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(i.root, i.entry[0]), append(i.entry[1:], args...)...)
	if os.Geteuid() == 0 {
		command = exec.CommandContext(ctx, i.entry[0], append(i.entry[1:], args...)...)
		command.SysProcAttr = &syscall.SysProcAttr{
			Chroot: i.root, Credential: &syscall.Credential{Uid: uint32(i.uid), Gid: uint32(i.uid)},
		}
	}
	command.Dir, command.Env = "/", []string{}
	for _, vars := range []map[string]string{i.env, env} {
		for name, value := range vars {
			command.Env = append(command.Env, name+"="+value)
		}
	}
	return command
}

// lock lets nobody but root write the image's files, and everybody read them.
func (i *image) lock(t *testing.T) {
	t.Helper()
	change := func(mode fs.FileMode) {
		err := filepath.WalkDir(i.root, func(path string, _ fs.DirEntry, err error) error { return errors.Join(err, os.Chmod(path, mode)) })
		if err != nil {
			t.Error(err)
		}
	}
	change(0o555)
	t.Cleanup(func() { change(0o755) }) // so that they can be removed
}

// mustBeAnImage: it is static, knows its commit, and has what a container engine asks for.
func (i *image) mustBeAnImage(t *testing.T) {
	t.Helper()
	if i.uid != 65532 || i.instruction["STOPSIGNAL"] != "SIGTERM" || i.instruction["EXPOSE"] != "8000" || i.env["CARELOG_ADDR"] != "0.0.0.0:8000" ||
		!strings.HasSuffix(i.instruction["FROM"], ":nonroot") {
		t.Errorf("the image is %v, its environment %v", i.instruction, i.env)
	}
	mustBeACommand(t, "CMD", i.command)
	if len(i.health) < 2 || i.health[0] != i.entry[0] {
		t.Fatalf("HEALTHCHECK is %q", i.health)
	}
	mustBeACommand(t, "HEALTHCHECK", i.health[1:])
	if runtime.GOOS == "linux" {
		program, err := elf.Open(filepath.Join(i.root, i.entry[0]))
		if err != nil {
			t.Fatal(err)
		}
		defer program.Close()
		libraries, err := program.ImportedLibraries()
		for _, part := range program.Progs {
			if part.Type == elf.PT_INTERP || len(libraries) > 0 || err != nil {
				t.Fatalf("the program is not static: it needs %v, %v", libraries, err)
			}
		}
	}
	output, err := i.process(t.Context(), nil, "version").Output()
	if err != nil || !strings.HasPrefix(string(output), "carelog ") {
		t.Errorf("carelog version: %s %v", output, err)
	}
	if !i.git {
		t.Log("git cannot tell the commit here, so it was not seen that the image knows its own")
		return
	}
	commit, err := exec.Command("git", "-C", "../..", "rev-parse", "HEAD").Output()
	if err != nil || !strings.Contains(string(output), string(commit[:12])) {
		t.Errorf("carelog version: %s, and the commit is %s, %v", output, commit, err)
	}
}

// TestWithNothingSetInAContainer there is no PostgreSQL to start, and it says what to set.
func TestWithNothingSetInAContainer(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if got := installMend(); runtime.GOOS == "linux" && !strings.HasPrefix(got, "set DATABASE_URL to a server") {
		t.Errorf("where no package manager is: %s", got)
	}
}
