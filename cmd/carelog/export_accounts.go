package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/carelog/carelog/eventstore/accounts"
)

// exportAccounts writes all accounts to a file of mode 0600, which takes the place of
// an earlier one when it is complete.
func (o *operator) exportAccounts(ctx context.Context, path string) (_ *accounts.Counts, err error) {
	if err := checkReplaced(path); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // of mode 0600
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	w := bufio.NewWriter(file)
	counts, err := accounts.WriteTo(ctx, o.pool, w, o.store.LogID().String(), time.Now())
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return nil, err
	}
	return &counts, syncDirOf(path)
}

// checkReplaced refuses to overwrite what is no file of accounts.
func checkReplaced(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	refused := fmt.Errorf("%s is there, and is no file of accounts: name another one", path)
	if !info.Mode().IsRegular() {
		return refused
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if !accounts.IsFile(file) {
		return refused
	}
	return nil
}

// syncDirOf makes the name of a file last.
func syncDirOf(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
