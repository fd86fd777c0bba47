package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

func TestJWTKeyIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	keys := make([]string, 16)
	var group errgroup.Group
	for i := range keys {
		group.Go(func() error {
			made, err := jwtKeys(dir)
			if err == nil {
				keys[i] = string(made[0])
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if random, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(random) != 48 {
		t.Errorf("%d random bytes, %v", len(random), err)
	}
	for _, key := range keys {
		if key != keys[0] {
			t.Fatal("two keys were made")
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestJWTKeyIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"readable by others": {goodSecret, 0o644, "chmod 600"},
		"readable by group":  {goodSecret, 0o640, "chmod 600"},
		"short":              {"short\n", 0o600, "remove the file"},
		"empty":              {"", 0o600, "remove it"},
		"a short second":     {goodSecret + "\nshort\n", 0o600, "5 bytes, needs at least 32"},
	} {
		path := filepath.Join(t.TempDir(), "jwt.key")
		if err := os.WriteFile(path, []byte(test.text), test.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		if key, err := jwtKeys(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q, %v", name, key, err)
		}
	}
}
