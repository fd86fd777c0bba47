package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/carelog/carelog/httpapi"
)

// openFiles checks that so many connections as are set can be open.
func (c *checkup) openFiles() {
	const check = "open files"
	if c.wrong("CARELOG_MAX_CONNECTIONS", "--max-connections", "CARELOG_DB_MAX_CONNS", "--db-max-conns") {
		return // its setting was told
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		c.warn(check, "", "the limit cannot be read: %v", err)
		return
	}
	most := fitConnections(c.config.MaxConnections, c.config.DatabaseConns, uint64(limit.Cur))
	if most < c.config.MaxConnections {
		c.warn(check, "raise it (LimitNOFILE= of systemd, ulimit -n), or lower CARELOG_MAX_CONNECTIONS",
			"the limit of %d leaves %d connections of clients, and %d are set", limit.Cur, most, c.config.MaxConnections)
		return
	}
	c.ok(check, "the limit of %d is enough for %d connections of clients", limit.Cur, c.config.MaxConnections)
}

// dataDir checks who can get at the data directory, and the room in it.
func (c *checkup) dataDir() {
	const check = "data dir"
	dir := c.config.DataDir
	if dir == "" || c.wrong("CARELOG_DATA_DIR", "--data-dir") {
		return // its setting was told
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.ok(check, "%s is not there yet: the first start makes it", dir)
		c.freeSpace(existing(dir))
		return
	case err != nil:
		c.fail(check, "run carelog as its owner, or set CARELOG_DATA_DIR to a directory of yours", "%v", err)
		return
	case !info.IsDir():
		c.fail(check, "set CARELOG_DATA_DIR to a directory", "%s is no directory", dir)
		return
	}
	mode := info.Mode().Perm()
	switch {
	case os.Geteuid() != 0 && owner(info).Uid != uint32(os.Geteuid()):
		c.fail(check, "run carelog as that user, or set CARELOG_DATA_DIR to a directory of yours", "%s belongs to user id %d", dir, owner(info).Uid)
	case mode&0o022 != 0:
		c.fail(check, "chmod go-w "+dir, "others may change what is in %s (mode %04o)", dir, mode)
	case mode&0o044 != 0:
		c.warn(check, "chmod go-r "+dir, "others may list what is in %s (mode %04o)", dir, mode)
	default:
		c.ok(check, "%s, mode %04o", dir, mode)
	}
	c.freeSpace(dir)
	if data, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil && !sameDevice(dir, data) {
		c.freeSpace(data)
	}
}

// existing is the nearest directory above that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func sameDevice(a, b string) bool {
	first, err := os.Stat(a)
	second, otherErr := os.Stat(b)
	return err == nil && otherErr == nil && owner(first).Dev == owner(second).Dev
}

// How much room on a disk is little, and how much too little to go on.
const (
	littleRoom  = 2 << 30
	tooFewBytes = 256 << 20
)

func (c *checkup) freeSpace(dir string) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		c.warn("disk", "", "the room for %s cannot be told: %v", dir, err)
		return
	}
	c.tellSpace(dir, uint64(disk.Bavail)*uint64(disk.Bsize))
}

func (c *checkup) tellSpace(dir string, free uint64) {
	const check, mend = "disk", "make room: PostgreSQL stops when its disk is full"
	switch {
	case free < tooFewBytes:
		c.fail(check, mend, "%s free for %s", size(free), dir)
	case free < littleRoom:
		c.warn(check, mend, "%s free for %s", size(free), dir)
	default:
		c.ok(check, "%s free for %s", size(free), dir)
	}
}

// size is a number of bytes for people.
func size(bytes uint64) string {
	if bytes >= 10<<30 {
		return fmt.Sprintf("%d GiB", bytes>>30)
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
}

// tokenKey checks the keys of tokens, and tells them apart: those who rotate them see
// that a key is known to each server before it signs.
func (c *checkup) tokenKey() {
	const check = "token key"
	if c.wrong("CARELOG_JWT_SECRET", "SECRET_KEY", "CARELOG_JWT_FALLBACK_SECRETS", "CARELOG_DATA_DIR", "--data-dir") || c.config.DataDir == "" {
		return
	}
	if len(c.config.JWTSecret) > 0 {
		c.ok(check, "CARELOG_JWT_SECRET is set: %s", nameKeys(c.config.withFallbacks(c.config.JWTSecret)))
		return
	}
	path := filepath.Join(c.config.DataDir, "jwt.key")
	keys, err := readKeys(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.ok(check, "not made yet: the first start makes it")
	case err != nil:
		c.fail(check, "", "%v", err)
	case len(keys) > 1 && !changedWithin(path, c.config.RefreshTokenLifetime):
		c.warn(check, "if the server was started since then, delete all lines of "+path+" but the first, and restart",
			"%s; no token can need a second key any more, for the file is older than %v", nameKeys(c.config.withFallbacks(keys...)), c.config.RefreshTokenLifetime)
	default:
		c.ok(check, "the one in the data directory can be used: %s", nameKeys(c.config.withFallbacks(keys...)))
	}
}

// nameKeys tells keys by their ids, the one that signs first.
func nameKeys(keys [][]byte) string {
	text := "key " + httpapi.KeyID(keys[0]) + " signs"
	var others []string
	for _, key := range keys[1:] {
		others = append(others, httpapi.KeyID(key))
	}
	if len(others) > 0 {
		text += ", and tokens of " + strings.Join(others, ", ") + " are good"
	}
	return text
}

func changedWithin(path string, age time.Duration) bool {
	info, err := os.Stat(path)
	return err != nil || time.Since(info.ModTime()) < age
}
