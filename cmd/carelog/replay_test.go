package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// TestAReplayIsWhatWasPublished: the documents of the NATS stream, to the byte, on the
// standard output and over NATS, where the stream stays as it is and the server goes on.
func TestAReplayIsWhatWasPublished(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	config := testConfig(t, map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "NATS_URL": b.url()})
	server := start(t, config)
	writeLog(t, server, config)
	var live []string
	var subjects []string
	b.stream(t, func(_ jetstream.JetStream, stream jetstream.Stream) error {
		for sequence := uint64(1); sequence <= stream.CachedInfo().State.LastSeq; sequence++ {
			msg, err := stream.GetMsg(t.Context(), sequence)
			if err != nil {
				return err
			}
			live = append(live, string(msg.Data))
			subjects = append(subjects, strings.TrimPrefix(msg.Subject, "carelog.events."))
		}
		return nil
	})
	if head := query[int](t, config.DatabaseURL, `select max(position) from events`); len(live) != head || head < 25 {
		t.Fatalf("%d messages of %d events", len(live), head)
	}

	got := mustCarelog(t, config, "replay", "--to", "stdout")
	if want := strings.Join(live, "\n") + "\n"; got.stdout != want {
		t.Errorf("replayed\n%s\nand published\n%s", got.stdout, want)
	}
	if !strings.Contains(got.stderr, fmt.Sprintf("replayed %d events, positions 1 to %d, in ", len(live), len(live))) {
		t.Errorf("%+v", got)
	}
	part := mustCarelog(t, config, "replay", "--to", "stdout", "--after", "3", "--until", "20", "--tag", "patient:1", "--json")
	selected := query[int](t, config.DatabaseURL, `select count(*) from events where position between 4 and 20 and 'patient:1' = any(tags)`)
	var done replayed
	if err := json.Unmarshal([]byte(part.stderr), &done); err != nil || selected == 0 || int(done.Events) != selected ||
		strings.Count(part.stdout, "\n") != selected || strings.Count(part.stdout, "patient:1 ") != selected {
		t.Errorf("%+v: %+v, %v", part, done, err)
	}
	if none := mustCarelog(t, config, "replay", "--to", "stdout", "--tag", "patient:99"); none.stdout != "" || none.stderr != "replayed no events: none are selected\n" {
		t.Errorf("%+v", none)
	}

	conn, err := nats.Connect(b.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	listener, err := conn.SubscribeSync("carelog.replay.>")
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	over := mustCarelog(t, config, "replay", "--to", "nats", "--json")
	if err := json.Unmarshal([]byte(over.stderr), &done); err != nil || int(done.Events) != len(live) || done.Stream != "" || over.stdout != "" {
		t.Fatalf("%+v, %v", over, err)
	}
	for i, document := range live {
		msg, err := listener.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("event %d: %v", i+1, err)
		}
		if string(msg.Data) != document || msg.Subject != "carelog.replay."+done.Replay+"."+subjects[i] || msg.Header.Get("Carelog-Replay") != done.Replay {
			t.Fatalf("event %d: %s %v %s", i+1, msg.Subject, msg.Header, msg.Data)
		}
	}
	kept := func(js jetstream.JetStream, carrier jetstream.Stream) error {
		if last := carrier.CachedInfo().State.LastSeq; int(last) != len(live) {
			t.Errorf("the stream of the log has %d messages after the replay", last)
		}
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"practice.>"}})
		return err
	}
	b.stream(t, kept)
	if got := mustCarelog(t, config, "replay", "--to", "nats", "--subject-prefix", "practice", "--rate", "200/s"); !strings.Contains(got.stderr, "which the NATS stream KEPT has stored") {
		t.Errorf("%+v", got)
	}
	john, _ := server.login(t, "john@example.com", oldPassword)
	if !overBus(t, server, john) {
		t.Error("events do not come over NATS any more")
	}
	b.stream(t, func(js jetstream.JetStream, _ jetstream.Stream) error {
		stream, err := js.Stream(t.Context(), "KEPT")
		if err == nil && int(stream.CachedInfo().State.Msgs) != len(live) {
			t.Errorf("%d messages were kept", stream.CachedInfo().State.Msgs)
		}
		return err
	})
}

// TestTheRateOfAReplay is kept.
func TestTheRateOfAReplay(t *testing.T) {
	config := databaseConfig(t)
	server := start(t, config)
	john, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	for range 20 {
		server.mustAs(t, john, "POST", "/api/patients/", somePatient, 201)
	}
	var done replayed
	got := mustCarelog(t, config, "replay", "--to", "stdout", "--rate", "50/s", "--json")
	if err := json.Unmarshal([]byte(got.stderr), &done); err != nil || done.Events != 21 || done.Seconds < 0.4 {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestMistakesInReplays(t *testing.T) {
	t.Parallel()
	config := databaseConfig(t)
	start(t, config).stop()
	for args, want := range map[string]string{
		"":                               "--to: write nats or stdout",
		"--to file":                      "--to: write nats or stdout",
		"--to nats":                      "NATS_URL: not set: the NATS server inside `carelog serve` takes no connections of others",
		"--to stdout --rate fast":        "write a number of events a second, as 500/s",
		"--to stdout --rate 0":           "write a number of events a second, as 500/s",
		"--to stdout --rate NaN":         "write a number of events a second, as 500/s",
		"--to stdout --subject-prefix a": "only with --to nats",
		"--to nats --subject-prefix a.*": "is no prefix of NATS subjects",
		"--to nats --subject-prefix carelog.events.patient": "the subjects below carelog.events are those of new events",
		"--to stdout --until 9":                             "the log ends at position 0, before 9",
		"--to stdout --type letter":                         "there is no type of events",
	} {
		got := runCarelog(t, config, "", append([]string{"replay"}, strings.Fields(args)...)...)
		if got.status != exitUsage || got.stdout != "" || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	config.NATSURL = "nats://user:secret@127.0.0.1:1" // it tries for ten seconds
	got := runCarelog(t, config, "", "replay", "--to", "nats")
	if got.status != exitError || !strings.Contains(got.stderr, "not connected to NATS") || strings.Contains(got.stderr, "secret") {
		t.Errorf("%+v", got)
	}
}
