package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// makeDir makes a directory of ours, and its parents. Only the owner may list
// it. Started by root others may pass through it, since PostgreSQL runs as
// another user somewhere below.
func makeDir(path string) error {
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(path, mode); err != nil {
		return fmt.Errorf("%w: mend that, or set CARELOG_DATA_DIR to a directory of yours", err)
	}
	return nil
}

// inUseError is a directory whose lock another carelog holds.
type inUseError struct{ dir, holder string }

func (e *inUseError) Error() string {
	return fmt.Sprintf("%s is in use by another carelog (process %s): stop that one, or set CARELOG_DATA_DIR to another directory", e.dir, e.holder)
}

// lockDir makes sure that no other carelog uses a directory; it fails with an
// *inUseError where one does. The lock ends with unlockDir, or with the process,
// however it ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "carelog.lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("lock %s: it belongs to another user: run carelog as that user, or set CARELOG_DATA_DIR to a directory of yours", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		holder, _ := io.ReadAll(io.LimitReader(file, 20))
		return nil, &inUseError{dir, string(holder)}
	}
	// Only the message above needs the process id.
	err = file.Truncate(0)
	if err == nil {
		_, err = fmt.Fprint(file, os.Getpid())
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock the directory: %w", err)
	}
	return file, nil
}

// unlockDir ends a lock. Closing the file alone would not while a program that
// is just being started still shares it.
func unlockDir(lock *os.File) {
	syscall.Flock(int(lock.Fd()), syscall.LOCK_UN)
	lock.Close()
}
