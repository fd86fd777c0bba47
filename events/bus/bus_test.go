package bus

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/carelog/carelog/events"
)

func TestMain(m *testing.M) {
	// Watermill's suite leaves these of its own behind.
	const suite = "github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe."
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(suite+"func2"), goleak.IgnoreAnyFunction(suite+"func3"))
}

var (
	testLog  = uuid.MustParse("0198a000-0000-7000-8000-000000000001")
	otherLog = uuid.MustParse("0198a000-0000-7000-8000-000000000002")
)

// runServer starts a NATS server that only this process can reach, and stops
// it at the end of the test.
func runServer(t testing.TB) *server.Server {
	t.Helper()
	return startServer(t, server.Options{DontListen: true, StoreDir: t.TempDir()})
}

func startServer(t testing.TB, options server.Options) *server.Server {
	t.Helper()
	options.ServerName = "test"
	options.JetStream = true
	options.JetStreamMaxMemory = 64 << 20
	options.JetStreamMaxStore = 2 << 30
	options.NoSigs = true
	s, err := server.NewServer(&options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// restartable is a NATS server on a TCP port that can be stopped and started
// again on the same port and store.
type restartable struct {
	t       *testing.T
	options server.Options
	server  *server.Server
}

func runRestartable(t *testing.T) *restartable {
	t.Helper()
	r := &restartable{t: t, options: server.Options{Host: "127.0.0.1", Port: freePort(t), StoreDir: t.TempDir()}}
	r.start()
	return r
}

func (r *restartable) start()      { r.t.Helper(); r.server = startServer(r.t, r.options) }
func (r *restartable) stop()       { stopServer(r.server) }
func (r *restartable) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", r.options.Port) }

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func connect(t testing.TB, cfg ConnConfig) *Conn {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	conn, err := Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// testBus is a fresh server and a connection to it.
func testBus(t testing.TB) *Conn {
	t.Helper()
	return connect(t, ConnConfig{InProcess: runServer(t)})
}

// newCarrier returns a carrier that has resumed, so the NATS stream exists.
func newCarrier(t testing.TB, conn *Conn) *Carrier {
	t.Helper()
	c := NewCarrier(CarrierConfig{Conn: conn, LogID: testLog, Logger: slog.New(slog.DiscardHandler)})
	if _, err := c.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// recorded makes events with the positions from first to last.
func recorded(first, last events.Position) []events.Recorded {
	var evs []events.Recorded
	for p := first; p <= last; p++ {
		evs = append(evs, events.Recorded{
			Event: events.Event{
				ID:            uuid.NewSHA1(testLog, fmt.Append(nil, p)),
				Type:          events.PatientRegisteredType,
				SchemaVersion: 1,
				Tags:          []events.Tag{events.PatientTag(int64(p)), events.OwnerTag(1)},
				Data:          fmt.Appendf(nil, `{"patient_id":%d,"age":30}`, p),
				Metadata:      []byte(`{"actor":{"user_id":1},"correlation_id":"c"}`),
			},
			Position:   p,
			RecordedAt: time.Date(2025, 9, 1, 23, 35, 9, 123456000, time.UTC),
		})
	}
	return evs
}

// group makes events of one append transaction.
func group(first, last events.Position) []events.Recorded {
	evs := recorded(first, last)
	for i := range evs {
		evs[i].GroupEnd = last
	}
	return evs
}

// publishRaw puts a message onto the NATS stream without any fence.
func publishRaw(t *testing.T, conn *Conn, log uuid.UUID, evs ...events.Recorded) {
	t.Helper()
	for _, e := range evs {
		if _, err := conn.js.PublishMsg(t.Context(), natsMessage(AllSubjects, Encode(log, e))); err != nil {
			t.Fatal(err)
		}
	}
}

func lookUpStream(t *testing.T, conn *Conn) jetstream.Stream {
	t.Helper()
	stream, err := conn.js.Stream(t.Context(), StreamName)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// positionsOnStream reads the whole NATS stream; 0 stands for what is no event.
func positionsOnStream(t *testing.T, conn *Conn) []events.Position {
	t.Helper()
	stream := lookUpStream(t, conn)
	var positions []events.Position
	for seq := stream.CachedInfo().State.FirstSeq; seq <= stream.CachedInfo().State.LastSeq && seq > 0; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			continue // deleted
		}
		positions = append(positions, parsePosition(msg.Header.Get(HeaderPosition)))
	}
	return positions
}

func positions(first, last events.Position) []events.Position {
	var all []events.Position
	for p := first; p <= last; p++ {
		all = append(all, p)
	}
	return all
}

// eventually polls until ok answers true, and fails the test after 15 seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("did not happen: " + what)
		}
		wait(t.Context(), 2*time.Millisecond)
	}
}

// memoryLog is a log that holds positions 1 to head.
type memoryLog struct {
	mu    sync.Mutex
	head  events.Position
	fails error // once
	reads int
}

func (l *memoryLog) Read(_ context.Context, after events.Position, limit int) ([]events.Recorded, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if err := l.fails; err != nil {
		l.fails = nil
		return nil, err
	}
	return recorded(after+1, min(l.head, after+events.Position(limit))), nil
}

// logText collects what is logged.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logText) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}
