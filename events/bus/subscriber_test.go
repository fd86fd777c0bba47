package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

func subscribe(t *testing.T, cfg SubscriberConfig) (*Subscriber, <-chan *message.Message) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := NewSubscriber(cfg)
	t.Cleanup(func() { s.Close() })
	messages, err := s.Subscribe(context.Background(), AllSubjects)
	if err != nil {
		t.Fatal(err)
	}
	return s, messages
}

func receive(t *testing.T, messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case msg, open := <-messages:
		if !open {
			t.Fatal("the channel is closed")
		}
		return msg
	case <-time.After(15 * time.Second):
		t.Fatal("no message")
	}
	return nil
}

// positionsIn are the positions that a message carries.
func positionsIn(t *testing.T, msg *message.Message) []events.Position {
	t.Helper()
	batch, ok := BatchFrom(msg.Context())
	if !ok {
		t.Fatal("no batch in the message's context")
	}
	var all []events.Position
	for i := range batch.Len() {
		log, e, err := batch.Event(i)
		if err != nil || log != testLog {
			t.Fatalf("log %v, error %v", log, err)
		}
		all = append(all, e.Position)
	}
	return all
}

func requireBatch(t *testing.T, messages <-chan *message.Message, first, last events.Position) {
	t.Helper()
	msg := receive(t, messages)
	if got, want := positionsIn(t, msg), positions(first, last); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("batch %v, want %v", got, want)
	}
	msg.Ack()
}

// receiveUpTo acknowledges whatever comes until the position was seen, and
// answers all positions.
func receiveUpTo(t *testing.T, messages <-chan *message.Message, last events.Position) []events.Position {
	t.Helper()
	var all []events.Position
	for len(all) == 0 || all[len(all)-1] < last {
		msg := receive(t, messages)
		all = append(all, positionsIn(t, msg)...)
		msg.Ack()
	}
	return all
}

func TestBatchGrowsWhileTheHandlerWorks(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	_, messages := subscribe(t, SubscriberConfig{Conn: conn})
	mustPublish(t, c, recorded(1, 1))
	slow := receive(t, messages) // and works on it
	mustPublish(t, c, recorded(2, 101))
	// The client fetched them all once the server has nothing pending for it.
	eventually(t, "prefetched", func() bool {
		for info := range lookUpStream(t, conn).ListConsumers(t.Context()).Info() {
			return info.NumPending == 0
		}
		return false
	})
	slow.Ack()
	batch := positionsIn(t, receive(t, messages))
	if len(batch) < 2 || batch[0] != 2 {
		t.Errorf("batch %v", batch)
	}
}

func TestBatchOfOneLooksAsPublished(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	_, messages := subscribe(t, SubscriberConfig{Conn: conn})
	e := recorded(1, 1)[0]
	mustPublish(t, c, []events.Recorded{e})
	msg := receive(t, messages)
	want := Encode(testLog, e)
	if msg.UUID != e.ID.String() || string(msg.Payload) != string(want.Payload) || msg.Metadata.Get(HeaderSubject) != "patient/1" {
		t.Errorf("%+v", msg)
	}
	if _, sent := msg.Metadata[jetstream.ExpectedLastSeqHeader]; sent {
		t.Error("the fence is in the metadata")
	}
}

func TestBatchTakesAWholeGroup(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	_, messages := subscribe(t, SubscriberConfig{Conn: conn, GroupWait: time.Minute})
	evs := group(1, 3)
	publishRaw(t, conn, testLog, evs[0])
	eventually(t, "the first was delivered", func() bool {
		for info := range lookUpStream(t, conn).ListConsumers(t.Context()).Info() {
			return info.Delivered.Stream == 1
		}
		return false
	})
	publishRaw(t, conn, testLog, evs[1:]...)
	msg := receive(t, messages)
	if got := positionsIn(t, msg); fmt.Sprint(got) != "[1 2 3]" {
		t.Fatalf("batch %v", got)
	}
	if msg.UUID != "1-3" || len(msg.Payload) != 0 {
		t.Errorf("message %q with payload %q", msg.UUID, msg.Payload)
	}
	msg.Ack()
	publishRaw(t, conn, testLog, recorded(4, 4)...) // no group: at once, though a minute may be waited
	requireBatch(t, messages, 4, 4)
}

// The rest of a group may never come: its relay has died.
func TestIncompleteGroupIsNotWaitedForLong(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	_, messages := subscribe(t, SubscriberConfig{Conn: conn})
	publishRaw(t, conn, testLog, group(1, 3)[:2]...)
	if got := receiveUpTo(t, messages, 2); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("received %v", got)
	}
}

func TestBatchIsBounded(t *testing.T) {
	conn := testBus(t)
	mustPublish(t, newCarrier(t, conn), group(101, 130))
	size := len(Encode(testLog, group(101, 130)[0]).Payload)
	for name, cfg := range map[string]SubscriberConfig{
		"by count": {MaxEvents: 10},
		"by bytes": {MaxBytes: 9*size + 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Conn, cfg.GroupWait = conn, time.Minute
			_, messages := subscribe(t, cfg)
			requireBatch(t, messages, 101, 110)
			requireBatch(t, messages, 111, 120)
			requireBatch(t, messages, 121, 130)
		})
	}
}

