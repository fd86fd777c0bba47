package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// oldestPostgres is the oldest major version that Carelog works with.
const oldestPostgres = 14

// installation is a PostgreSQL on this machine.
type installation struct {
	bin   string // the directory of postgres and initdb
	major int
}

// errNoPostgres: there is no PostgreSQL that could be started.
var errNoPostgres = errors.New("no PostgreSQL was found on this machine")

// versionsDirs are where systems put several versions side by side, each with
// the major version somewhere in the path.
var versionsDirs = []string{
	"/usr/lib/postgresql/*/bin",                      // Debian, Ubuntu
	"/usr/pgsql-*/bin",                               // PGDG on Fedora, RHEL
	"/usr/lib/postgresql*/bin",                       // SUSE
	"/usr/libexec/postgresql*",                       // Alpine
	"/opt/homebrew/opt/postgresql*/bin",              // Homebrew on ARM
	"/usr/local/opt/postgresql*/bin",                 // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin", // Homebrew on Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/Library/PostgreSQL/*/bin", // EDB's installer
}

// findPostgres looks for a PostgreSQL of the major version want, or with want 0
// for any: in bin alone when that is set, else where pg_config says, in the
// PATH, and in the usual places, highest version first.
func findPostgres(bin string, want int) (installation, error) {
	var dirs []string
	if bin != "" {
		dirs = []string{bin}
	} else {
		dirs = usualDirs()
	}
	var found []installation
	var tooOld []string
	for _, dir := range dirs {
		i, err := inspect(dir)
		switch {
		case err != nil && bin != "":
			return installation{}, fmt.Errorf("CARELOG_PG_BIN: %w: set it to the directory of the programs postgres and initdb", err)
		case err != nil:
		case i.major < oldestPostgres:
			tooOld = append(tooOld, i.String())
		case want == 0 || i.major == want:
			return i, nil
		case !slices.Contains(found, i):
			found = append(found, i)
		}
	}
	switch {
	case found != nil:
		return installation{}, fmt.Errorf("the data was made by PostgreSQL %d, and here is only %v: install version %d, "+
			"or move the data with pg_upgrade, or set CARELOG_DATA_DIR to another directory; nothing was changed", want, found, want)
	case tooOld != nil:
		return installation{}, fmt.Errorf("%w but %s, and %d is the oldest that will do: %s",
			errNoPostgres, strings.Join(tooOld, ", "), oldestPostgres, installMend())
	}
	return installation{}, fmt.Errorf("%w: %s", errNoPostgres, installMend())
}

func (i installation) String() string {
	return fmt.Sprintf("version %d in %s", i.major, i.bin)
}

func usualDirs() (dirs []string) {
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		// initdb looks for its siblings where it really is.
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	var versions []string
	for _, pattern := range versionsDirs {
		matches, _ := filepath.Glob(pattern) // the only error is a bad pattern
		versions = append(versions, matches...)
	}
	slices.SortStableFunc(versions, func(a, b string) int { return versionInPath(b) - versionInPath(a) })
	return append(dirs, versions...)
}

var number = regexp.MustCompile(`\d+`)

func versionInPath(path string) int {
	version, _ := strconv.Atoi(number.FindString(path))
	return version
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// inspect tells which PostgreSQL is in a directory.
func inspect(dir string) (installation, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return installation{}, err
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return installation{}, fmt.Errorf("run postgres --version: %w", err)
	}
	match := versionLine.FindSubmatch(out)
	if match == nil {
		return installation{}, fmt.Errorf("%s is not PostgreSQL's", filepath.Join(dir, "postgres"))
	}
	major, err := strconv.Atoi(string(match[1]))
	return installation{dir, major}, err
}

// installMend is how to get a PostgreSQL here.
func installMend() string {
	otherwise := ", or set DATABASE_URL to a server elsewhere, or CARELOG_PG_BIN to the directory of its programs"
	if runtime.GOOS == "darwin" {
		return "run `brew install postgresql@17`" + otherwise
	}
	sudo := "sudo "
	if os.Geteuid() == 0 {
		sudo = ""
	}
	for _, command := range []string{
		"apt-get install -y postgresql",
		"dnf install -y postgresql-server",
		"yum install -y postgresql-server",
		"apk add postgresql",
		"zypper install -y postgresql-server",
		"pacman -S --noconfirm postgresql",
	} {
		program, _, _ := strings.Cut(command, " ")
		if _, err := exec.LookPath(program); err == nil {
			return "run `" + sudo + command + "`" + otherwise
		}
	}
	// A container of one program, most likely.
	return "set DATABASE_URL to a server, as postgres://user:password@host:5432/name, or install PostgreSQL's programs here and set CARELOG_PG_BIN to their directory"
}
