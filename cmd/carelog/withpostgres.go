package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// testDatabaseVariable names the server that tests make their databases on.
const testDatabaseVariable = "CARELOG_TEST_DATABASE_URL"

// childExit is the status of a command that was run for somebody else.
type childExit struct {
	code int
}

func (e *childExit) Error() string { return fmt.Sprintf("the command ended with status %d", e.code) }

func newFindPostgresCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "find-postgres",
		Hidden: true, // of the Makefile
		Short:  "Say which PostgreSQL a private one would be made with",
		Args:   checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			bin, err := postgresBin(cmd)
			if err != nil {
				return err
			}
			install, err := findPostgres(bin, 0)
			if errors.Is(err, errNoPostgres) {
				return &notFoundError{err.Error()} // which the Makefile mends
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), install.bin)
			return err
		},
	}
}

func newWithPostgresCommand() *cobra.Command {
	durable := false
	cmd := &cobra.Command{
		Use:    "with-postgres [--durable] -- command [argument ...]",
		Hidden: true, // of the Makefile
		Short:  "Run a command with a throwaway PostgreSQL, for tests",
		Long: `Run a command with a PostgreSQL that is made for it and removed after it. The
server's URL is in ` + testDatabaseVariable + `. It does not wait for the disk, so
nothing in it would survive a loss of power, unless it is to be durable.

The exit status is that of the command.`,
		Args: checked(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			bin, err := postgresBin(cmd)
			if err != nil {
				return err
			}
			child := exec.Command(args[0], args[1:]...)
			child.Stdin, child.Stdout, child.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return withPostgres(cmd.Context(), bin, durable, cmd.ErrOrStderr(), child)
		},
	}
	cmd.Flags().BoolVar(&durable, "durable", false, "set PostgreSQL up as carelog serve does, to measure with it")
	cmd.Flags().SetInterspersed(false) // what looks like a flag behind the command is the command's
	return cmd
}

// postgresBin is the one setting that these commands need; mistakes in others
// do not matter to them.
func postgresBin(cmd *cobra.Command) (dir string, err error) {
	env, err := readEnvironment(cmd.Flags(), ".")
	if err != nil {
		return "", err
	}
	if v, ok := env.lookup("", "CARELOG_PG_BIN", "PG_BIN"); ok {
		err = setDir(&dir, v.text)
	}
	return dir, err
}

// withPostgres runs child while a throwaway server runs. Signals go to the
// child, which decides when to end. A durable server is the same as that of
// [newProgram], for measurements.
func withPostgres(ctx context.Context, binDir string, durable bool, stderr io.Writer, child *exec.Cmd) (err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	dir, err := os.MkdirTemp(temporaryPlace(), "carelog-postgres-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if os.Geteuid() == 0 { // PostgreSQL's user passes through
		if err := os.Chmod(dir, 0o711); err != nil {
			return err
		}
	}
	server := newPostgres(postgresOptions{
		Dir: filepath.Join(dir, "postgres"), BinDir: binDir, Throwaway: !durable, StopTimeout: 10 * time.Second,
		Logger: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	ctx, stop := context.WithCancel(ctx)
	var group errgroup.Group
	group.Go(func() error {
		defer stop()
		return server.Run(ctx)
	})
	group.Go(func() error {
		defer stop()
		select {
		case <-server.Running():
			return runChild(ctx, child, server.URL(), signals)
		case <-signals:
			return &childExit{exitError}
		case <-ctx.Done():
			return nil
		}
	})
	return group.Wait()
}

// temporaryPlace is a directory for temporary files that PostgreSQL's user can
// reach: root's own may be closed to others.
func temporaryPlace() string {
	place, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return "/tmp"
	}
	account, err := accountFor("")
	if err != nil {
		return place
	}
	if barrier, err := account.barrier(place); err != nil || barrier != "" {
		return "/tmp"
	}
	return place
}

func runChild(ctx context.Context, child *exec.Cmd, url string, signals <-chan os.Signal) error {
	child.Env = append(child.Environ(), testDatabaseVariable+"="+url)
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	done := ctx.Done()
	for {
		select {
		case s := <-signals:
			child.Process.Signal(s)
		case <-done:
			child.Process.Signal(syscall.SIGTERM)
			done = nil // once
		case err := <-ended:
			exit, failed := errors.AsType[*exec.ExitError](err)
			if !failed {
				return err
			}
			if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				return &childExit{128 + int(status.Signal())} // as shells have it
			}
			return &childExit{exit.ExitCode()}
		}
	}
}
