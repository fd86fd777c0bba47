package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// A line of a .env file: NAME=value, with or without "export". A value may stand
// in quotes; without, it ends at a # that follows white space. Nothing is
// expanded: a $ is a $, because keys that Django generates are full of them.
var (
	dotenvLine    = regexp.MustCompile(`^(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*?)\s*$`)
	dotenvSingle  = regexp.MustCompile(`^'([^']*)'\s*(?:#.*)?$`)
	dotenvDouble  = regexp.MustCompile(`^"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$`)
	dotenvPlain   = regexp.MustCompile(`^([^'"].*?)??(?:(?:^|\s)#.*)?$`)
	dotenvEscapes = strings.NewReplacer(`\n`, "\n", `\"`, `"`, `\\`, `\`)
)

// readDotenv reads a .env file; one that is not there is empty. An error names
// the line and does not quote it: it may hold a secret.
func readDotenv(path string) (map[string]string, error) {
	content, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf(".env: %w: mend its permissions or remove it", err)
	}
	vars := map[string]string{}
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(string(content), "\ufeff")) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		pair := dotenvLine.FindStringSubmatch(line)
		if pair == nil {
			return nil, fmt.Errorf(".env, line %d: not of the form NAME=value: mend it", number)
		}
		value, ok := dotenvValue(pair[2])
		if !ok {
			return nil, fmt.Errorf(".env, line %d: the quotes of the value do not match: put the whole value into 'single quotes', on one line", number)
		}
		vars[pair[1]] = value
	}
	return vars, nil
}

func dotenvValue(text string) (string, bool) {
	if found := dotenvSingle.FindStringSubmatch(text); found != nil {
		return found[1], true
	}
	if found := dotenvDouble.FindStringSubmatch(text); found != nil {
		return dotenvEscapes.Replace(found[1]), true
	}
	if found := dotenvPlain.FindStringSubmatch(text); found != nil {
		return found[1], true
	}
	return "", false
}
