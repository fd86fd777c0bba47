package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"golang.org/x/crypto/bcrypt"
)

// natsOptions say where the NATS server inside the process keeps its streams.
type natsOptions struct {
	Dir      string // of its store
	MaxBytes int64  // of the event stream
	Logger   *slog.Logger

	Listen          string       // host:port for subscribers; none: it is on no port
	Subscribers     []subscriber // who may connect there
	SubscribersFile string       // that names others later
	TLS             *tls.Config  // none: without TLS
}

// natsServer is a NATS server inside this process. Its streams may
// be lost at any time, PostgreSQL has every event, so nothing waits for the disk.
type natsServer struct {
	options  natsOptions
	password string // of the connections that may do everything
	mu       sync.Mutex
	server   *natsserver.Server // nil while it does not run
	running  chan struct{}
	runs     func() // closes running
}

func newNATS(options natsOptions) *natsServer {
	running := make(chan struct{})
	return &natsServer{options: options, password: rand.Text(), running: running, runs: sync.OnceFunc(func() { close(running) })}
}

// URL has the name and password for [natsServer.InProcessConn], and leads nowhere.
func (n *natsServer) URL() string { return "nats://carelog:" + n.password + "@in-process" }

// Running is closed when the server takes connections for the first time. It stays open
// when Run fails before that.
func (n *natsServer) Running() <-chan struct{} { return n.running }

// InProcessConn makes it a [nats.InProcessServer]; an error while the server
// does not run.
func (n *natsServer) InProcessConn() (net.Conn, error) {
	n.mu.Lock()
	server := n.server
	n.mu.Unlock()
	if server == nil {
		return nil, errors.New("the NATS server inside the process is not running")
	}
	return server.InProcessConn()
}

// Run starts the server and stops it when ctx ends. It runs once. In between the server
// starts again whenever the file of subscribers names others: it can take accounts while
// it runs, too, but JetStream does not answer those then.
func (n *natsServer) Run(ctx context.Context) error {
	if err := makeDir(filepath.Dir(n.options.Dir)); err != nil {
		return err
	}
	if err := os.Mkdir(n.options.Dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%w: mend that, or set CARELOG_DATA_DIR to a directory of yours", err)
	}
	lock, err := lockDir(n.options.Dir) // the server itself does not, and two would ruin the store
	if err != nil {
		return err
	}
	defer unlockDir(lock)
	for first := true; ctx.Err() == nil; first = false {
		err := n.serve(ctx)
		switch {
		case err != nil && first:
			return err
		case err != nil: // the process has better to do than NATS
			n.options.Logger.Error("the NATS server does not start again, trying on: subscribers get events when it does", "error", err)
			pause(ctx, time.Second)
		}
	}
	return nil
}

// serve runs the server until ctx ends, or until there are other subscribers.
func (n *natsServer) serve(ctx context.Context) error {
	logger := &natsLogger{logger: n.options.Logger}
	options, err := n.serverOptions()
	if err != nil {
		return err
	}
	server, err := natsserver.NewServer(options)
	if err != nil {
		return fmt.Errorf("make the NATS server: %w", err)
	}
	server.SetLoggerV2(logger, false, false, false)
	server.Start()
	defer server.WaitForShutdown()
	defer server.Shutdown()
	if !server.ReadyForConnections(30*time.Second) || !server.JetStreamEnabled() {
		return fmt.Errorf("the NATS server does not start (%s): its store %s can be removed without loss, all events are in PostgreSQL",
			logger.last(), n.options.Dir)
	}
	n.set(server)
	defer n.set(nil)
	n.runs()
	if n.options.Listen == "" {
		<-ctx.Done()
		return nil
	}
	if len(n.options.Subscribers) == 0 {
		n.options.Logger.Warn("nobody can connect: the file names no subscribers", "file", n.options.SubscribersFile)
	} else {
		n.options.Logger.Info("subscribers can connect", "url", server.ClientURL(), "subscribers", len(n.options.Subscribers))
	}
	n.options.Subscribers = otherSubscribers(ctx, n.options.SubscribersFile, n.options.Subscribers, n.options.Logger)
	return nil
}

func (n *natsServer) set(server *natsserver.Server) {
	n.mu.Lock()
	n.server = server
	n.mu.Unlock()
}

// serverOptions are those of the NATS server. Without an address it has the same
// accounts, so the event stream stays where it is when one is set later.
func (n *natsServer) serverOptions() (*natsserver.Options, error) {
	own, err := bcrypt.GenerateFromPassword([]byte(n.password), bcrypt.MinCost) // the server warns of plain ones
	if err != nil {
		return nil, err
	}
	former, err := durableConsumers(n.options.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for consumers in the store of the NATS server: %w", err)
	}
	accounts, err := natsAccounts(strconv.Quote(string(own)), n.options.Subscribers, former)
	if err != nil {
		return nil, err
	}
	options := &natsserver.Options{
		ServerName:             "carelog",
		DontListen:             true,
		NoSigs:                 true,
		MaxPayload:             1 << 20,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               n.options.Dir,
		SyncInterval:           time.Second,
		JetStreamMaxMemory:     64 << 20,
		JetStreamMaxStore:      n.options.MaxBytes + 64<<20, // beside the event stream there are consumers' states
	}
	if err := options.ProcessConfigString(accounts); err != nil {
		return nil, fmt.Errorf("configure the NATS server: %w", err)
	}
	if n.options.Listen != "" {
		err = n.listen(options)
	}
	return options, err
}
