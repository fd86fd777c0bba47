package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestASubscriberFollowsEvents by what a subscriber is allowed.
func TestASubscriberFollowsEvents(t *testing.T) {
	t.Parallel()
	s := startSubscribed(t, "billing", "research")
	access, _ := s.register(t, "John Doe", "john@example.com", "securepassword123")
	for range 5 {
		s.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	}
	if log := s.log.String(); strings.Contains(log, "level=WARN") {
		t.Errorf("a server with subscribers warns of something:\n%s", log)
	}
	_, js := s.as(t, "billing")
	ctx := t.Context()
	stream, err := js.Stream(ctx, "CARELOG")
	if err != nil {
		t.Fatal(err)
	}
	durable, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	mustBeFrom(t, positions(t, durable, 4), 1)
	again, err := stream.Consumer(ctx, "billing")
	if err != nil {
		t.Fatal(err)
	}
	mustBeFrom(t, positions(t, again, 2), 5)
	eventually(t, "acknowledgements have arrived", 5*time.Second, func() bool {
		info, err := again.Info(ctx)
		return err == nil && info.AckFloor.Stream == 6 && info.NumAckPending == 0
	})
	ordered, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"carelog.events.patient.>"}})
	if err != nil {
		t.Fatal(err)
	}
	mustBeFrom(t, positions(t, ordered, 5), 2)
	late, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: "carelog.events.patient.registered", DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	mustBeFrom(t, positions(t, late, 3), 4)
	if msg, err := stream.GetMsg(ctx, 3); err != nil || msg.Header.Get("Carelog-Position") != "3" {
		t.Errorf("reading one message: %v", err)
	}
	if msg, err := stream.GetLastMsgForSubject(ctx, "carelog.events.user.>"); err != nil || msg.Sequence != 1 {
		t.Errorf("reading the last message of a subject: %v", err)
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		t.Error(err)
	}
	if err := stream.DeleteConsumer(ctx, "billing"); err != nil {
		t.Error(err)
	}
	if _, err := stream.Consumer(ctx, "billing"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("it is deleted: %v", err)
	}
}

var followBlock = regexp.MustCompile("(?s)<!-- follow:[^>]*-->\n```go\n(.*?)```")

// TestTheProgramThatFollows is built and run twice: the second goes on behind the first.
func TestTheProgramThatFollows(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../deploy/nats/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := followBlock.FindSubmatch(page)
	if found == nil {
		t.Fatal("the page shows no program")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(readme, found[1]) {
		t.Error("the README shows another program")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "follow.go"), found[1], 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "follow")
	if output, err := exec.Command("go", "build", "-o", program, filepath.Join(dir, "follow.go")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	s := startSubscribed(t, "billing")
	access, _ := s.register(t, "John Doe", "john@example.com", "securepassword123")
	for _, want := range []string{"1 carelog.events.user.registered {", "2 carelog.events.patient.registered {"} {
		command := exec.Command(program, strings.Replace(s.url, "//", "//billing:"+s.passwords["billing"]+"@", 1))
		stdout, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, want) {
			t.Errorf("it prints %q, %v", line, err)
		}
		_, js := s.as(t, "billing")
		eventually(t, "the event is acknowledged", 10*time.Second, func() bool {
			consumer, err := js.Consumer(t.Context(), "CARELOG", "billing")
			return err == nil && consumer.CachedInfo().NumAckPending == 0
		})
		_ = command.Process.Kill()
		_ = command.Wait()
		s.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	}
}
