package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startPart runs a part until the test ends or stop is called, whichever is
// first, and fails the test when it does not become ready.
func startPart(t *testing.T, run func(context.Context) error, running <-chan struct{}) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var result error
	ended := make(chan struct{})
	go func() {
		result = run(ctx)
		close(ended)
	}()
	stop = func() error {
		cancel()
		<-ended
		return result
	}
	t.Cleanup(func() { stop() })
	select {
	case <-running:
	case <-ended:
		t.Fatalf("it ended before it was ready: %v", result)
	case <-time.After(time.Minute):
		t.Fatal("it is not ready after a minute")
	}
	return stop
}

func TestNATSKeepsItsStreams(t *testing.T) {
	options := natsOptions{Dir: filepath.Join(t.TempDir(), "data", "nats"), MaxBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
	if _, err := newNATS(options).InProcessConn(); err == nil {
		t.Error("connected before it runs")
	}
	for round := range 2 {
		server := newNATS(options)
		stop := startPart(t, server.Run, server.Running())
		conn, err := nats.Connect(server.URL(), nats.InProcessServer(server))
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if messages := stream.CachedInfo().State.Msgs; messages != uint64(round) {
			t.Errorf("round %d: %d messages", round, messages)
		}
		if _, err := js.Publish(t.Context(), "s", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			err := newNATS(options).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), "in use by another carelog") {
				t.Errorf("a second server on the same store: %v", err)
			}
		}
		conn.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if _, err := server.InProcessConn(); err == nil {
			t.Error("connected after it stopped")
		}
	}
}

// TestWhatClientsDoWrongIsTold once a second, as they can cause as much of it as they
// like; all else is told each time.
func TestWhatClientsDoWrongIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		l := &natsLogger{logger: slog.New(slog.NewTextHandler(&log, nil))}
		for range 2 {
			for range 100 {
				l.Errorf("127.0.0.1:50312 - cid:7 - \"v1.48:go\" - maximum payload exceeded: %d vs %d", 70000, 65536)
				l.Errorf("127.0.0.1:50314 - cid:8 - authentication error - User %q", "billing")
			}
			l.Errorf("the disk is full")
			time.Sleep(2 * time.Second)
		}
		if text := log.String(); strings.Count(text, "level=WARN") != 2 || strings.Count(text, "level=ERROR") != 2 {
			t.Error(text)
		}
	})
}
