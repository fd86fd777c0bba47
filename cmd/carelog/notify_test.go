package main

import (
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTheServiceManagerIsTold when the server serves, and when it stops: by the real
// program, as systemd starts it.
func TestTheServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	told := func() string {
		t.Helper()
		if err := manager.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 100)
		n, err := manager.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:n])
	}
	config := databaseConfig(t)
	server := startProcess(t, map[string]string{
		"NOTIFY_SOCKET": path, "DATABASE_URL": config.DatabaseURL, "CARELOG_JWT_SECRET": testSecret, "CARELOG_DATA_DIR": config.DataDir,
	})
	if got := told(); got != stateReady {
		t.Errorf("it tells %q when it serves", got)
	}
	server.stop()
	if got := told(); got != stateStopping {
		t.Errorf("it tells %q when it stops", got)
	}
}

func TestNobodyListensForTheState(t *testing.T) {
	var log logBuffer
	newNotifier(filepath.Join(t.TempDir(), "nothing"), slog.New(slog.NewTextHandler(&log, nil)))(stateReady)
	if !strings.Contains(log.String(), `level=WARN msg="the service manager cannot be told" state="READY=1"`) {
		t.Errorf("logged:\n%s", &log)
	}
}
