package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// add adds a subscriber to the file, while the server runs.
func (s *subscribed) add(t *testing.T, name string) {
	t.Helper()
	var password bytes.Buffer
	if err := addSubscriber(&password, s.config.NATSSubscribers, name); err != nil {
		t.Fatal(err)
	}
	s.passwords[name] = strings.TrimSpace(password.String())
}

// letsIn tells whether one can connect as a subscriber.
func letsIn(url, name, password string) bool {
	conn, err := nats.Connect(url, nats.UserInfo(name, password))
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// consumerOf makes the durable consumer of a subscriber, when the NATS server has just
// started again: Carelog, which makes it, connects again a moment later.
func consumerOf(t *testing.T, js jetstream.JetStream, name string) (consumer jetstream.Consumer) {
	t.Helper()
	eventually(t, "Carelog is connected again and makes consumers", 20*time.Second, func() (made bool) {
		var err error
		consumer, err = js.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: name})
		return err == nil
	})
	return consumer
}

// TestSubscribersComeAndGo by what is in their file, while the server goes on: nothing of
// the API is refused, and whoever stays misses nothing.
func TestSubscribersComeAndGo(t *testing.T) {
	t.Parallel()
	s := startSubscribed(t, "billing", "research")
	access, _ := s.register(t, "John Doe", "john@example.com", "securepassword123")
	_, billing := s.as(t, "billing")
	consumer, err := billing.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "billing"})
	if err != nil {
		t.Fatal(err)
	}
	mustBeFrom(t, positions(t, consumer, 1), 1)
	research, js := s.as(t, "research")
	if _, err := js.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "research"}); err != nil {
		t.Fatal(err)
	}

	file := s.config.NATSSubscribers
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(before, "a line that is none"...), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bad line is told", 20*time.Second, func() bool {
		return strings.Contains(s.log.String(), "line 3: does not begin with a name")
	})

	added := 0
	add := func() bool {
		s.mustAs(t, access, "POST", "/api/patients/", somePatient, http.StatusCreated)
		added++
		return true
	}
	staying, _, _ := strings.Cut(string(before), "\nresearch:")
	if err := os.WriteFile(file, []byte(staying+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.add(t, "claims")
	eventually(t, "who was removed is out", 20*time.Second, func() bool { return add() && research.IsClosed() })
	conn, claims := s.as(t, "claims")
	defer conn.Close()
	mustBeFrom(t, positions(t, consumerOf(t, claims, "claims"), 1+added), 1)
	mustBeFrom(t, positions(t, consumer, added), 2)
	if conn, err := nats.Connect(s.url, nats.UserInfo("research", s.passwords["research"])); !errors.Is(err, nats.ErrAuthorization) {
		conn.Close()
		t.Errorf("who was removed connects: %v", err)
	}
	for _, subject := range []string{"CONSUMER.INFO.CARELOG.research", "CONSUMER.MSG.NEXT.CARELOG.research", "CONSUMER.DELETE.CARELOG.research"} {
		if got, err := conn.Request("$JS.carelog.API."+subject, nil, 200*time.Millisecond); err == nil {
			t.Errorf("what is left of who was removed is another's: %s: %s", subject, got.Data)
		}
	}
	_, owner := s.owner(t)
	if _, err := owner.Consumer(t.Context(), "CARELOG", "research"); err != nil {
		t.Errorf("who was removed and comes back does not go on: %v", err)
	}
}

// TestANameThatIsTakenBefore there is the subscriber: its durable consumer is not what
// somebody else has made of it.
func TestANameThatIsTakenBefore(t *testing.T) {
	t.Parallel()
	s := startSubscribed(t, "lab")
	s.register(t, "John Doe", "john@example.com", "securepassword123")
	_, lab := s.as(t, "lab")
	taken, err := lab.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Name: "hospital-b", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1000, InactiveThreshold: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	mustBeFrom(t, positions(t, taken, 1), 1)
	s.add(t, "hospital-b")
	eventually(t, "the new subscriber connects", 20*time.Second, func() bool { return letsIn(s.url, "hospital-b", s.passwords["hospital-b"]) })
	_, js := s.as(t, "hospital-b")
	own := consumerOf(t, js, "hospital-b")
	mustBeFrom(t, positions(t, own, 1), 1)
	if c := own.CachedInfo().Config; c.InactiveThreshold != 0 || c.MaxAckPending != 1 {
		t.Errorf("it has %v, %d", c.InactiveThreshold, c.MaxAckPending)
	}
}

// TestTheNATSServerDoesNotStartAgain when the subscribers change: that is tried on, and ends
// nothing. Here the store has something that cannot be read.
func TestTheNATSServerDoesNotStartAgain(t *testing.T) {
	t.Parallel()
	config := Config{DataDir: t.TempDir(), StreamMaxBytes: 1 << 20}
	url, _ := listen(t, &config, "billing")
	var log logBuffer
	options, err := config.natsOptions(nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	server := newNATS(options)
	startPart(t, server.Run, server.Running())
	stream := filepath.Join(options.Dir, "jetstream", "CARELOG", "streams", "CARELOG")
	if err := os.MkdirAll(filepath.Join(stream, "obs", "research", "meta.inf"), 0o700); err != nil {
		t.Fatal(err)
	}
	var password bytes.Buffer
	if err := addSubscriber(&password, config.NATSSubscribers, "research"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is told", 20*time.Second, func() bool { return strings.Contains(log.String(), "does not start again") })
	if err := os.RemoveAll(stream); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it starts", 20*time.Second, func() bool { return letsIn(url, "research", strings.TrimSpace(password.String())) })
}

// TestAFileOfSubscribersThatHangs, or is no file, keeps nobody out, and stops nothing.
func TestAFileOfSubscribersThatHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	now := []subscriber{{"billing", "x"}}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if got := otherSubscribers(ctx, path, now, slog.New(slog.NewTextHandler(&log, nil))); !slices.Equal(got, now) || strings.Count(log.String(), "not a regular file") != 1 {
		t.Errorf("%v, %s", got, &log)
	}
}
