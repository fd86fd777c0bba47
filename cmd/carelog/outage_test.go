package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/eventstore/pgtest"
)

const somePatient = `{"first_name":"Alice","last_name":"Smith","age":30,"gender":"Female"}`

// startPostgres runs a PostgreSQL that the test may stop and start again.
func startPostgres(t *testing.T, dir string) (url string, stop func()) {
	t.Helper()
	server := newPostgres(postgresOptions{Dir: dir, StopTimeout: 10 * time.Second, Throwaway: true, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("PostgreSQL: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-server.Running():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return server.URL(), stop
}

// TestTheDatabaseComesAndGoes starts the program before its database, then takes
// the database away under load and brings it back.
func TestTheDatabaseComesAndGoes(t *testing.T) {
	dir := filepath.Join(dataDir(t), "postgres")
	database, stopDatabase := startPostgres(t, dir)
	stopDatabase()

	config := testConfig(t, map[string]string{"DATABASE_URL": database, "CARELOG_JWT_SECRET": testSecret})
	log := &logBuffer{}
	program, err := newProgram(config, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- program.Run(ctx) }()
	server := &running{program: program, url: program.URL(), log: log, client: newClient(t)}
	t.Cleanup(func() {
		cancel()
		server.client.CloseIdleConnections()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if got := server.send(t, "GET", "/livez", nil, nil); got.status != 200 {
		t.Errorf("starting, /livez answers %d", got.status)
	}
	if got := server.send(t, "GET", "/readyz", nil, nil); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("starting, /readyz answers %d", got.status)
	}
	if got := server.scrape(t); got["carelog_build_info"] == nil || got["carelog_log_position"] != nil {
		t.Errorf("starting, /metrics answers %v", got)
	}
	_, stopDatabase = startPostgres(t, dir)
	select {
	case <-program.Running():
	case <-time.After(20 * time.Second):
		t.Fatalf("the program does not start:\n%s", log)
	}
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")

	var created, refused atomic.Int64
	loading, stopLoad := context.WithCancel(context.Background())
	var load errgroup.Group
	for range 4 {
		load.Go(func() error {
			for loading.Err() == nil {
				started := time.Now()
				got, err := server.as(access, "POST", "/api/patients/", somePatient)
				switch took := time.Since(started); {
				case err != nil:
					return err
				case took > 15*time.Second:
					return fmt.Errorf("an answer took %v", took)
				case got.status == 201:
					created.Add(1)
				case got.status == 503 && got.header.Get("Retry-After") != "":
					refused.Add(1)
				default:
					return fmt.Errorf("%d %s", got.status, got.body)
				}
			}
			return nil
		})
	}
	t.Cleanup(stopLoad)
	for round := range 2 {
		before := created.Load()
		eventually(t, "patients are created", 20*time.Second, func() bool { return created.Load() > before+20 })
		stopDatabase()
		before = refused.Load()
		eventually(t, "patients are refused", 20*time.Second, func() bool { return refused.Load() > before+5 })
		if got := server.mustAs(t, access, "GET", "/api/patients/", "", 503); got.header.Get("Retry-After") == "" {
			t.Errorf("reading: %v", got.header)
		}
		got := server.send(t, "GET", "/readyz", nil, nil)
		if got.status != 503 || !strings.Contains(string(got.body), `{"name":"postgres","ok":false,"error":"cannot be reached"}`) {
			t.Errorf("/readyz answers %d %s", got.status, got.body)
		}
		_, stopDatabase = startPostgres(t, dir)
		back := time.Now()
		eventually(t, "it serves again", 10*time.Second, func() bool {
			got, err := server.as(access, "POST", "/api/patients/", somePatient)
			if err == nil && got.status == 201 {
				created.Add(1)
			}
			return err == nil && got.status == 201
		})
		t.Logf("round %d: served again after %v", round+1, time.Since(back))
	}
	stopLoad()
	if err := load.Wait(); err != nil {
		t.Fatal(err)
	}
	list := server.mustAs(t, access, "GET", "/api/patients/", "", 200)
	if there := strings.Count(string(list.body), `"id":`); int64(there) < created.Load() {
		t.Errorf("%d patients are there and %d were answered", there, created.Load())
	}
	cancel()
	stopAfter := time.Now()
	eventually(t, "it stops", 20*time.Second, func() bool { return len(ended) == 1 })
	t.Logf("stopped after %v", time.Since(stopAfter))
}

// startNATS runs a NATS server on a port. Port -1 lets the kernel choose.
func startNATS(t testing.TB, dir string, port int) *natsserver.Server {
	t.Helper()
	server, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(func() {
		server.Shutdown()
		server.WaitForShutdown()
	})
	if !server.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	return server
}

// TestNATSComesAndGoes: while NATS is away writes go on, only slower; when it is
// back events come over it again.
func TestNATSComesAndGoes(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	dir := t.TempDir()
	server := start(t, testConfig(t, map[string]string{
		"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "NATS_URL": fmt.Sprintf("nats://127.0.0.1:%d", port),
	}))
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	write := func() reply { return server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201) }
	for range 3 {
		if got := write(); got.header.Get("Carelog-Projected") != "" {
			t.Errorf("without NATS a write is not visible in time: %v", got.header)
		}
	}
	ready := func() string { return string(server.send(t, "GET", "/readyz", nil, nil).body) }
	if state := ready(); !strings.Contains(state, `"ready":true`) || !strings.Contains(state, `{"name":"nats","ok":false`) {
		t.Errorf("without NATS: %s", state)
	}
	overBus := func() bool {
		before := ready()
		write()
		return strings.Split(before, `"from_log":`)[1] == strings.Split(ready(), `"from_log":`)[1]
	}
	for range 2 {
		broker := startNATS(t, dir, port)
		eventually(t, "events come over the bus", 20*time.Second, overBus)
		broker.Shutdown()
		broker.WaitForShutdown()
		write()
	}
	list := server.mustAs(t, access, "GET", "/api/patients/", "", 200)
	position := server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201).header.Get("Carelog-Position")
	if there := strings.Count(string(list.body), `"id":`); fmt.Sprint(there+2) != position {
		t.Errorf("%d patients are there, and the log has %s events", there, position)
	}
}

// TestSeveralProcessesOnOneDatabase: with one NATS they share it, and the second
// takes over when the first ends; without they refuse.
func TestSeveralProcessesOnOneDatabase(t *testing.T) {
	t.Parallel()
	broker := startNATS(t, t.TempDir(), -1)
	vars := map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "NATS_URL": broker.ClientURL()}
	first, second := start(t, testConfig(t, vars)), start(t, testConfig(t, vars))
	access, _ := first.register(t, "John Doe", "john@example.com", "securepassword123")
	for i := range 20 {
		writer, reader := first, second
		if i%2 == 1 {
			writer, reader = second, first
		}
		patient := writer.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
		list := reader.mustAs(t, access, "GET", "/api/patients/", "", 200)
		if !strings.Contains(string(list.body), string(patient.body)) {
			t.Fatalf("what one process answered the other does not know: %s", patient.body)
		}
	}
	alone := testConfig(t, map[string]string{"DATABASE_URL": vars["DATABASE_URL"], "CARELOG_JWT_SECRET": testSecret})
	program, err := newProgram(alone, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "NATS_URL") {
		t.Errorf("one without a NATS_URL: %v", err)
	}
	first.stop()
	stopped := time.Now()
	eventually(t, "the second takes over", 10*time.Second, func() bool {
		got, err := second.as(access, "POST", "/api/patients/", somePatient)
		return err == nil && got.status == 201 && got.header.Get("Carelog-Projected") == ""
	})
	t.Logf("took over after %v", time.Since(stopped))
}

// TestServersSideBySide: several servers, each with its own data directory.
func TestServersSideBySide(t *testing.T) {
	one, two := start(t, privateConfig(t)), start(t, privateConfig(t))
	access, _ := one.register(t, "John Doe", "john@example.com", "securepassword123")
	if got, err := two.as(access, "GET", "/api/patients/", ""); err != nil || got.status != 401 {
		t.Errorf("another server takes the token: %d, %v", got.status, err)
	}
	program, err := newProgram(one.program.config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use by another carelog") {
		t.Errorf("a second server in one data directory: %v", err)
	}
}

// TestEverythingIsThereAfterARestart: stop, start again, in the same data
// directory.
func TestEverythingIsThereAfterARestart(t *testing.T) {
	config := privateConfig(t)
	server := start(t, config)
	access, refresh := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	before := server.mustAs(t, access, "GET", "/api/patients/", "", 200)
	server.stop()

	server = start(t, config)
	after := server.mustAs(t, access, "GET", "/api/patients/", "", 200)
	if string(after.body) != string(before.body) {
		t.Errorf("%s was there, and now %s", before.body, after.body)
	}
	server.login(t, "john@example.com", "securepassword123")
	got := server.send(t, "POST", "/api/auth/refresh/", http.Header{"Content-Type": {"application/json"}}, strings.NewReader(fmt.Sprintf(`{"refresh":%q}`, refresh)))
	if got.status != 200 {
		t.Errorf("refresh: %d %s", got.status, got.body)
	}
	if state := string(server.send(t, "GET", "/readyz", nil, nil).body); !strings.Contains(state, `"applied":{"from_bus":0,"from_log":0}`) {
		t.Errorf("after a restart events were applied again: %s", state)
	}
}

// TestLoadOnAFreshLog: 32 clients on an empty log get 201 only, at a pace; a stop
// in good order in the midst of it drains what was accepted.
func TestLoadOnAFreshLog(t *testing.T) {
	database := pgtest.New(t)
	server := start(t, testConfig(t, map[string]string{"DATABASE_URL": database, "CARELOG_JWT_SECRET": testSecret, "CARELOG_LOG_LEVEL": "warn"}), waitsForBus)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	var created atomic.Int64
	loading, stopLoad := context.WithCancel(context.Background())
	defer stopLoad()
	var stopping atomic.Bool
	var load errgroup.Group
	for range 32 {
		load.Go(func() error {
			for loading.Err() == nil {
				got, err := server.as(access, "POST", "/api/patients/", somePatient)
				if stopping.Load() && (err != nil || got.status == 503) {
					return nil
				}
				if err != nil || got.status != 201 || got.header.Get("Carelog-Projected") != "" {
					return fmt.Errorf("%d %s %v, %w", got.status, got.body, got.header, err)
				}
				created.Add(1)
			}
			return nil
		})
	}
	started := time.Now()
	eventually(t, "3,000 patients are created", time.Minute, func() bool { return created.Load() >= 3000 })
	t.Logf("%.0f patients a second", 3000/time.Since(started).Seconds())
	if state := string(server.send(t, "GET", "/readyz", nil, nil).body); !strings.Contains(state, `"from_log":0`) {
		t.Errorf("under load events were read from the log: %s", state)
	}
	stopping.Store(true)
	server.stop()
	stopLoad()
	if err := load.Wait(); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var head, checkpoint, rows int64
	err = conn.QueryRow(t.Context(), `select (select max(position) from events), (select min(position) from projections.checkpoints), (select count(*) from projections.patients)`).Scan(&head, &checkpoint, &rows)
	if err != nil {
		t.Fatal(err)
	}
	if checkpoint != head || rows != head-1 || rows < created.Load() {
		t.Errorf("the log has %d events, the tables contain %d, with %d patients; %d were answered", head, checkpoint, rows, created.Load())
	}
}

// TestMistakesOfTheOperator end the program with one line that tells the mend.
func TestMistakesOfTheOperator(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	config := testConfig(t, map[string]string{"CARELOG_ADDR": taken.Addr().String()})
	if _, err := newProgram(config, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "CARELOG_ADDR") {
		t.Errorf("a taken address: %v", err)
	}
	parsed, err := url.Parse(pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	parsed.Path = "/nosuchdatabase"
	config = testConfig(t, map[string]string{"DATABASE_URL": parsed.String(), "CARELOG_JWT_SECRET": testSecret})
	program, err := newProgram(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "nosuchdatabase") {
		t.Errorf("a database that is not there: %v", err)
	}
}

// TestAStopHasADeadline: a PostgreSQL that hangs does not keep the program from
// stopping, nor the next one from starting.
func TestAStopHasADeadline(t *testing.T) {
	config := privateConfig(t)
	config.ShutdownTimeout = 6 * time.Second
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	frozen := server.program.postgres.home.processes()
	if len(frozen) < 5 {
		t.Skip("this system does not tell PostgreSQL's processes")
	}
	for _, pid := range frozen {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	server.cancel()
	if err := <-server.ended; err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("it ended with %v", err)
	}
	server.ended <- nil
	if took := time.Since(began); took > 2*config.ShutdownTimeout {
		t.Errorf("it stopped after %v", took)
	}
	if left := server.program.postgres.home.processes(); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	server = start(t, config)
	if list := server.mustAs(t, access, "GET", "/api/patients/", "", 200); strings.Count(string(list.body), `"id":`) != 1 {
		t.Errorf("%s", list.body)
	}
}

// TestServingFailsWhileTheDatabaseIsAwaited: without a listener there is nothing
// to wait for.
func TestServingFailsWhileTheDatabaseIsAwaited(t *testing.T) {
	program, err := newProgram(testConfig(t, map[string]string{
		"DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing", "CARELOG_JWT_SECRET": testSecret,
	}), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Run(t.Context()) }()
	if err := program.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it ended without a word")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for ever")
	}
}
