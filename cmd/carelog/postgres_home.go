package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// rootPlace is where PostgreSQL's files go when root starts Carelog with a data
// directory that no other user can reach, as below /root.
const rootPlace = "/var/lib/carelog"

// maxSocketPath is what the shortest of the systems takes for the path of a
// socket (macOS: 104 bytes with the NUL).
const maxSocketPath = 103

// postgresHome is the directory of a private PostgreSQL, locked against others:
//
//	carelog.lock   held as long as it is used
//	postgres.log   what PostgreSQL reports
//	data           its data directory
//	run            its socket, unless the path is too long for one
//
// What root reads or writes here is in root's own directory: PostgreSQL's user
// can only touch data and run.
type postgresHome struct {
	dir     string // real path, without symbolic links
	data    string
	socket  string   // the directory of the socket
	account *account // whom PostgreSQL runs as
	install installation
	lock    *os.File
}

// openPostgresHome locks the directory dir and makes what is missing in it,
// down to the data. Nothing that is there is ever removed.
func openPostgresHome(ctx context.Context, dir, bin string, throwaway bool) (_ *postgresHome, err error) {
	h := &postgresHome{}
	if h.dir, err = settle(dir); err != nil {
		return nil, err
	}
	h.data = filepath.Join(h.dir, "data")
	if h.account, err = accountFor(h.data); err != nil {
		return nil, err
	}
	barrier, err := h.account.barrier(h.dir)
	if err != nil {
		return nil, err
	}
	if barrier != "" {
		return nil, fmt.Errorf("PostgreSQL runs as user %s here, who may not pass through %s: run chmod o+x on that, "+
			"or set CARELOG_DATA_DIR to a directory that everybody can reach", h.account.name, barrier)
	}
	if h.lock, err = lockDir(h.dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	version, err := dataVersion(h.data)
	if err != nil {
		return nil, err
	}
	if h.install, err = findPostgres(bin, version); err != nil {
		return nil, err
	}
	if version == 0 {
		if err = h.initialise(ctx, throwaway); err != nil {
			return nil, err
		}
	}
	return h, h.makeSocketDir()
}

func (h *postgresHome) close() {
	if h.socket != filepath.Join(h.dir, "run") {
		os.RemoveAll(h.socket)
	}
	unlockDir(h.lock)
}

// settle answers the real path of dir, which it makes if need be. When root has
// no directory there that PostgreSQL's user could reach, it is made below
// rootPlace, and dir is a symbolic link to it from then on: moving the data
// directory keeps the data, removing it begins anew.
func settle(dir string) (string, error) {
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return "", err
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
		if err != nil {
			return "", err
		}
		account, err := accountFor(filepath.Join(dir, "data"))
		if err != nil {
			return "", err
		}
		barrier, err := account.barrier(parent)
		if err != nil {
			return "", err
		}
		if barrier != "" {
			return settleElsewhere(dir)
		}
		if err := makeDir(dir); err != nil {
			return "", err
		}
	}
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		target, _ := os.Readlink(dir)
		return "", fmt.Errorf("the data of %s were in %s, which is gone: put it back, or remove the link %s to begin with an empty log",
			filepath.Dir(dir), target, dir)
	}
	return real, err
}

func settleElsewhere(dir string) (string, error) {
	if err := makeDir(rootPlace); err != nil {
		return "", err
	}
	target, err := os.MkdirTemp(rootPlace, "postgres-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(target, 0o711); err != nil {
		return "", err
	}
	if err := os.Symlink(target, dir); err != nil {
		os.Remove(target)
		if !errors.Is(err, fs.ErrExist) { // else another carelog was faster
			return "", err
		}
	}
	return filepath.EvalSymlinks(dir)
}

// dataVersion is the major version that a data directory was made by, 0 when
// there is none yet.
func dataVersion(data string) (int, error) {
	content, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the data's version: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("%s/PG_VERSION holds no version: the directory is damaged", data)
	}
	return version, nil
}

// initialise makes the data beside its place and moves it there, so that an
// interrupted initdb leaves nothing that looks whole.
func (h *postgresHome) initialise(ctx context.Context, throwaway bool) error {
	unfinished := h.data + ".new"
	var output []byte
	for _, locale := range []string{"C.UTF-8", "C"} { // older systems know only the second
		if err := os.RemoveAll(unfinished); err != nil {
			return err
		}
		if err := h.account.makeDir(unfinished); err != nil {
			return err
		}
		args := []string{"--pgdata", unfinished, "--username", "carelog",
			"--auth", "trust", // whoever reaches the socket is the same user, or root
			"--encoding", "UTF8", "--locale", locale, "--data-checksums"}
		if throwaway {
			args = append(args, "--no-sync")
		}
		cmd := exec.CommandContext(ctx, filepath.Join(h.install.bin, "initdb"), args...)
		cmd.Dir, cmd.Env = "/", postgresEnv
		cmd.SysProcAttr = h.account.procAttr()
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second
		var err error
		output, err = cmd.CombinedOutput()
		if err == nil {
			if err := os.Rename(unfinished, h.data); err != nil {
				return fmt.Errorf("put the new data into place: %w", err)
			}
			return syncDir(h.dir)
		}
		if _, failed := errors.AsType[*exec.ExitError](err); !failed || ctx.Err() != nil {
			return h.startError("initdb", err)
		}
	}
	return fmt.Errorf("initdb failed: %s", bytes.TrimSpace(output))
}

// postgresEnv is the environment of PostgreSQL's programs: nothing like PGDATA
// or PGPORT may reach them from outside.
var postgresEnv = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}

func (h *postgresHome) startError(program string, err error) error {
	if h.account != nil && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL)) {
		return fmt.Errorf("start %s as user %s: %w: this looks like a container that may not change users; "+
			"run carelog as an ordinary user, or set DATABASE_URL", program, h.account.name, err)
	}
	return fmt.Errorf("start %s: %w", program, err)
}

// makeSocketDir chooses the directory of the socket. Lists of hosts and of
// socket directories give commas and quotes a meaning, so a path with those
// does not serve either.
func (h *postgresHome) makeSocketDir() error {
	h.socket = filepath.Join(h.dir, "run")
	if len(h.socket)+len("/.s.PGSQL.5432") > maxSocketPath || strings.ContainsAny(h.socket, " ,'\"\\") {
		var err error
		if h.socket, err = os.MkdirTemp("/tmp", "carelog-"); err != nil {
			return fmt.Errorf("make a directory for the socket: %w", err)
		}
	}
	return h.account.makeDir(h.socket)
}
