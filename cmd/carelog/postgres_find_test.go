package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindPostgres(t *testing.T) {
	t.Parallel()
	fake := func(version string) string {
		dir := t.TempDir()
		for _, name := range []string{"postgres", "initdb"} {
			script := "#!/bin/sh\necho '" + version + "'\n"
			if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	new, old, strange := fake("postgres (PostgreSQL) 17.2 (Debian 17.2-1)"), fake("postgres (PostgreSQL) 9.6.24"), fake("mysqld 8")
	if i, err := findPostgres(new, 0); err != nil || i != (installation{new, 17}) {
		t.Errorf("%v, %v", i, err)
	}
	if i, err := findPostgres(new, 17); err != nil || i.major != 17 {
		t.Errorf("%v, %v", i, err)
	}
	if i, err := findPostgres("", 0); err != nil || i.major < oldestPostgres {
		t.Errorf("this machine's: %v, %v", i, err)
	}
	for name, test := range map[string]struct {
		bin  string
		want int
		text string
	}{
		"another version": {new, 16, "made by PostgreSQL 16, and here is only [version 17 in " + new + "]"},
		"too old":         {old, 0, "no PostgreSQL was found on this machine but version 9 in " + old},
		"not PostgreSQL":  {strange, 0, "CARELOG_PG_BIN: "},
		"no directory":    {"/nowhere", 0, "CARELOG_PG_BIN: "},
	} {
		if i, err := findPostgres(test.bin, test.want); err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, %v", name, i, err)
		}
	}
	for path, want := range map[string]int{
		"/usr/lib/postgresql/15/bin": 15, "/usr/pgsql-16/bin": 16, "/opt/homebrew/opt/postgresql@17/bin": 17, "/usr/local/opt/postgresql/bin": 0,
	} {
		if got := versionInPath(path); got != want {
			t.Errorf("%s: %d", path, got)
		}
	}
	if mend := installMend(); !strings.Contains(mend, "DATABASE_URL") {
		t.Error(mend)
	}
}
