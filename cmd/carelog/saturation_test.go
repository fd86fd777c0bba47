package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/httpapi"
)

// slowProgress lets the read tables take a while over each change, one after the
// other: so little can be carried that a test can offer far more.
type slowProgress struct {
	httpapi.Progress
	turn chan struct{}
}

const slowChange = 20 * time.Millisecond

func slowly(p httpapi.Progress) httpapi.Progress { return slowProgress{p, make(chan struct{}, 1)} }

func (p slowProgress) Wait(ctx context.Context, pos events.Position) error {
	if err := p.Progress.Wait(ctx, pos); err != nil {
		return err
	}
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	time.Sleep(slowChange)
	return nil
}

// crowd is what became of what many clients have asked.
type crowd struct {
	mu      sync.Mutex
	answers map[int]int
	slowest time.Duration
	wrong   []string
}

// hurry has as many clients post patients for a while, on a connection each. Who
// is refused tries again, somewhat later.
func hurry(t *testing.T, server *running, access string, clients int, lasting time.Duration) *crowd {
	t.Helper()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	each := *server
	each.client = client
	c := &crowd{answers: map[int]int{}}
	ctx, cancel := context.WithTimeout(t.Context(), lasting)
	defer cancel()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				got, err := each.as(access, "POST", "/api/patients/", somePatient)
				c.note(got, err, time.Since(began))
				if got.status == http.StatusServiceUnavailable {
					pause(ctx, 200*time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	return c
}

func (c *crowd) note(got reply, err error, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[got.status]++
	c.slowest = max(c.slowest, took)
	refused := got.status == 503 && got.header.Get("Retry-After") != "" && strings.Contains(string(got.body), "Nothing was changed")
	if err != nil || got.status != 201 && !refused {
		c.wrong = append(c.wrong, fmt.Sprintf("%d %s, %v", got.status, got.body, err))
	}
}

// inTime is how long nobody waits for an answer. All clients and the server share
// the test's few cores, under the race detector.
const inTime = 1500 * time.Millisecond

// TestOverloadOfSlowChanges offers the running program many times what it can carry. Each
// request is carried out or refused, soon; what was refused has changed nothing;
// health checks are answered all the while, and afterwards everything is. Without
// the bounds of admission some wait for all the others.
func TestOverloadOfSlowChanges(t *testing.T) {
	config := databaseConfig(t)
	server := startBetween(t, config, between{progress: slowly}, func(p *program) {
		p.bounds.Changes = httpapi.Bound{Places: 8, Queue: 16, Wait: 50 * time.Millisecond}
	})
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")

	probed := make(chan time.Duration)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		var slowest time.Duration
		for pause(ctx, 50*time.Millisecond) {
			for _, path := range []string{"/livez", "/readyz"} {
				began := time.Now()
				if got, err := server.try("GET", path, nil, nil); err != nil || got.status != 200 {
					t.Errorf("%s: %d %s, %v", path, got.status, got.body, err)
				}
				slowest = max(slowest, time.Since(began))
			}
		}
		probed <- slowest
	}()
	c := hurry(t, server, access, 200, 2*time.Second)
	cancel()
	health := <-probed
	t.Logf("answers: %v, the slowest after %v; the slowest health check took %v", c.answers, c.slowest, health)
	if len(c.wrong) > 0 {
		t.Errorf("%d answers are wrong, one of them: %s", len(c.wrong), c.wrong[0])
	}
	if c.answers[201] == 0 || c.answers[503] == 0 || c.slowest > inTime || health > inTime {
		t.Errorf("answers: %v, the slowest after %v; health checks after %v", c.answers, c.slowest, health)
	}

	for range 10 {
		server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	}
	stored := query[int](t, config.DatabaseURL, `select count(*) from events where type = 'patient.registered'`)
	if stored != c.answers[201]+10 {
		t.Errorf("%d patients were answered 201, and %d are stored", c.answers[201]+10, stored)
	}
	if state := server.send(t, "GET", "/readyz", nil, nil); !strings.Contains(string(state.body), fmt.Sprintf(`"refused":{"changes":%d,`, c.answers[503])) {
		t.Errorf("%d were refused: %s", c.answers[503], state.body)
	}
	if !strings.Contains(server.log.String(), `level=WARN msg="requests were refused because too many were under way" kind=changes refused=`) {
		t.Error("the log does not tell of it")
	}
}

// TestWithoutAdmission shows that the bound on waiting in TestOverloadOfSlowChanges is
// admission's doing.
func TestWithoutAdmission(t *testing.T) {
	server := startBetween(t, databaseConfig(t), between{progress: slowly}, func(p *program) {
		p.bounds.Changes = httpapi.Bound{Places: 1 << 20}
	})
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	c := hurry(t, server, access, 150, time.Second)
	if c.slowest < inTime {
		t.Errorf("answers: %v, the slowest after %v", c.answers, c.slowest)
	}
}

// TestFewOpenFiles: no more clients are let in than files may be open.
func TestFewOpenFiles(t *testing.T) {
	for _, c := range []struct {
		files     uint64
		set, want int
	}{
		{1 << 63, 10_000, 10_000}, {10_000 + 16 + otherFiles, 10_000, 10_000}, {4096, 10_000, 4096 - 16 - otherFiles}, {20, 10_000, 1},
	} {
		if got := fitConnections(c.set, 16, c.files); got != c.want {
			t.Errorf("%d of %d connections with %d open files", got, c.set, c.files)
		}
	}
}

// TestMoreThanItCanCarry, with the bounds that there are by default: many more clients than it can serve in time write without
// a pause. Some are refused at once, with the advice to try again; whoever is
// accepted is answered in time, and stored once. Afterwards all is as before.
func TestMoreThanItCanCarry(t *testing.T) {
	server := start(t, databaseConfig(t))
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	const clients = 800
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	crowd := &running{program: server.program, url: server.url, log: server.log, client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
	var created, refused, slowest atomic.Int64
	var load errgroup.Group
	end := time.Now().Add(3 * time.Second)
	for range clients {
		load.Go(func() error {
			for time.Now().Before(end) {
				began := time.Now()
				got, err := crowd.as(access, "POST", "/api/patients/", somePatient)
				switch {
				case err != nil:
					return err
				case got.status == 201:
					created.Add(1)
					for took := int64(time.Since(began)); took > slowest.Load(); {
						slowest.Store(took)
					}
				case got.status == 503 && got.header.Get("Retry-After") == "1" && strings.Contains(string(got.body), "Too many requests are under way. Nothing was changed"):
					refused.Add(1)
				default:
					return fmt.Errorf("%d %s", got.status, got.body)
				}
			}
			return nil
		})
	}
	if err := load.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d created, %d refused, the slowest took %v", created.Load(), refused.Load(), time.Duration(slowest.Load()))
	if created.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d were created and %d refused", created.Load(), refused.Load())
	}
	// Clients, server, race detector and PostgreSQL share the machine; without a
	// bound everybody waits for all the others, again and again.
	if took := time.Duration(slowest.Load()); took > 10*time.Second {
		t.Errorf("one waited %v", took)
	}
	list := server.mustAs(t, access, "GET", "/api/patients/", "", 200)
	if there := int64(strings.Count(string(list.body), `"id":`)); there != created.Load() {
		t.Errorf("%d patients are there, %d were answered", there, created.Load())
	}
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	if state := string(server.send(t, "GET", "/readyz", nil, nil).body); !strings.Contains(state, fmt.Sprintf(`"refused":{"changes":%d,`, refused.Load())) {
		t.Errorf("%d were refused, /readyz tells %s", refused.Load(), state)
	}
}