func TestNackBringsTheSameBatchAgain(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	mustPublish(t, c, group(1, 5))
	_, messages := subscribe(t, SubscriberConfig{Conn: conn, NackDelay: time.Millisecond})
	for range 3 {
		msg := receive(t, messages)
		if got := positionsIn(t, msg); fmt.Sprint(got) != "[1 2 3 4 5]" {
			t.Fatalf("batch %v", got)
		}
		ctx := msg.Context()
		msg.Nack()
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
			t.Fatal("the message's context outlives the nack")
		}
	}
	mustPublish(t, c, recorded(6, 6))
	requireBatch(t, messages, 1, 5)
	requireBatch(t, messages, 6, 6)
}

func TestConsumerDeletedOnTheServer(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	mustPublish(t, c, recorded(1, 2))
	_, messages := subscribe(t, SubscriberConfig{Conn: conn})
	receiveUpTo(t, messages, 2)
	for round := events.Position(3); round < 6; round++ {
		stream := lookUpStream(t, conn)
		for name := range stream.ConsumerNames(t.Context()).Name() {
			if err := stream.DeleteConsumer(t.Context(), name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				t.Fatal(err)
			}
		}
		mustPublish(t, c, recorded(round, round))
		requireBatch(t, messages, round, round)
	}
}

func TestNatsStreamDeletedAndMadeAgain(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	mustPublish(t, c, recorded(1, 2))
	s, messages := subscribe(t, SubscriberConfig{Conn: conn})
	receiveUpTo(t, messages, 2)
	if err := conn.js.DeleteStream(t.Context(), StreamName); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the subscriber tells", func() bool { return s.Err() != nil })
	if c.Publish(t.Context(), recorded(3, 3)) == nil {
		t.Fatal("published onto nothing")
	}
	requireResume(t, c, 0)
	mustPublish(t, c, recorded(1, 3)) // fewer and other sequences than before
	if got := receiveUpTo(t, messages, 3); fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("received %v", got)
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

func TestSubscriberOverARestartOfNats(t *testing.T) {
	nats := runRestartable(t)
	conn := connect(t, ConnConfig{URL: nats.url()})
	c := newCarrier(t, conn)
	_, messages := subscribe(t, SubscriberConfig{Conn: conn})
	for _, wiped := range []bool{false, true} {
		last, err := c.Resume(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mustPublish(t, c, recorded(last+1, last+3))
		receiveUpTo(t, messages, last+3)
		nats.stop()
		if wiped {
			if err := os.RemoveAll(nats.options.StoreDir); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the loss is noticed", func() bool { return conn.Err() != nil })
		nats.start()
		eventually(t, "the carrier is back", func() bool { _, err := c.Resume(t.Context()); return err == nil })
		mustPublish(t, c, recorded(last+4, last+4))
		requireBatch(t, messages, last+4, last+4)
	}
}

// What was on its way when the connection broke comes again, and nothing twice
// that was acknowledged.
func TestConnectionLostWhileReceiving(t *testing.T) {
	nats := runRestartable(t)
	c := newCarrier(t, connect(t, ConnConfig{URL: nats.url()}))
	conn := connect(t, ConnConfig{URL: nats.url()})
	_, messages := subscribe(t, SubscriberConfig{Conn: conn})
	var all []events.Position
	for p := events.Position(1); p <= 500; p += 100 {
		mustPublish(t, c, recorded(p, p+99))
		if err := conn.nc.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		all = append(all, receiveUpTo(t, messages, p+99)...)
	}
	if fmt.Sprint(all) != fmt.Sprint(positions(1, 500)) {
		t.Errorf("received %v", all)
	}
}

func TestOutageIsLoggedOnce(t *testing.T) {
	conn := testBus(t)
	var logged logText
	_, messages := subscribe(t, SubscriberConfig{Conn: conn, Logger: logged.logger(slog.LevelInfo)})
	eventually(t, "it is logged", func() bool { return strings.Contains(logged.String(), "level=WARN") })
	mustPublish(t, newCarrier(t, conn), recorded(1, 50))
	receiveUpTo(t, messages, 50)
	if text := logged.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "receiving from the NATS stream again") {
		t.Errorf("logged: %s", text)
	}
}

func TestCancelClosesTheChannel(t *testing.T) {
	conn := testBus(t)
	mustPublish(t, newCarrier(t, conn), recorded(1, 200))
	for round := range 150 {
		s := NewSubscriber(SubscriberConfig{Conn: conn, MaxEvents: 1 + round%3, NackDelay: time.Microsecond})
		ctx, cancel := context.WithCancel(t.Context())
		messages, err := s.Subscribe(ctx, AllSubjects)
		if err != nil {
			t.Fatal(err)
		}
		var stop sync.WaitGroup
		for range round % 7 {
			msg := receive(t, messages)
			if round%2 == 0 {
				msg.Ack()
			} else {
				msg.Nack()
			}
		}
		stop.Go(cancel)
		if round%2 == 0 {
			stop.Go(func() { s.Close() })
		}
		for range messages { // until closed, some unacknowledged
		}
		stop.Wait()
		s.Close()
	}
	if err := conn.Err(); err != nil {
		t.Errorf("the lent connection was closed: %v", err)
	}
}

func TestClosedSubscriber(t *testing.T) {
	s := NewSubscriber(SubscriberConfig{Conn: testBus(t)})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Subscribe(t.Context(), AllSubjects); !errors.Is(err, errClosed) {
		t.Errorf("error %v", err)
	}
}
