package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgresOptions say where and how a private PostgreSQL runs.
type postgresOptions struct {
	Dir         string        // holds everything of it; absolute
	BinDir      string        // of its programs; "" looks for them
	StopTimeout time.Duration // for a clean stop; past it, it is stopped at once
	Throwaway   bool          // for tests: fast, and lost with the power
	Logger      *slog.Logger
}

// postgres is a PostgreSQL server that belongs to this process: made when it
// is not there yet, started again when it dies, and stopped with the process.
//
// It is reached through a socket in a directory that only its own user and
// root can enter, and listens on no port, so it needs no password.
type postgres struct {
	options postgresOptions
	home    *postgresHome
	running chan struct{}
	once    sync.Once
}

func newPostgres(options postgresOptions) *postgres {
	return &postgres{options: options, running: make(chan struct{})}
}

// Running is closed when the server takes connections for the first time. It
// stays open when Run fails before that.
func (p *postgres) Running() <-chan struct{} { return p.running }

// URL of the database "carelog", once Running is closed. The server's user of
// the same name is its superuser.
func (p *postgres) URL() string { return p.database("carelog") }

func (p *postgres) database(name string) string { return socketURL(p.home.socket, name) }

// socketURL is that of a database of the private server with this directory of
// the socket.
func socketURL(dir, name string) string {
	query := url.Values{"host": {dir}, "port": {"5432"}, "sslmode": {"disable"}}
	return (&url.URL{Scheme: "postgres", User: url.User("carelog"), Path: "/" + name, RawQuery: query.Encode()}).String()
}

// Run starts the server, keeps it running until ctx ends, and stops it. A
// server that cannot be started at all is an error; one that dies later is
// started again, as often as need be.
func (p *postgres) Run(ctx context.Context) (err error) {
	// The kernel ties the server's life to the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p.home, err = openPostgresHome(ctx, p.options.Dir, p.options.BinDir, p.options.Throwaway)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("start a private PostgreSQL: %w", err)
	}
	defer p.home.close()
	if target, err := os.Readlink(p.options.Dir); err == nil {
		p.options.Logger.Info("PostgreSQL's files are outside of the data directory, which its user cannot reach", "link", p.options.Dir, "target", target)
	}
	const first, longest = 100 * time.Millisecond, 5 * time.Second
	for pause := first; ; pause = min(2*pause, longest) {
		started := time.Now()
		err := p.serve(ctx)
		if ctx.Err() != nil {
			return err
		}
		select {
		case <-p.running:
		default:
			if !strings.Contains(err.Error(), sessionsLeft) {
				return fmt.Errorf("start a private PostgreSQL: %w", err)
			}
		}
		if time.Since(started) > time.Minute {
			pause = first
		}
		p.options.Logger.Error("PostgreSQL has ended and is started again", "pause", pause, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// sessionsLeft is what PostgreSQL reports when sessions of a server that was
// killed are still busy. They end by themselves.
const sessionsLeft = "pre-existing shared memory block"

// serve runs the server until it ends by itself, which is an error, or ctx ends.
func (p *postgres) serve(ctx context.Context) error {
	if err := p.home.clearLeftover(p.options.StopTimeout); err != nil {
		return err
	}
	log, err := p.openLog()
	if err != nil {
		return err
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd := p.command(log)
	if err := cmd.Start(); err != nil {
		return p.home.startError("postgres", err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	ended := func(wait time.Duration) bool {
		select {
		case <-exited:
			return true
		case <-time.After(wait):
			return false
		}
	}
	stop := func() error {
		err := stopServer(func(s syscall.Signal) { cmd.Process.Signal(s) }, ended, p.options.StopTimeout)
		if err != nil {
			p.home.killOrphans()
		}
		return err
	}
	ready := false
	for pause := 10 * time.Millisecond; !ready; pause = min(2*pause, 200*time.Millisecond) {
		err := p.connect(ctx)
		ready = err == nil
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok && !passing(refused.Code) {
			return errors.Join(fmt.Errorf("prepare the database: %w", err), stop())
		}
		if ctx.Err() != nil {
			return stop()
		}
		if !ready && ended(pause) {
			return fmt.Errorf("PostgreSQL ended (%v):\n%s", cmd.ProcessState, tail(log.Name(), begin))
		}
	}
	p.options.Logger.Info("PostgreSQL is running", "pid", cmd.Process.Pid, "version", p.home.install.major,
		"data", p.home.data, "url", p.URL())
	p.once.Do(func() { close(p.running) })
	select {
	case <-exited:
		return fmt.Errorf("PostgreSQL ended (%v):\n%s", cmd.ProcessState, tail(log.Name(), begin))
	case <-ctx.Done():
		return stop()
	}
}

// passing tells of an SQLSTATE whether it ends by waiting: the server is
// starting or recovering (class 57), or others were faster to connect (class 53).
func passing(code string) bool {
	return strings.HasPrefix(code, "57") || strings.HasPrefix(code, "53")
}

// connect succeeds when the server takes connections and has the database.
func (p *postgres) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.database("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var exists bool
	err = conn.QueryRow(ctx, "select exists (select from pg_database where datname = 'carelog')").Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, "create database carelog")
	}
	return err
}

func (p *postgres) command(log *os.File) *exec.Cmd {
	settings := []string{
		"listen_addresses=", // the socket alone
		"port=5432",
		"unix_socket_directories=" + p.home.socket,
		"unix_socket_permissions=0700",
		"shared_buffers=128MB",
		// Details and statements of errors can quote what people have entered.
		"log_error_verbosity=terse",
		"log_min_error_statement=panic",
		"log_checkpoints=off",
	}
	if p.options.Throwaway {
		settings = append(settings, "max_connections=500", "fsync=off", "full_page_writes=off")
	} else {
		settings = append(settings, "max_connections=100", "fsync=on", "synchronous_commit=on")
	}
	args := []string{"-D", p.home.data}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command(filepath.Join(p.home.install.bin, "postgres"), args...)
	cmd.Dir, cmd.Env = "/", postgresEnv
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = p.home.account.procAttr()
	return cmd
}

// openLog opens the server's log to append. One that has grown large is put
// aside first, in place of the one before.
func (p *postgres) openLog() (*os.File, error) {
	path := filepath.Join(p.home.dir, "postgres.log")
	if info, err := os.Lstat(path); err == nil && info.Size() > 16<<20 {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("put PostgreSQL's old log aside: %w", err)
		}
	}
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL's log: %w", err)
	}
	return log, nil
}

// tail answers the last lines that a log got from begin on.
func tail(path string, begin int64) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content[min(begin, int64(len(content))):])), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n") + "\n(from " + path + ")"
}
