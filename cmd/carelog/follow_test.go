package main

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
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

// TestTheProgramThatFollows is killed in the middle of much, twice: what it
// prints is the log, with what it had not acknowledged twice.
func TestTheProgramThatFollows(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "follow")
	build := exec.Command("go", "build", "-o", program, "./nats")
	build.Dir = "../../events/client/example"
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	s := startSubscribed(t, "billing")
	access, _ := s.register(t, "John Doe", "john@example.com", "securepassword123")
	const events = 400
	for range events - 1 {
		s.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	}
	last := 0 // position up to which everything has come, in order
	for run := range 3 {
		command := exec.CommandContext(t.Context(), program, strings.Replace(s.url, "//", "//billing:"+s.passwords["billing"]+"@", 1))
		stdout, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for last < []int{50, 200, events}[run] && lines.Scan() {
			last = goesOn(t, lines.Text(), last)
		}
		_ = command.Process.Kill()
		for lines.Scan() { // what was on the way, which Wait would throw away
			last = goesOn(t, lines.Text(), last)
		}
		_ = command.Wait()
	}
	if last != events {
		t.Errorf("it ends at %d of %d events", last, events)
	}
}

// goesOn answers the position of the event that a line tells, after the last one: who is
// told one that is not beyond that drops it, and anything but the next would be lost.
func goesOn(t *testing.T, line string, last int) int {
	t.Helper()
	var position int
	if _, err := fmt.Sscan(line, &position); err != nil || position > last+1 {
		t.Fatalf("%v: after position %d came %q", err, last, line)
	}
	return max(last, position)
}
