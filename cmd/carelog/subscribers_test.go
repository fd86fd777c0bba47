package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// subscribed is a server that subscribers can connect to.
type subscribed struct {
	*running
	config    Config
	url       string            // of its NATS server
	passwords map[string]string // of the subscribers
}

// listen makes subscribers and lets them connect to the NATS server of a
// configuration, at an address that stays the same.
func listen(t testing.TB, config *Config, names ...string) (url string, passwords map[string]string) {
	t.Helper()
	config.NATSSubscribers = filepath.Join(t.TempDir(), "subscribers")
	passwords = map[string]string{}
	for _, name := range names {
		var password bytes.Buffer
		if err := addSubscriber(&password, config.NATSSubscribers, name); err != nil {
			t.Fatal(err)
		}
		passwords[name] = strings.TrimSpace(password.String())
	}
	config.NATSListen = freeAddress(t)
	return "nats://" + config.NATSListen, passwords
}

func freeAddress(t testing.TB) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

func startSubscribed(t *testing.T, names ...string) *subscribed {
	t.Helper()
	s := &subscribed{config: databaseConfig(t)}
	s.url, s.passwords = listen(t, &s.config, names...)
	s.running = start(t, s.config)
	s.awaitStream(t, names[0])
	return s
}

// awaitStream waits for the NATS stream: what is appended before it is made need not be
// on it.
func (s *subscribed) awaitStream(t testing.TB, name string) {
	t.Helper()
	conn, early := s.as(t, name)
	defer conn.Close()
	eventually(t, "the NATS stream is there", 20*time.Second, func() bool {
		_, err := early.Stream(t.Context(), "CARELOG")
		return err == nil
	})
}

// as connects a subscriber, as the README says.
func (s *subscribed) as(t testing.TB, name string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(s.url, nats.UserInfo(name, s.passwords[name]), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.NewWithDomain(conn, "carelog")
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

// positions takes so many messages and answers their positions.
func positions(t *testing.T, consumer jetstream.Consumer, count int) (positions []int) {
	t.Helper()
	batch, err := consumer.Fetch(count, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for msg := range batch.Messages() {
		position, err := strconv.Atoi(msg.Headers().Get("Carelog-Position"))
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, position)
		mustBeCloudEvent(t, msg.Data())
		// An ordered consumer needs none, and takes it.
		if err := msg.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if batch.Error() != nil || len(positions) != count {
		t.Fatalf("%d of %d messages came: %v", len(positions), count, batch.Error())
	}
	return positions
}

func mustBeFrom(t *testing.T, positions []int, first int) {
	t.Helper()
	for i, position := range positions {
		if position != first+i {
			t.Fatalf("positions %v, not from %d on", positions, first)
		}
	}
}

func TestSubscribersNeedAPassword(t *testing.T) {
	t.Parallel()
	s := startSubscribed(t, "billing", "research")
	for what, user := range map[string]nats.Option{
		"nobody":                nats.Name("nobody"),
		"another's password":    nats.UserInfo("billing", s.passwords["research"]),
		"Carelog itself":        nats.UserInfo("carelog", s.passwords["billing"]),
		"Carelog, no password":  nats.UserInfo("carelog", ""),
		"the hash for password": nats.UserInfo("billing", s.program.nats.options.Subscribers[0].Hash),
	} {
		conn, err := nats.Connect(s.url, user)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"billing", "research"} {
		if conn, _ := s.as(t, name); !conn.IsConnected() {
			t.Errorf("%s is not connected", name)
		}
	}
}

// TestConsumersThatAreRefused are those that could harm others.
func TestConsumersThatAreRefused(t *testing.T) {
	t.Parallel()
	s := startSubscribed(t, "billing", "research")
	conn, js := s.as(t, "billing")
	for what, test := range map[string]struct {
		config jetstream.ConsumerConfig
		want   string
	}{
		"durable by another name": {jetstream.ConsumerConfig{Durable: "billing2"}, "must have its subscriber's name"},
		"not durable by its name": {jetstream.ConsumerConfig{Name: "billing"}, "is for the durable consumer"},
		"a name to guess":         {jetstream.ConsumerConfig{Name: "export"}, "could be guessed"},
		"much that waits":         {jetstream.ConsumerConfig{Name: "fqT8zWcXv0", MaxWaiting: 513}, "max_waiting is more than 512"},
		"kept for an hour":        {jetstream.ConsumerConfig{Name: "fqT8zWcXv0", InactiveThreshold: time.Hour}, "more than 10m0s"},
	} {
		_, err := js.CreateConsumer(t.Context(), "CARELOG", test.config)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := js.CreatePushConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "billing", DeliverSubject: "_INBOX.x"})
	if err == nil || !strings.Contains(err.Error(), "pull from it instead") {
		t.Errorf("a push consumer: %v", err)
	}
	// NATS does not mind how the names of JSON are written.
	for _, name := range []string{"deliver_subject", "DELIVER_SUBJECT"} {
		body := fmt.Sprintf(`{"stream_name":"CARELOG","config":{"name":"fqT8zWcXv0","ack_policy":"none",%q:"_INBOX.x"}}`, name)
		got, err := conn.Request("$JS.carelog.API.CONSUMER.CREATE.CARELOG.fqT8zWcXv0", []byte(body), 5*time.Second)
		if err != nil || !strings.Contains(string(got.Data), "pull from it instead") {
			t.Errorf("%s: %s, %v", name, got.Data, err)
		}
	}
	if got, err := conn.Request("$JS.carelog.API.CONSUMER.CREATE.CARELOG.fqT8zWcXv0", []byte("{"), 5*time.Second); err != nil || !strings.Contains(string(got.Data), "is not JSON") {
		t.Errorf("no JSON: %v", err)
	}
	for i := range maxEphemeralConsumers + 1 {
		_, err := js.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{InactiveThreshold: time.Minute})
		if i < maxEphemeralConsumers && err != nil {
			t.Fatalf("consumer %d: %v", i, err)
		}
		if i == maxEphemeralConsumers && (err == nil || !strings.Contains(err.Error(), "has 64 consumers already")) {
			t.Errorf("consumer %d: %v", i, err)
		}
	}
	if _, err := js.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "billing"}); err != nil {
		t.Errorf("the durable one: %v", err)
	}
	_, other := s.as(t, "research")
	if _, err := other.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{}); err != nil {
		t.Errorf("another subscriber's: %v", err)
	}
}

