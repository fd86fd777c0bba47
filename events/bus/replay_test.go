package bus

import (
	"context"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

func openReplay(t testing.TB, conn *Conn, prefix string) *Replay {
	t.Helper()
	r, err := OpenReplay(t.Context(), conn, prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestAReplayReachesWhoIsSubscribed, in order and marked as a replay, and the NATS stream
// that carries the log and its fence are as they were.
func TestAReplayReachesWhoIsSubscribed(t *testing.T) {
	conn := testBus(t)
	carrier := newCarrier(t, conn)
	if err := carrier.Publish(t.Context(), recorded(1, 5)); err != nil {
		t.Fatal(err)
	}
	before := lookUpStream(t, conn).CachedInfo().State
	all, err := conn.nc.SubscribeSync(ReplayPrefix + ".>")
	if err != nil {
		t.Fatal(err)
	}
	if err := all.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	first, second := openReplay(t, conn, ReplayPrefix), openReplay(t, conn, ReplayPrefix)
	if first.ID() == second.ID() || first.Stream() != "" {
		t.Errorf("replays %q and %q, stored by %q", first.ID(), second.ID(), first.Stream())
	}
	evs := recorded(1, 2000)
	for _, r := range []*Replay{first, second} {
		if err := r.Publish(t.Context(), testLog, evs); err != nil {
			t.Fatal(err)
		}
		for _, e := range evs {
			msg, err := all.NextMsgWithContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			live := natsMessage("", Encode(testLog, e))
			if msg.Subject != "carelog.replay."+r.ID()+"."+string(e.Type) || msg.Header.Get(HeaderReplay) != r.ID() ||
				msg.Header.Get(HeaderPosition) != strconv.FormatInt(int64(e.Position), 10) || msg.Header.Get(HeaderGroupEnd) != "" {
				t.Fatalf("%s %v", msg.Subject, msg.Header)
			}
			if string(msg.Data) != string(live.Data) || live.Header.Get(HeaderReplay) != "" {
				t.Fatalf("replayed %s, and published %s", msg.Data, live.Data)
			}
		}
	}
	if after := lookUpStream(t, conn).CachedInfo().State; after.LastSeq != before.LastSeq || after.Msgs != before.Msgs {
		t.Errorf("the NATS stream was %+v and is %+v", before, after)
	}
	if err := carrier.Publish(t.Context(), recorded(6, 9)); err != nil {
		t.Errorf("the fence does not hold any more: %v", err)
	}
	if got := positionsOnStream(t, conn); !slices.Equal(got, positions(1, 9)) {
		t.Errorf("on the NATS stream are %v", got)
	}
}

// TestANATSStreamStoresAReplay that was made for it, and its refusals are errors.
func TestANATSStreamStoresAReplay(t *testing.T) {
	conn := testBus(t)
	stream, err := conn.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept.here.>"}, MaxMsgs: 600, Discard: jetstream.DiscardNew})
	if err != nil {
		t.Fatal(err)
	}
	r := openReplay(t, conn, "kept.here")
	if r.Stream() != "KEPT" || !strings.HasPrefix(r.Subjects(), "kept.here."+r.ID()) {
		t.Errorf("stored by %q: %s", r.Stream(), r.Subjects())
	}
	if err := r.Publish(t.Context(), testLog, recorded(11, 510)); err != nil {
		t.Fatal(err)
	}
	for sequence := uint64(1); sequence <= 500; sequence++ {
		msg, err := stream.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Header.Get(HeaderPosition) != strconv.FormatUint(sequence+10, 10) {
			t.Fatalf("message %d has %v", sequence, msg.Header)
		}
	}
	if err := r.Publish(t.Context(), testLog, recorded(511, 700)); err == nil || !strings.Contains(err.Error(), "position 611") {
		t.Errorf("into a NATS stream that is full: %v", err)
	}
}

// TestBothWaysOfAReplayAreTheSame: to who is subscribed and to a NATS stream. An event of a
// group comes by itself.
func TestBothWaysOfAReplayAreTheSame(t *testing.T) {
	conn := testBus(t)
	if _, err := conn.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept.>"}}); err != nil {
		t.Fatal(err)
	}
	var headers []nats.Header
	for _, prefix := range []string{"kept", "sent"} {
		came, err := conn.nc.SubscribeSync(prefix + ".>")
		if err != nil {
			t.Fatal(err)
		}
		r := openReplay(t, conn, prefix)
		if err := r.Publish(t.Context(), testLog, []events.Recorded{sample()}); err != nil {
			t.Fatal(err)
		}
		msg, err := came.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Header.Get(HeaderReplay) != r.ID() {
			t.Errorf("%s: %v", prefix, msg.Header)
		}
		msg.Header.Del(HeaderReplay)
		headers = append(headers, msg.Header)
	}
	want := nats.Header{
		HeaderPosition: {"9007199254740993"}, HeaderLog: {testLog.String()}, HeaderSubject: {"patient/42"},
		HeaderContentType: {"application/cloudevents+json"}, HeaderUUID: {sample().ID.String()},
	}
	for _, got := range headers {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v", got)
		}
	}
}

// TestAReplayWithoutJetStream, and without NATS.
func TestAReplayWithoutJetStream(t *testing.T) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	conn := connect(t, ConnConfig{InProcess: s})
	got, err := conn.nc.SubscribeSync(ReplayPrefix + ".>")
	if err != nil {
		t.Fatal(err)
	}
	if err := openReplay(t, conn, ReplayPrefix).Publish(t.Context(), testLog, recorded(1, 3)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := got.NextMsgWithContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	nowhere := connect(t, ConnConfig{URL: "nats://user:secret@127.0.0.1:1"})
	if _, err := OpenReplay(ctx, nowhere, ReplayPrefix); err == nil || !strings.Contains(err.Error(), "not connected to NATS") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

func TestPrefixesOfReplays(t *testing.T) {
	for prefix, right := range map[string]bool{
		"carelog.replay": true, "x": true, "carelog": true, "carelog.eventsof": true,
		"": false, "carelog.events": false, "carelog.events.patient": false, "a..b": false, ".a": false, "a.": false,
		"a.*": false, "a.>": false, "a b": false, "$SYS": false, "$JS.API": false,
	} {
		if err := CheckReplayPrefix(prefix); (err == nil) != right {
			t.Errorf("%q: %v", prefix, err)
		}
		if !right {
			if _, err := OpenReplay(t.Context(), nil, prefix); err == nil {
				t.Errorf("%q was taken", prefix)
			}
		}
	}
}

// BenchmarkReplay: events a second in pages of 500, to nobody and to a NATS stream.
func BenchmarkReplay(b *testing.B) {
	evs := recorded(1, 500)
	for name, subjects := range map[string][]string{"subscribers": nil, "stream": {ReplayPrefix + ".>"}} {
		b.Run(name, func(b *testing.B) {
			conn := testBus(b)
			if subjects != nil {
				if _, err := conn.js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: subjects, MaxMsgs: 100_000}); err != nil {
					b.Fatal(err)
				}
			}
			r := openReplay(b, conn, ReplayPrefix)
			for b.Loop() {
				if err := r.Publish(b.Context(), testLog, evs); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(evs))/b.Elapsed().Seconds(), "events/s")
		})
	}
}
