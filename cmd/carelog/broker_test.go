package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// broker is a NATS server as a process of its own, the real program.
type broker struct {
	dir     string // its store
	port    string
	command *exec.Cmd
	exited  chan struct{}
}

// natsServerProgram builds nats-server, out of its module. The file stays: a later
// build finds that nothing has changed.
var natsServerProgram = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	path := filepath.Join(cache, "carelog-tests", "nats-server")
	output, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		os.Stderr.Write(output)
	}
	return path, err
})

// newBroker starts a NATS server on a free port.
func newBroker(t *testing.T) *broker {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{dir: filepath.Join(t.TempDir(), "store"), port: strconv.Itoa(free.Addr().(*net.TCPAddr).Port)}
	free.Close()
	b.start(t)
	t.Cleanup(func() {
		b.signal(t, syscall.SIGCONT)
		b.end(t, syscall.SIGKILL)
	})
	return b
}

func (b *broker) url() string { return "nats://127.0.0.1:" + b.port }

// start returns when it takes connections.
func (b *broker) start(t *testing.T) {
	t.Helper()
	program, err := natsServerProgram()
	if err != nil {
		t.Fatalf("build nats-server: %v", err)
	}
	b.command = exec.Command(program, "-a", "127.0.0.1", "-p", b.port, "-js", "-sd", b.dir)
	if err := b.command.Start(); err != nil {
		t.Fatal(err)
	}
	exited, command := make(chan struct{}), b.command
	b.exited = exited
	go func() {
		_ = command.Wait()
		close(exited)
	}()
	eventually(t, "NATS takes connections", 20*time.Second, func() bool {
		conn, err := nats.Connect(b.url())
		if err != nil {
			return false
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			return false
		}
		_, err = js.AccountInfo(t.Context())
		return err == nil
	})
}

func (b *broker) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	select {
	case <-b.exited:
	default:
		_ = b.command.Process.Signal(s) // it may just have ended
	}
}

// end signals it and waits until it is gone.
func (b *broker) end(t *testing.T, s syscall.Signal) {
	t.Helper()
	b.signal(t, s)
	select {
	case <-b.exited:
	case <-time.After(20 * time.Second):
		t.Error("NATS does not end")
	}
}

// stream does something with the NATS stream, by a connection of its own.
func (b *broker) stream(t *testing.T, do func(jetstream.JetStream, jetstream.Stream) error) {
	t.Helper()
	conn, err := nats.Connect(b.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "CARELOG")
	if err == nil {
		err = do(js, stream)
	}
	if err != nil {
		t.Error(err)
	}
}
