package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// joinWithin is how long a command waits for a server that is just starting or
// ending.
const joinWithin = 30 * time.Second

// withPrivateDatabase does the work on the private PostgreSQL of the data
// directory: that of the running server, else one that runs as long as the work.
// Which of both is decided by the lock of the directory, so a server cannot start
// in between.
func withPrivateDatabase(ctx context.Context, config Config, logger *slog.Logger, work func(ctx context.Context, url string) error) error {
	dir := filepath.Join(config.DataDir, "postgres")
	switch _, err := os.Stat(filepath.Join(dir, "data")); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no database in %s: set CARELOG_DATA_DIR (or --data-dir) to the server's data directory; `carelog serve` makes a new one", config.DataDir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s belongs to another user: run carelog as that user or as root", config.DataDir)
	}
	for deadline := time.Now().Add(joinWithin); ; {
		server := newPostgres(postgresOptions{Dir: dir, BinDir: config.PostgresBin, StopTimeout: config.ShutdownTimeout, Logger: logger})
		err := whileRunning(ctx, server, work)
		inUse, ok := errors.AsType[*inUseError](err)
		if !ok {
			return err
		}
		joined, err := joinPostgres(ctx, dir)
		if err == nil {
			defer joined.Close(context.WithoutCancel(ctx))
			return work(ctx, joined.Config().ConnString())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the PostgreSQL of the carelog that uses %s (process %s) does not answer: %w", inUse.dir, inUse.holder, err)
		}
		if !pause(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// whileRunning runs the server as long as the work takes.
func whileRunning(ctx context.Context, server *postgres, work func(ctx context.Context, url string) error) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var parts errgroup.Group
	ended := make(chan struct{})
	parts.Go(func() error {
		defer close(ended)
		return server.Run(running)
	})
	parts.Go(func() error {
		defer stop()
		select {
		case <-server.Running():
		case <-ended:
			return nil // its error says why
		case <-ctx.Done():
			return ctx.Err()
		}
		return errors.Join(work(ctx, server.URL()), awaitOthers(ctx, server.URL()))
	})
	return parts.Wait()
}

// awaitOthers waits until other commands that have joined our server are done,
// for half a minute at most.
func awaitOthers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil // then nobody else is at work either
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		var others int
		err := conn.QueryRow(ctx, `select count(*) from pg_stat_activity
			where application_name like 'carelog%' and pid <> pg_backend_pid()`).Scan(&others)
		if err != nil || others == 0 || !pause(ctx, 50*time.Millisecond) {
			return nil
		}
	}
}

// joinPostgres connects to the private server of another process. As long as the
// connection is there, a command that runs that server keeps it running.
func joinPostgres(ctx context.Context, dir string) (*pgx.Conn, error) {
	socket, err := socketDir(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(socketURL(socket, "carelog"))
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = "carelog operator"
	config.ConnectTimeout = 5 * time.Second
	return pgx.ConnectConfig(ctx, config)
}

// socketDir is the directory of the socket of the server that wrote the file: its
// fifth line. The file is that of PostgreSQL's user, and root may read it here,
// so it is taken for no more than a text.
func socketDir(path string) (string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("look for the running PostgreSQL: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 4096))
	if err != nil {
		return "", fmt.Errorf("look for the running PostgreSQL: %w", err)
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 6 || !filepath.IsAbs(lines[4]) {
		return "", errors.New("PostgreSQL has not said yet where its socket is")
	}
	return lines[4], nil
}
