package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/cloudevent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is the API of a log in memory, and a NATS stream that some of its events are
// put on.
type server struct {
	t      *testing.T
	api    *httptest.Server
	js     jetstream.JetStream
	conn   *nats.Conn
	config Config

	mu     sync.Mutex
	log    uuid.UUID
	evs    []events.Recorded
	tokens int // that were given out
	asked  int
	refuse func(n int) int // the status of the nth answer
	hidden events.Position // an event that the API does not show
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, log: uuid.New(), refuse: func(int) int { return 200 }}
	s.api = httptest.NewServer(s)
	t.Cleanup(s.api.Close)
	broker, err := natsserver.NewServer(&natsserver.Options{DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	t.Cleanup(func() { broker.Shutdown(); broker.WaitForShutdown() })
	if !broker.ReadyForConnections(10 * time.Second) {
		t.Fatal("no NATS")
	}
	if s.conn, err = nats.Connect("", nats.InProcessServer(broker)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.Close)
	if s.js, err = jetstream.New(s.conn); err != nil {
		t.Fatal(err)
	}
	s.makeStream()
	// With another stream there the server does not remove the account's directories in the
	// background when the one above is deleted, possibly from under one that is made next.
	if _, err := s.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}}); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	s.config = Config{
		URL: s.api.URL, NATS: s.conn, HTTP: client, Poll: 100 * time.Millisecond,
		Token: func(context.Context) (string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.tokens++
			return strconv.Itoa(s.tokens), nil
		},
	}
	return s
}

func (s *server) makeStream() {
	s.t.Helper()
	_, err := s.js.CreateStream(s.t.Context(), jetstream.StreamConfig{Name: "CARELOG", Subjects: []string{"carelog.events.>"}})
	if err != nil {
		s.t.Fatal(err)
	}
}

// add appends an event, and publishes it unless it is lost.
func (s *server) add(lost bool) {
	s.t.Helper()
	s.mu.Lock()
	position := events.Position(len(s.evs) + 1)
	e := events.Recorded{
		Event: events.Event{ID: uuid.New(), Type: events.PatientRemovedType, SchemaVersion: 1, Tags: []events.Tag{"patient:7", "owner:1"},
			Data: json.RawMessage(`{"patient_id":7,"owner_id":1}`), Metadata: json.RawMessage(`{"actor":{"user_id":1}}`)},
		Position: position,
	}
	s.evs = append(s.evs, e)
	log := s.log
	s.mu.Unlock()
	if lost {
		return
	}
	_, err := s.js.PublishMsg(s.t.Context(), &nats.Msg{
		Subject: "carelog.events.patient.removed", Data: cloudevent.Append(nil, log, e),
		Header: nats.Header{positionHeader: {strconv.Itoa(int(position))}},
	})
	if err != nil {
		s.t.Error(err)
	}
}

// ServeHTTP answers GET /api/events/.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if status := s.refuse(s.asked); status != 200 {
		w.WriteHeader(status)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+strconv.Itoa(s.tokens) {
		w.WriteHeader(401)
		return
	}
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	answer := map[string]any{"source": cloudevent.Source(s.log), "head": len(s.evs), "next": len(s.evs), "all": s.hidden == 0}
	if after > len(s.evs) || after > 0 && s.evs[after-1].ID.String() != r.URL.Query().Get("after_id") {
		w.WriteHeader(409)
		_ = json.NewEncoder(w).Encode(answer)
		return
	}
	const limit = 7 // fewer than are asked for
	results := []json.RawMessage{}
	for i := after; i < len(s.evs); i++ {
		if len(results) == limit {
			answer["next"] = i
			break
		}
		if s.evs[i].Position != s.hidden {
			results = append(results, cloudevent.Append(nil, s.log, s.evs[i]))
		}
	}
	if next := answer["next"].(int); next > 0 {
		answer["next_id"] = s.evs[next-1].ID
	}
	answer["results"] = results
	_ = json.NewEncoder(w).Encode(answer)
}

// checkpoint is that of who has handled the event at a position.
func (s *server) checkpoint(position events.Position) Checkpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	if position == 0 {
		return Checkpoint{}
	}
	return Checkpoint{s.log, position, s.evs[position-1].ID}
}

// follow runs Follow until it has handed over n events, and answers their positions.
func (s *server) follow(after events.Position, n int, seen func(Event) error) (positions []events.Position, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	enough := errors.New("enough")
	err = Follow(ctx, s.config, s.checkpoint(after), func(_ context.Context, e Event) error {
		positions = append(positions, e.Position)
		if seen != nil {
			if err := seen(e); err != nil {
				return err
			}
		}
		if len(positions) == n {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return positions, err
}

func consecutive(positions []events.Position, first events.Position) bool {
	for i, p := range positions {
		if p != first+events.Position(i) {
			return false
		}
	}
	return true
}

// awaitFollower waits until one follows over NATS. The server tells nobody of that.
func (s *server) awaitFollower() {
	for s.consumers() == 0 {
		time.Sleep(time.Millisecond)
	}
}

// consumers is how many the stream has.
func (s *server) consumers() int {
	stream, err := s.js.Stream(s.t.Context(), "CARELOG")
	if err != nil {
		s.t.Error(err)
		return -1
	}
	return stream.CachedInfo().State.Consumers
}