// TestConsumersThatNoSubjectNames: some clients ask in this way. The permissions of NATS do
// not know of names that are only in the request.
func TestConsumersThatNoSubjectNames(t *testing.T) {
	t.Parallel()
	s := startSubscribed(t, "billing", "research")
	conn, _ := s.as(t, "billing")
	for config, want := range map[string]string{
		`{"durable_name":"billing","ack_policy":"none"}`:                                                                    "must have its name in the subject",
		`{"name":"research","ack_policy":"none"}`:                                                                           "could be another subscriber's",
		`{"name":"fqT8 zWcXv0","ack_policy":"none"}`:                                                                        "could be another subscriber's",
		`{"name":"Abc","ack_policy":"none"}`:                                                                                "could be guessed",
		`{"name":"fqT8zWcXv0","deliver_subject":"_INBOX.x"}`:                                                                "pull from it instead",
		`{"name":"fqT8zWcXv0_1","ack_policy":"none","mem_storage":true}`:                                                    `"name":"fqT8zWcXv0_1"`,
		`{"ack_policy":"none","filter_subjects":["carelog.events.patient.>","carelog.events.doctor.>"],"mem_storage":true}`: `"num_pending"`,
	} {
		got, err := conn.Request("$JS.carelog.API.CONSUMER.CREATE.CARELOG", fmt.Appendf(nil, `{"stream_name":"CARELOG","config":%s}`, config), 5*time.Second)
		if err != nil || !strings.Contains(string(got.Data), want) {
			t.Errorf("%s: %s, %v", config, got.Data, err)
		}
	}
	if got, err := conn.Request("$JS.carelog.API.CONSUMER.DURABLE.CREATE.CARELOG.research", []byte(`{"stream_name":"CARELOG","config":{"ack_policy":"none"}}`), time.Second); err == nil {
		t.Errorf("another's name: %s", got.Data)
	}
	got, err := conn.Request("$JS.carelog.API.CONSUMER.DURABLE.CREATE.CARELOG.billing", []byte(`{"stream_name":"CARELOG","config":{"durable_name":"billing","filter_subjects":["carelog.events.patient.>"]}}`), 5*time.Second)
	if err != nil || !strings.Contains(string(got.Data), `"durable_name":"billing"`) {
		t.Errorf("a durable one with filters: %s, %v", got.Data, err)
	}
}

