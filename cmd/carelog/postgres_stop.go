package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clearLeftover makes way for a new server. One that outlived a killed Carelog
// is stopped: holding the lock, we know that nobody else uses it. A
// postmaster.pid that a crash left, and whose number another program bears by
// now, would make PostgreSQL refuse to start: it is given our own number, which
// PostgreSQL takes for stale in its parent, and still looks for remaining
// backends as with any other.
func (h *postgresHome) clearLeftover(timeout time.Duration) error {
	path := filepath.Join(h.data, "postmaster.pid")
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a running PostgreSQL: %w", err)
	}
	defer h.killOrphans()
	first, rest, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid <= 1 || pid == os.Getpid() {
		return nil // PostgreSQL says what is wrong with it, if anything is
	}
	if h.runs(pid) {
		ended := func(wait time.Duration) bool { return poll(wait, func() bool { return !h.runs(pid) }) }
		return stopServer(func(s syscall.Signal) { syscall.Kill(pid, s) }, ended, timeout)
	}
	if syscall.Kill(pid, 0) != nil {
		return nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("release the stale postmaster.pid: %w", err)
	}
	defer file.Close()
	_, err = fmt.Fprintf(file, "%d\n%s", os.Getpid(), rest)
	return err
}

// runs tells whether the process is a PostgreSQL server on this data directory.
func (h *postgresHome) runs(pid int) bool {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if _, noProc := os.Stat("/proc/self/cmdline"); noProc == nil {
		fields := strings.Split(string(args), "\x00")
		at := slices.Index(fields, "-D")
		return err == nil && at >= 0 && fields[at+1] == h.data
	}
	args, err = exec.Command("ps", "-p", strconv.Itoa(pid), "-o", "args=").Output()
	return err == nil && strings.Contains(string(args), " -D "+h.data+" ")
}

// killOrphans ends what is left of a server that was killed: its processes that
// work in the data directory with no postmaster over them. They would keep the
// next server from starting. Where there is no /proc, PostgreSQL tells of them.
func (h *postgresHome) killOrphans() {
	poll(time.Second, func() bool {
		left := h.processes()
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(left) == 0
	})
}

// processes are those of PostgreSQL that work in the data directory.
func (h *postgresHome) processes() (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the only error is a bad pattern
	for _, link := range links {
		process := filepath.Dir(link)
		dir, dirErr := os.Readlink(link)
		program, programErr := os.Readlink(filepath.Join(process, "exe"))
		if dirErr != nil || programErr != nil || dir != h.data || filepath.Base(program) != "postgres" {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(process)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stopServer ends a PostgreSQL: cleanly within the timeout, else without
// finishing its work, which it then recovers from its log at the next start.
func stopServer(signal func(syscall.Signal), ended func(time.Duration) bool, timeout time.Duration) error {
	signal(syscall.SIGINT) // "fast": ends sessions, writes everything
	if ended(timeout) {
		return nil
	}
	signal(syscall.SIGQUIT) // "immediate"
	if ended(time.Second) {
		return fmt.Errorf("PostgreSQL did not stop within %v and was stopped at once: it recovers at the next start", timeout)
	}
	signal(syscall.SIGKILL)
	if ended(time.Second) {
		return fmt.Errorf("PostgreSQL did not stop within %v and was killed: it recovers at the next start", timeout)
	}
	return errors.New("PostgreSQL cannot be stopped: its process hangs in the kernel")
}

// poll asks until the answer is yes, at most for the given time.
func poll(wait time.Duration, done func() bool) bool {
	for end := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		if done() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
