package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	server := start(t, databaseConfig(t))
	address := strings.TrimPrefix(server.url, "http://")
	for args, want := range map[string]string{"health": `{"ready":true,`, "health --live": `{"live":true}`} {
		got := runCarelog(t, Config{}, "", append(strings.Fields(args), "--addr", address)...)
		if got.status != 0 || !strings.HasPrefix(got.stdout, want) || got.stderr != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
	server.stop()
	if got := runCarelog(t, Config{}, "", "health", "--addr", address); got.status != exitError || !strings.Contains(got.stderr, "the server at "+address+" does not answer") {
		t.Errorf("when there is no server: %+v", got)
	}
	if got := runCarelog(t, Config{}, "", "health", "--addr", "127.0.0.1:0"); got.status != exitUsage || !strings.Contains(got.stderr, "CARELOG_ADDR") {
		t.Errorf("without a port: %+v", got)
	}
}

// TestHealthOfAServer that is starting, that wants TLS, and that hangs.
func TestHealthOfAServer(t *testing.T) {
	t.Parallel()
	hanging := make(chan struct{})
	starting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/livez" {
			return
		}
		if r.TLS == nil {
			<-hanging
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	plain, withTLS := httptest.NewServer(starting), httptest.NewUnstartedServer(starting)
	withTLS.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelWarn)
	withTLS.StartTLS()
	defer withTLS.Close()
	defer plain.Close()
	defer close(hanging)
	for _, test := range []struct {
		url, args, stderr string
		status            int
	}{
		{withTLS.URL, "--live", "", 0},
		{withTLS.URL, "", "answers 503 to /readyz", exitError},
		{plain.URL, "--live", "", 0},
		{plain.URL, "--timeout 50ms", "does not answer", exitError},
	} {
		_, address, _ := strings.Cut(test.url, "://")
		began := time.Now()
		got := runCarelog(t, Config{}, "", append([]string{"health", "--addr", address}, strings.Fields(test.args)...)...)
		if got.status != test.status || !strings.Contains(got.stderr, test.stderr) {
			t.Errorf("%s %s: %+v after %v", test.url, test.args, got, time.Since(began))
		}
	}
}

func TestWhereAServerIsOnItsOwnMachine(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:8000": "127.0.0.1:8000", "[::]:8000": "[::1]:8000", ":8000": "localhost:8000", "10.1.2.3:80": "10.1.2.3:80", "example.org:80": "example.org:80",
	} {
		if got, err := localAddress(address); got != want || err != nil {
			t.Errorf("%s: %s, %v", address, got, err)
		}
	}
}