// maxEphemeralConsumers is what events/bus lets a subscriber have.
const maxEphemeralConsumers = 64

// TestNamesThatConfigurationsKnow: words of the NATS server's configuration are names
// like others.
func TestNamesThatConfigurationsKnow(t *testing.T) {
	t.Parallel()
	names := []string{"true", "false", "yes", "no", "on", "off", "include", "jetstream", "k8s", "x-1"}
	s := startSubscribed(t, names...)
	for _, name := range names {
		_, js := s.as(t, name)
		if _, err := js.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEventsComeInOrder unless a subscriber asks for something else: of its own
// JetStream would send 1000 before the first is acknowledged.
func TestEventsComeInOrder(t *testing.T) {
	t.Parallel()
	s := startSubscribed(t, "billing")
	_, js := s.as(t, "billing")
	for asked, want := range map[int]int{0: 1, 1: 1, 500: 500, -1: -1} {
		consumer, err := js.CreateOrUpdateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "billing", MaxAckPending: asked})
		if err != nil {
			t.Fatal(err)
		}
		if got := consumer.CachedInfo().Config.MaxAckPending; got != want {
			t.Errorf("asked for %d: %d", asked, got)
		}
	}
	if _, err := js.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy}); err != nil {
		t.Errorf("without acknowledgements: %v", err)
	}
	conn, _ := s.as(t, "billing")
	const raw = `{"stream_name":"CARELOG","config":{"name":"fqT8zWcXv0"}}` // JetStream's own default needs no acknowledgements
	got, err := conn.Request("$JS.carelog.API.CONSUMER.CREATE.CARELOG.fqT8zWcXv0", []byte(raw), 5*time.Second)
	if err != nil || !strings.Contains(string(got.Data), `"ack_policy":"none"`) {
		t.Errorf("nothing is said of acknowledgements: %s, %v", got.Data, err)
	}
}

// TestASubscriberReadsNothing of the much that it asks for: it is disconnected, before
// that fills the server's memory. One who reads gets all of it.
func TestASubscriberReadsNothing(t *testing.T) {
	t.Parallel()
	s := startSubscribed(t, "billing")
	owner, js := s.owner(t)
	const messages, size = 30_000, 1 << 10
	for range messages {
		if err := owner.Publish("carelog.events.patient.registered", make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the NATS stream has them", 20*time.Second, func() bool {
		stream, err := js.Stream(t.Context(), "CARELOG")
		return err == nil && stream.CachedInfo().State.Msgs >= messages
	})
	conn, billing := s.as(t, "billing")
	stalled, err := net.Dial("tcp", strings.TrimPrefix(s.url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	request := func(name, inbox string) string {
		if _, err := billing.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Name: name, AckPolicy: jetstream.AckNonePolicy}); err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"batch":%d}`, messages)
		return fmt.Sprintf("PUB $JS.carelog.API.CONSUMER.MSG.NEXT.CARELOG.%s %s %d\r\n%s\r\n", name, inbox, len(body), body)
	}
	fmt.Fprintf(stalled, "CONNECT {\"user\":\"billing\",\"pass\":%q,\"verbose\":false}\r\nSUB _INBOX.stalled 1\r\n%s", s.passwords["billing"], request("stalled-1", "_INBOX.stalled"))
	s.program.nats.mu.Lock()
	server := s.program.nats.server
	s.program.nats.mu.Unlock()
	eventually(t, "it is disconnected", 20*time.Second, func() bool {
		connections, err := server.Connz(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range connections.Conns {
			if c.Pending > 2*maxPending {
				t.Fatalf("%d bytes wait for it", c.Pending)
			}
		}
		return server.NumSlowConsumers() == 1
	})

	reader, err := billing.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	all, err := reader.Messages(jetstream.PullMaxMessages(500))
	if err != nil {
		t.Fatal(err)
	}
	defer all.Stop()
	for range messages {
		if _, err := all.Next(jetstream.NextMaxWait(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if !conn.IsConnected() || conn.Stats().Reconnects > 0 {
		t.Error("who reads is disconnected, too")
	}
}
