package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestMoreThanItCanCarry: many more clients than it can serve in time write without
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
