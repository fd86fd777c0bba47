package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// TestDemo fills a server, is cut off in the middle, and run again until all is there:
// whatever was interrupted, nothing is there twice.
func TestDemo(t *testing.T) {
	t.Parallel()
	server := start(t, databaseConfig(t))
	target, err := url.Parse(server.url)
	if err != nil {
		t.Fatal(err)
	}
	var budget atomic.Int64 // requests until the connection breaks
	proxy := httputil.NewSingleHostReverseProxy(target)
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if budget.Add(-1) < 0 {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(between.Close)
	run := func(requests int64, email string) error {
		budget.Store(requests)
		client, err := newDemoClient(between.URL, email, "")
		if err != nil {
			t.Fatal(err)
		}
		d := demo{client: client, records: demoRecords{seed: 7}, patients: 40, doctors: 5, w: io.Discard}
		return d.run(t.Context())
	}
	for _, requests := range []int64{1, 4, 30, 80} {
		if err := run(requests, "demo@carelog.example"); err == nil {
			t.Fatalf("it succeeds with %d requests", requests)
		}
	}
	access := ""
	counts := func() (found [3]int) {
		t.Helper()
		for i, path := range []string{"/api/patients/", "/api/doctors/", "/api/patients/mappings/"} {
			found[i] = strings.Count(string(server.mustAs(t, access, "GET", path, "", 200).body), `"id":`)
		}
		return found
	}
	mappings := 0
	for i := range 40 {
		n := len(demoRecords{seed: 7}.doctorsOf(i, 5))
		if mappings += n; n == 3 && i%5 == 0 {
			mappings--
		}
	}
	for range 2 {
		if err := run(1<<30, "demo@carelog.example"); err != nil {
			t.Fatal(err)
		}
		access, _ = server.login(t, "demo@carelog.example", demoPassword)
		if got := counts(); got != [3]int{40, 5, mappings} {
			t.Errorf("%v patients, doctors and mappings, want 40, 5 and %d", got, mappings)
		}
	}
	if err := run(1<<30, "other@carelog.example"); err != nil { // finds the doctors
		t.Fatal(err)
	}
	access, _ = server.login(t, "other@carelog.example", demoPassword)
	if got := counts(); got != [3]int{40, 5, mappings} {
		t.Errorf("another account has %v", got)
	}
	if err := run(0, "demo@carelog.example"); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a broken connection: %v", err)
	}
}

// TestDemoTellsWhatToDo in place of failing with a riddle.
func TestDemoTellsWhatToDo(t *testing.T) {
	t.Parallel()
	free := "http://" + freeAddress(t)
	server := start(t, databaseConfig(t))
	server.register(t, "Somebody", "taken@carelog.example", oldPassword)
	for _, mistake := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--url", free}, exitError, "start it by `make run`"},
		{[]string{"--url", "127.0.0.1:8000"}, exitUsage, "as http://127.0.0.1:8000"},
		{[]string{"--url", "https://carelog.example.org"}, exitUsage, "set it to a password"},
		{[]string{"--url", server.url, "--email", "taken@carelog.example"}, exitError, "set CARELOG_DEMO_PASSWORD"},
		{[]string{"--patients", "0"}, exitUsage, "1 or more"},
	} {
		got := runCarelog(t, Config{}, "", append([]string{"demo"}, mistake.args...)...)
		if got.status != mistake.status || !strings.Contains(got.stderr, mistake.want) {
			t.Errorf("%v: %+v", mistake.args, got)
		}
	}
}

func TestDemoRecordsArePlausible(t *testing.T) {
	d, again, other := demoRecords{seed: 1}, demoRecords{seed: 1}, demoRecords{seed: 2}
	same, genders, old := 0, map[string]int{}, 0
	for i := range 1000 {
		p := d.patient(i)
		if p != again.patient(i) || d.doctor(i) != again.doctor(i) {
			t.Fatal("the same seed makes up others")
		}
		if p == other.patient(i) {
			same++
		}
		if genders[p.Gender]++; p.Age >= 65 {
			old++
		}
		if p.FirstName == "" || p.LastName == "" || p.Age < 0 || p.Age > 104 {
			t.Errorf("%+v", p)
		}
	}
	if same > 10 || genders["Female"] < 400 || genders["Male"] < 400 || genders["Other"] < 5 || old < 200 || old > 500 {
		t.Errorf("%d as with another seed; %v; %d of 65 and older", same, genders, old)
	}
}
