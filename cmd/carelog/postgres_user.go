package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// account is the user that PostgreSQL runs as when Carelog was started by root:
// PostgreSQL refuses to be root itself. A nil account is the user who started
// Carelog.
type account struct {
	name   string
	uid    uint32
	gid    uint32
	groups []uint32
}

// accountFor answers the user to run PostgreSQL as: the owner of data, where
// that is there already, else postgres, else nobody.
func accountFor(data string) (*account, error) {
	info, err := os.Stat(data)
	exists := err == nil
	if os.Geteuid() != 0 {
		if exists && owner(info).Uid != uint32(os.Geteuid()) {
			return nil, fmt.Errorf("%s belongs to user id %d: run carelog as that user or as root, or set CARELOG_DATA_DIR to another directory",
				data, owner(info).Uid)
		}
		return nil, nil
	}
	if exists && owner(info).Uid != 0 {
		if u, err := user.LookupId(strconv.Itoa(int(owner(info).Uid))); err == nil {
			return newAccount(u)
		}
		return &account{fmt.Sprintf("with id %d", owner(info).Uid), owner(info).Uid, owner(info).Gid, nil}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return newAccount(u)
		}
	}
	return nil, errors.New("PostgreSQL cannot run as root, and there is neither a user postgres nor nobody: " +
		"run carelog as an ordinary user, or set DATABASE_URL")
}

func newAccount(u *user.User) (*account, error) {
	ids := []string{u.Uid, u.Gid}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("look up the groups of user %s: %w", u.Username, err)
	}
	numbers := make([]uint32, 0, 2+len(groups))
	for _, id := range append(ids, groups...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("look up user %s: %w", u.Username, err)
		}
		numbers = append(numbers, uint32(n))
	}
	return &account{u.Username, numbers[0], numbers[1], numbers[2:]}, nil
}

func owner(info fs.FileInfo) *syscall.Stat_t {
	return info.Sys().(*syscall.Stat_t) // always, on Unix
}

// procAttr is for starting PostgreSQL's programs: as the account, and in a
// process group of their own, so that Ctrl-C in the terminal reaches Carelog
// alone and it can finish its work before the database goes. The caller's thread
// must be locked for as long as they run (dieWithParent).
func (a *account) procAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(attr)
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
	}
	return attr
}

// makeDir makes a directory that belongs to the account alone. One that is
// there already is kept.
func (a *account) makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if a == nil {
		return nil
	}
	if err := os.Chown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give the directory to user %s: %w", a.name, err)
	}
	return nil
}

// barrier answers the first directory on the way to path, and path itself,
// that the account may not pass through; "" when it can reach everything in path.
// path is absolute and without symbolic links.
func (a *account) barrier(path string) (string, error) {
	if a == nil {
		return "", nil
	}
	var way []string
	for dir := path; ; dir = filepath.Dir(dir) {
		way = append(way, dir)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	for _, dir := range slices.Backward(way) {
		info, err := os.Stat(dir)
		if err != nil {
			return "", err
		}
		bit := fs.FileMode(0o001)
		switch stat := owner(info); {
		case stat.Uid == a.uid:
			bit = 0o100
		case stat.Gid == a.gid || slices.Contains(a.groups, stat.Gid):
			bit = 0o010
		}
		if info.Mode().Perm()&bit == 0 {
			return dir, nil
		}
	}
	return "", nil
}
