package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func makeTestOffer(t *testing.T, o offer, answer http.HandlerFunc) offered {
	t.Helper()
	fake := httptest.NewServer(answer)
	defer fake.Close()
	o.Addr = fake.Listener.Addr().String()
	result, err := makeOffer(t.Context(), o, rows[0])
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestOfferCounts(t *testing.T) {
	var n atomic.Int64
	got := makeTestOffer(t, offer{Rate: 1000, Connections: 50, Duration: 100 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusCreated)
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			w.Header().Set(projectedHeader, "pending")
			w.WriteHeader(http.StatusCreated)
		}
	})
	if got.Sent+got.Unsent != 100 || got.Accepted != got.Sent/4 || got.Shed != (got.Sent+3)/4 || got.Failed != got.Sent-got.Accepted-got.Shed || got.Failure == "" {
		t.Errorf("%+v", got)
	}
}

// TestOfferKeepsItsSchedule: what a server that hangs lets wait counts with all
// of its wait, and what there is no connection for is told.
func TestOfferKeepsItsSchedule(t *testing.T) {
	began := time.Now()
	const hang = 500 * time.Millisecond
	got := makeTestOffer(t, offer{Rate: 500, Connections: 50, Duration: 200 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Until(began.Add(hang)))
	})
	if got.Accepted < 50 || got.Unsent == 0 || got.Sent+got.Unsent != 100 || got.Longest < hang/4 {
		t.Errorf("%+v", got)
	}
}

func TestOfferOfLostConnections(t *testing.T) {
	got := makeTestOffer(t, offer{Rate: 1000, Connections: 5, Duration: 50 * time.Millisecond}, func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler)
	})
	if got.Failed != 5 || got.Sent != 5 || got.Unsent != 45 {
		t.Errorf("%+v", got)
	}
}

func TestWhatSaturationMustNotDo(t *testing.T) {
	good := saturation{row: rows[0], stored: 10, offered: offered{Sent: 20, Accepted: 10, Shed: 10, P99: acceptedWithin - 1}}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*saturation){
		"neither carried out nor shed": func(s *saturation) { s.offered.Failed = 1 },
		"nothing was accepted":         func(s *saturation) { s.offered.Accepted = 0 },
		"1 % took":                     func(s *saturation) { s.offered.P99 = acceptedWithin },
		"9 events were stored":         func(s *saturation) { s.stored = 9 },
	} {
		bad := good
		spoil(&bad)
		if err := bad.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestSaturation measures for a moment. Of the time that answers take it says
// nothing, since other tests run meanwhile.
func TestSaturation(t *testing.T) {
	program := buildCarelog(t)
	beProgram(t)
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	var stdout bytes.Buffer
	err = execute(t.Context(), []string{"saturation", "-carelog", program, "-warmup", "50ms", "-duration", "300ms", "-connections", "300"}, nil, &stdout, stderr)
	if err != nil && !strings.Contains(err.Error(), "of what was accepted") {
		told, _ := os.ReadFile(stderr.Name())
		t.Fatalf("%v\n%s", err, told)
	}
	for _, title := range []string{"POST patient", "GET patient"} {
		if !strings.Contains(stdout.String(), "\n| "+title+" | ") {
			t.Errorf("no row of %s in\n%s", title, &stdout)
		}
	}
}
