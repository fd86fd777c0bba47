package main

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// environment is where settings come from: nothing else in Carelog reads
// environment variables. Flags win over variables, and those over the .env
// file.
type environment struct {
	flags  map[string]string // the flags that were given, by name without dashes
	vars   map[string]string // the process's environment
	dotenv map[string]string // the .env file of the working directory
}

// value is the text of a setting and where it stands, for messages.
type value struct {
	text, source string
}

// readEnvironment reads all sources; without a .env file in dir that source is
// empty. The error is about that file; the other sources are answered all the same.
func readEnvironment(flags *pflag.FlagSet, dir string) (environment, error) {
	env := environment{flags: map[string]string{}, vars: map[string]string{}}
	flags.Visit(func(f *pflag.Flag) { env.flags[f.Name] = f.Value.String() })
	for _, entry := range os.Environ() {
		if name, text, ok := strings.Cut(entry, "="); ok {
			env.vars[name] = text
		}
	}
	var err error
	env.dotenv, err = readDotenv(filepath.Join(dir, ".env"))
	return env, err
}

// lookup finds a setting by the name of its flag ("" for none), of its variable,
// and of another variable that counts when that is not set ("" for none). A
// variable that is set to nothing hides the file's and means the default.
func (e environment) lookup(flag, name, alias string) (value, bool) {
	if text, ok := e.flags[flag]; ok {
		return value{text, "--" + flag}, text != ""
	}
	for _, name := range []string{name, alias} {
		text, ok := e.vars[name]
		source := name
		if !ok {
			text, source = e.dotenv[name], name+" in .env"
		}
		if text != "" {
			return value{text, source}, true
		}
	}
	return value{}, false
}

// databaseURL builds a URL of the reference application's own variables, and
// tells whether any of them is set.
func (e environment) databaseURL() (value, bool, error) {
	parts := map[string]string{}
	var set []string
	for _, name := range []string{"DB_NAME", "DB_USER", "DB_PASSWORD", "DB_HOST", "DB_PORT"} {
		if v, ok := e.lookup("", name, ""); ok {
			parts[name] = v.text
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return value{}, false, nil
	}
	names := strings.Join(set, ", ")
	if parts["DB_NAME"] == "" {
		return value{}, true, fmt.Errorf("DB_NAME: not set, but %s: set it to the database's name, or set DATABASE_URL instead", names)
	}
	target := url.URL{Scheme: "postgres", Path: "/" + parts["DB_NAME"]}
	switch user, password := parts["DB_USER"], parts["DB_PASSWORD"]; {
	case password != "":
		target.User = url.UserPassword(user, password)
	case user != "":
		target.User = url.User(user)
	}
	host, port := parts["DB_HOST"], parts["DB_PORT"]
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = "5432"
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return value{}, true, fmt.Errorf("DB_PORT: %q is not a port: set it to a number like 5432", port)
	}
	if strings.HasPrefix(host, "/") { // the directory of a Unix socket
		target.RawQuery = url.Values{"host": {host}, "port": {port}}.Encode()
	} else {
		target.Host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	return value{target.String(), names}, true, nil
}

// defaultDataDir is the place for a user's data (XDG Base Directory
// Specification), or "" where there is no home directory.
func (e environment) defaultDataDir() string {
	if dir := e.vars["XDG_DATA_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "carelog")
	}
	if home := e.vars["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "carelog")
	}
	return ""
}

// unknownNames warns of CARELOG_ variables that set nothing: a misspelt setting
// would go unnoticed otherwise.
func unknownNames(env environment) (warnings []string) {
	var known []string
	for _, s := range settings {
		known = append(known, s.name)
	}
	names := slices.Concat(slices.Collect(maps.Keys(env.vars)), slices.Collect(maps.Keys(env.dotenv)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if !strings.HasPrefix(name, "CARELOG_") || slices.Contains(known, name) || name == testDatabaseVariable || name == demoPasswordVariable {
			continue
		}
		nearest := slices.MinFunc(known, func(a, b string) int { return distance(a, name) - distance(b, name) })
		warnings = append(warnings, fmt.Sprintf("%s is no setting and was ignored; the nearest is %s", name, nearest))
	}
	return warnings
}

// distance is Levenshtein's: the least number of letters to insert, delete or
// replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
