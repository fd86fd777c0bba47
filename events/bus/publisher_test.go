package bus

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

const wrongLastSequence = 10071

func encodeAll(evs []events.Recorded) []*message.Message {
	var msgs []*message.Message
	for _, e := range evs {
		msgs = append(msgs, Encode(testLog, e))
	}
	return msgs
}

func fenced(conn *Conn, last uint64) *Publisher {
	p := NewPublisher(PublisherConfig{Conn: conn, Fence: true, AckWait: 2 * time.Second})
	p.Expect(last)
	return p
}

func requireErrorCode(t *testing.T, err error, code jetstream.ErrorCode) {
	t.Helper()
	var apiError *jetstream.APIError
	if !errors.As(err, &apiError) || apiError.ErrorCode != code {
		t.Fatalf("error %v, want the API error %d", err, code)
	}
}

func TestChainsOfAnyLength(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	p := fenced(conn, 0)
	next := events.Position(1)
	for _, n := range []events.Position{1, 2, chainLength - 1, chainLength, chainLength + 1, 3 * chainLength} {
		if err := p.Publish(SubjectPrefix, encodeAll(recorded(next, next+n-1))...); err != nil {
			t.Fatalf("%d messages: %v", n, err)
		}
		next += n
	}
	if got := positionsOnStream(t, conn); !slices.Equal(got, positions(1, next-1)) {
		t.Errorf("on the NATS stream: %d messages, out of line", len(got))
	}
}

func TestStalePublisherGetsAnErrorAndNothingIsInterleaved(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	stale, current := fenced(conn, 0), fenced(conn, 0)
	if err := current.Publish(SubjectPrefix, encodeAll(recorded(1, 3))...); err != nil {
		t.Fatal(err)
	}
	err := stale.Publish(SubjectPrefix, encodeAll(recorded(1, 3))...)
	requireErrorCode(t, err, wrongLastSequence)
	if !strings.Contains(err.Error(), "position 1") {
		t.Errorf("error %q does not name the position", err)
	}
	if got := positionsOnStream(t, conn); !slices.Equal(got, positions(1, 3)) {
		t.Errorf("on the NATS stream: %v", got)
	}

	if err := stale.Publish(SubjectPrefix, encodeAll(recorded(4, 4))...); !errors.Is(err, errNoSequence) {
		t.Errorf("after a failure: %v, want a refusal", err)
	}
	stale.Expect(3)
	if err := stale.Publish(SubjectPrefix, encodeAll(recorded(4, 4))...); err != nil {
		t.Error(err)
	}
}

// A chain must not be accepted behind the one who got there first, however
// the two are mixed.
func TestManyPublishersOfOneLog(t *testing.T) {
	const last = 300
	run := func(t *testing.T, fence bool) []events.Position {
		s := runServer(t)
		conn := connect(t, ConnConfig{InProcess: s})
		newCarrier(t, conn)
		var publishers sync.WaitGroup
		for range 4 {
			publishers.Go(func() {
				own := connect(t, ConnConfig{InProcess: s})
				if !fence {
					p := NewPublisher(PublisherConfig{Conn: own})
					if err := p.Publish(SubjectPrefix, encodeAll(recorded(1, last))...); err != nil {
						t.Error(err)
					}
					return
				}
				c := NewCarrier(CarrierConfig{Conn: own, LogID: testLog})
				for at := events.Position(0); at < last; {
					var err error
					if at, err = c.Resume(t.Context()); err != nil {
						t.Error(err)
						return
					}
					for at < last {
						end := min(at+7, last)
						if c.Publish(t.Context(), group(at+1, end)) != nil {
							break // another was first: resume
						}
						at = end
					}
				}
			})
		}
		publishers.Wait()
		return positionsOnStream(t, conn)
	}
	t.Run("fenced", func(t *testing.T) {
		if got := run(t, true); !slices.Equal(got, positions(1, last)) {
			t.Errorf("on the NATS stream: %v", got)
		}
	})
	t.Run("control: without the fence it goes wrong", func(t *testing.T) {
		if got := run(t, false); slices.Equal(got, positions(1, last)) {
			t.Error("the test proves nothing")
		}
	})
}

func TestChainBrokenInTheMiddle(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	config := lookUpStream(t, conn).CachedInfo().Config
	config.MaxMsgSize = 2000
	if _, err := conn.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	p := fenced(conn, 0)
	evs := recorded(1, 5)
	evs[2].Data = bytes.Repeat([]byte("1"), 3000)
	err := p.Publish(SubjectPrefix, encodeAll(evs)...)
	if err == nil || !strings.Contains(err.Error(), "position 3") || !strings.Contains(err.Error(), "message size exceeds") {
		t.Errorf("error %v", err)
	}
	requirePositions(t, conn, 1, 2) // and not 4 and 5
	p.Expect(2)                     // their late replies must not be taken for those of another chain
	if err := p.Publish(SubjectPrefix, encodeAll(recorded(3, 5))...); err != nil {
		t.Error(err)
	}
}

func TestMessageLargerThanTheServerTakes(t *testing.T) {
	conn := connect(t, ConnConfig{InProcess: startServer(t,
		server.Options{DontListen: true, StoreDir: t.TempDir(), MaxPayload: 4096})})
	newCarrier(t, conn)
	for _, large := range []int{1, 2} { // in the middle, and last
		evs := recorded(1, 3)
		evs[large].Data = bytes.Repeat([]byte("1"), 5000)
		err := fenced(conn, lookUpStream(t, conn).CachedInfo().State.LastSeq).Publish(SubjectPrefix, encodeAll(evs)...)
		if !errors.Is(err, nats.ErrMaxPayload) || !strings.Contains(err.Error(), "position "+string(rune('1'+large))) ||
			!strings.Contains(err.Error(), "max_payload is 4096") {
			t.Errorf("error %v", err)
		}
	}
}

func TestPublishWithoutNatsStream(t *testing.T) {
	conn := testBus(t)
	err := fenced(conn, 0).Publish(SubjectPrefix, encodeAll(recorded(1, 2))...)
	if !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("error %v", err)
	}
}

func TestClosedPublisher(t *testing.T) {
	conn := testBus(t)
	p := fenced(conn, 0)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(SubjectPrefix, encodeAll(recorded(1, 1))...); !errors.Is(err, errClosed) {
		t.Errorf("error %v", err)
	}
	if err := conn.Err(); err != nil {
		t.Errorf("the connection was closed, too: %v", err)
	}
}

// The measured form of the relay's publish, a chain of 10 events.
func BenchmarkPublishChain(b *testing.B) {
	conn := testBus(b)
	c := newCarrier(b, conn)
	next := events.Position(1)
	for b.Loop() {
		if err := c.Publish(b.Context(), group(next, next+9)); err != nil {
			b.Fatal(err)
		}
		next += 10
	}
}

// TestLostConnectionEndsTheWait: a reply that is awaited when the connection is
// lost never comes, however long one may wait.
func TestLostConnectionEndsTheWait(t *testing.T) {
	broker := runRestartable(t)
	conn := connect(t, ConnConfig{URL: broker.url()})
	taken, err := conn.nc.SubscribeSync(AllSubjects) // in place of a NATS stream, and mute
	if err != nil {
		t.Fatal(err)
	}
	p := NewPublisher(PublisherConfig{Conn: conn, AckWait: time.Hour})
	failed := make(chan error, 1)
	go func() { failed <- p.Publish(SubjectPrefix, encodeAll(recorded(1, 1))...) }()
	if _, err := taken.NextMsg(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	broker.stop()
	select {
	case err := <-failed:
		if !errors.Is(err, errLost) {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits on")
	}
}
