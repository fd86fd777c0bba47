package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carelog/carelog/eventstore/pgtest"
	"github.com/carelog/carelog/httpapi/openapi/openapitest"
)

// running is the real program, on a port of its own.
type running struct {
	program *program
	url     string
	secret  string
	log     *logBuffer
	stop    func() // stops it in good order and waits
	cancel  func() // tells it to stop
	ended   chan error
	client  *http.Client
}

// logBuffer keeps what a program logs.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// testConfig is a configuration like loadConfig makes it, with these variables.
func testConfig(t testing.TB, vars map[string]string) Config {
	t.Helper()
	all := map[string]string{
		"CARELOG_ADDR": "127.0.0.1:0", "CARELOG_DATA_DIR": filepath.Join(dataDir(t), "not", "there", "yet"), "CARELOG_LOG_LEVEL": "debug",
	}
	for name, value := range vars {
		all[name] = value
	}
	config, _, err := loadConfig(environment{vars: all}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// privateConfig has a PostgreSQL and a NATS server of its own.
func privateConfig(t testing.TB) Config { return testConfig(t, nil) }

// databaseConfig uses a fresh database of the tests' server.
func databaseConfig(t testing.TB) Config {
	return testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret})
}

const testSecret = "a secret of the tests that is long enough"

// start runs the program until the test ends or it is stopped.
func start(t testing.TB, config Config, change ...func(*program)) *running {
	t.Helper()
	return startBetween(t, config, between{}, change...)
}

// waitsForBus waits for it for longer than a machine stands still: with it, an event that
// is read from the log was not brought by NATS, and is not just late.
func waitsForBus(p *program) { p.silence = 30 * time.Second }

// startBetween is start with something in between.
func startBetween(t testing.TB, config Config, step between, change ...func(*program)) *running {
	t.Helper()
	log := &logBuffer{}
	program, err := newProgram(config, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: config.LogLevel})))
	if err != nil {
		t.Fatal(err)
	}
	program.between = step
	for _, c := range change {
		c(program)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- program.Run(ctx) }()
	client := newClient(t)
	stop := sync.OnceFunc(func() {
		cancel()
		client.CloseIdleConnections()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the program ended with %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the program does not stop")
		}
		if t.Failed() && testing.Verbose() {
			t.Logf("log of the program:\n%s", log)
		}
	})
	t.Cleanup(stop)
	select {
	case <-program.Running():
	case err := <-ended:
		ended <- err
		t.Fatalf("the program did not start: %v\n%s", err, log)
	case <-time.After(time.Minute):
		t.Fatalf("the program does not start:\n%s", log)
	}
	secret := config.JWTSecret
	if len(secret) == 0 {
		keys, err := jwtKeys(config.DataDir)
		if err != nil {
			t.Fatal(err)
		}
		secret = keys[0]
	}
	return &running{program: program, url: program.URL(), secret: string(secret), log: log, stop: stop, cancel: cancel, ended: ended, client: client}
}

// newClient is one whose answers must be those of the OpenAPI document.
func newClient(t testing.TB) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: openapitest.Transport(t, &http.Transport{MaxIdleConnsPerHost: 64})}
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r *running) send(t testing.TB, method, path string, header http.Header, body io.Reader) reply {
	t.Helper()
	got, err := r.try(method, path, header, body)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (r *running) try(method, path string, header http.Header, body io.Reader) (reply, error) {
	request, err := http.NewRequest(method, r.url+path, body)
	if err != nil {
		return reply{}, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return reply{answer.StatusCode, answer.Header, text}, err
}

// as sends JSON with a token.
func (r *running) as(token, method, path, body string) (reply, error) {
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token}}
	return r.try(method, path, header, strings.NewReader(body))
}

// mustAs is as, with the status that is expected.
func (r *running) mustAs(t testing.TB, token, method, path, body string, status int) reply {
	t.Helper()
	got, err := r.as(token, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != status {
		t.Fatalf("%s %s: %d %s", method, path, got.status, got.body)
	}
	return got
}

// register opens an account and logs in.
func (r *running) register(t testing.TB, name, email, password string) (access, refresh string) {
	t.Helper()
	json1 := http.Header{"Content-Type": {"application/json"}}
	got := r.send(t, "POST", "/api/auth/register/", json1, strings.NewReader(fmt.Sprintf(`{"name":%q,"email":%q,"password":%q}`, name, email, password)))
	if got.status != 201 {
		t.Fatalf("register: %d %s", got.status, got.body)
	}
	return r.login(t, email, password)
}

func (r *running) login(t testing.TB, email, password string) (access, refresh string) {
	t.Helper()
	got := r.send(t, "POST", "/api/auth/login/", http.Header{"Content-Type": {"application/json"}},
		strings.NewReader(fmt.Sprintf(`{"username":%q,"password":%q}`, email, password)))
	var pair struct{ Access, Refresh string }
	if err := json.Unmarshal(got.body, &pair); err != nil || got.status != 200 {
		t.Fatalf("log in: %d %s", got.status, got.body)
	}
	return pair.Access, pair.Refresh
}

// eventually waits for what nothing signals.
func eventually(t testing.TB, what string, within time.Duration, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for !holds() {
		if !pause(ctx, 10*time.Millisecond) {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}
