package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// jwtKeys answers the keys in dataDir, the one that signs tokens first, and makes
// one when there is none: 48 random bytes in base64, in a file that only its owner
// can read. Each line is a key: the text itself, so that it can be copied into
// CARELOG_JWT_SECRET. Of processes that make it at the same time all answer the
// same key.
func jwtKeys(dataDir string) ([][]byte, error) {
	path := filepath.Join(dataDir, "jwt.key")
	keys, err := readKeys(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	if err := makeDir(dataDir); err != nil {
		return nil, err
	}
	if err := makeKey(dataDir, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the JWT key: %w", err)
	}
	return readKeys(path)
}

// withFallbacks are keys of tokens, the one that signs first, and those that are set to be
// good as well.
func (c *Config) withFallbacks(keys ...[]byte) [][]byte { return slices.Concat(keys, c.JWTFallbacks) }

func readKeys(path string) (keys [][]byte, _ error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the JWT key: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the JWT key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the JWT key %s can be read by others: run chmod 600 on it, "+
			"or remove it to get a new one, which logs everybody out", path)
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("read the JWT key: %w", err)
	}
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if err := checkSecret(string(line)); err != nil {
				return nil, fmt.Errorf("a JWT key in %s cannot be used, %w; or remove the file to get a new one, which logs everybody out", path, err)
			}
			keys = append(keys, line)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the file of the JWT key %s holds none: remove it to get a new one, which logs everybody out", path)
	}
	return keys, nil
}

// makeKey writes the key beside path and links it there, so that path never
// holds half a key and an existing one is kept (fs.ErrExist).
func makeKey(dir, path string) error {
	random := make([]byte, 48)
	rand.Read(random)                             // never fails
	file, err := os.CreateTemp(dir, ".jwt.key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := fmt.Fprintln(file, base64.StdEncoding.EncodeToString(random)); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes new names in a directory last through a loss of power.
func syncDir(dir string) error {
	handle, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer handle.Close()
	return handle.Sync()
}
