package bus

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

func mustPublish(t *testing.T, c *Carrier, evs []events.Recorded) {
	t.Helper()
	if err := c.Publish(t.Context(), evs); err != nil {
		t.Fatal(err)
	}
}

func requireResume(t *testing.T, c *Carrier, want events.Position) {
	t.Helper()
	got, err := c.Resume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("resumed at %d, want %d", got, want)
	}
}

func requirePositions(t *testing.T, conn *Conn, want ...events.Position) {
	t.Helper()
	if got := positionsOnStream(t, conn); !slices.Equal(got, want) {
		t.Errorf("on the NATS stream: %v, want %v", got, want)
	}
}

func TestNatsStreamIsMadeAsDesigned(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn)
	config := lookUpStream(t, conn).CachedInfo().Config
	if config.Retention != jetstream.LimitsPolicy || config.Discard != jetstream.DiscardOld ||
		config.Storage != jetstream.FileStorage || config.AllowDirect || config.Replicas != 1 ||
		config.Duplicates != 100*time.Millisecond || config.MaxAge != 3*24*time.Hour || config.MaxBytes != 256<<20 ||
		!slices.Equal(config.Subjects, []string{"carelog.events.>"}) || config.Metadata["carelog-log"] != testLog.String() {
		t.Errorf("%+v", config)
	}

	// Other settings come into force, what an operator set besides stays.
	config.Description = "kept"
	config.MaxMsgSize = 12345
	if _, err := conn.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	c := NewCarrier(CarrierConfig{Conn: conn, LogID: testLog, Stream: StreamConfig{MaxAge: time.Hour, MaxBytes: 1 << 20}})
	requireResume(t, c, 0)
	config = lookUpStream(t, conn).CachedInfo().Config
	if config.MaxAge != time.Hour || config.MaxBytes != 1<<20 || config.Description != "kept" || config.MaxMsgSize != 12345 {
		t.Errorf("after the change: %+v", config)
	}
}

func TestANatsStreamThatThereIsNoRoomFor(t *testing.T) {
	for what, conn := range map[string]*Conn{"create": testBus(t), "update": testBus(t)} {
		if what == "update" {
			newCarrier(t, conn)
		}
		c := NewCarrier(CarrierConfig{Conn: conn, LogID: testLog, Stream: StreamConfig{MaxBytes: 1 << 40}})
		if _, err := c.Resume(t.Context()); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "lower CARELOG_STREAM_MAX_BYTES") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestCarrierGoesOnWhereTheNatsStreamEnds(t *testing.T) {
	conn := testBus(t)
	c := NewCarrier(CarrierConfig{Conn: conn, LogID: testLog})
	if c.Publish(t.Context(), recorded(1, 1)) == nil {
		t.Fatal("published without knowing the end of the NATS stream")
	}
	requireResume(t, c, 0)
	mustPublish(t, c, recorded(10, 12)) // an empty NATS stream begins anywhere
	mustPublish(t, c, nil)
	mustPublish(t, c, recorded(13, 13))
	requireResume(t, newCarrier(t, conn), 13)

	for _, wrong := range [][]events.Recorded{
		recorded(13, 14), // again
		recorded(15, 15), // a gap
		append(recorded(14, 14), recorded(16, 16)...), // a gap inside
	} {
		requireResume(t, c, 13)
		if c.Publish(t.Context(), wrong) == nil {
			t.Errorf("published positions %d… behind 13", wrong[0].Position)
		}
	}
	requirePositions(t, conn, 10, 11, 12, 13)
}

func TestStaleCarrier(t *testing.T) {
	conn := testBus(t)
	stale, current := newCarrier(t, conn), newCarrier(t, conn)
	mustPublish(t, current, recorded(1, 3))
	requireErrorCode(t, stale.Publish(t.Context(), recorded(1, 2)), wrongLastSequence)
	if stale.Publish(t.Context(), recorded(1, 2)) == nil {
		t.Error("published after a failure without resuming")
	}
	requireResume(t, stale, 3)
	mustPublish(t, stale, recorded(4, 5))
	requirePositions(t, conn, 1, 2, 3, 4, 5)

	// Its longer chain is stored from where the other ended: the same events at
	// the same sequences. That it failed in part it is told all the same.
	requireErrorCode(t, current.Publish(t.Context(), recorded(4, 8)), wrongLastSequence)
	requireResume(t, current, 8)
	requirePositions(t, conn, 1, 2, 3, 4, 5, 6, 7, 8)
}

func TestCarrierAfterPurgeAndDeletions(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	mustPublish(t, c, recorded(1, 5))
	stream := lookUpStream(t, conn)
	if err := stream.DeleteMsg(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	requireResume(t, c, 4)
	mustPublish(t, c, recorded(5, 6))
	requirePositions(t, conn, 1, 2, 3, 4, 5, 6)

	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, c, recorded(7, 7)) // sequences go on after a purge
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	requireResume(t, c, 0)
	mustPublish(t, c, recorded(8, 9))
	requirePositions(t, conn, 8, 9)
}

func TestCarrierMakesADeletedNatsStreamAgain(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	mustPublish(t, c, recorded(1, 5))
	if err := conn.js.DeleteStream(t.Context(), StreamName); err != nil {
		t.Fatal(err)
	}
	if c.Publish(t.Context(), recorded(6, 7)) == nil {
		t.Fatal("published onto nothing")
	}
	requireResume(t, c, 0)
	mustPublish(t, c, recorded(6, 7))
	requirePositions(t, conn, 6, 7)
}

func TestCarrierOverARestartOfNats(t *testing.T) {
	nats := runRestartable(t)
	conn := connect(t, ConnConfig{URL: nats.url()})
	c := newCarrier(t, conn)
	mustPublish(t, c, recorded(1, 5))

	nats.stop()
	eventually(t, "the loss is noticed", func() bool { return conn.Err() != nil })
	began := time.Now()
	if c.Publish(t.Context(), recorded(6, 6)) == nil {
		t.Fatal("published to nobody")
	}
	if _, err := c.Resume(t.Context()); err == nil {
		t.Fatal("resumed from nobody")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("failing took %v", took)
	}
	nats.start()
	eventually(t, "the connection is back", func() bool { return conn.Err() == nil })
	requireResume(t, c, 5) // and what failed was not sent later
	mustPublish(t, c, recorded(6, 6))

	nats.stop()
	if err := os.RemoveAll(nats.options.StoreDir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is noticed", func() bool { return conn.Err() != nil })
	nats.start()
	eventually(t, "the connection is back", func() bool { return conn.Err() == nil })
	requireResume(t, c, 0)
	mustPublish(t, c, recorded(7, 8))
	requirePositions(t, conn, 7, 8)
}

func TestAnotherLogIsRefused(t *testing.T) {
	requireRefusal := func(t *testing.T, c *Carrier) {
		t.Helper()
		_, err := c.Resume(t.Context())
		var refusal *OtherLogError
		if !errors.As(err, &refusal) || refusal.Log != testLog || refusal.Found != otherLog.String() {
			t.Fatalf("error %v", err)
		}
		for _, part := range []string{testLog.String(), otherLog.String(), "CARELOG", "nats stream rm CARELOG"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q does not name %s", err, part)
			}
		}
		if c.Publish(t.Context(), recorded(1, 1)) == nil {
			t.Error("published all the same")
		}
	}
	t.Run("by the NATS stream's metadata", func(t *testing.T) {
		conn := testBus(t)
		requireResume(t, NewCarrier(CarrierConfig{Conn: conn, LogID: otherLog}), 0)
		requireRefusal(t, NewCarrier(CarrierConfig{Conn: conn, LogID: testLog}))
	})
	t.Run("by its last message", func(t *testing.T) {
		conn := testBus(t)
		c := newCarrier(t, conn)
		publishRaw(t, conn, otherLog, recorded(1, 1)...)
		requireRefusal(t, c)
	})
	t.Run("until it is deleted", func(t *testing.T) {
		conn := testBus(t)
		requireResume(t, NewCarrier(CarrierConfig{Conn: conn, LogID: otherLog}), 0)
		c := NewCarrier(CarrierConfig{Conn: conn, LogID: testLog})
		requireRefusal(t, c)
		if err := conn.js.DeleteStream(t.Context(), StreamName); err != nil {
			t.Fatal(err)
		}
		requireResume(t, c, 0)
		mustPublish(t, c, recorded(1, 1))
	})
}

func TestForeignMessageAtTheEnd(t *testing.T) {
	conn := testBus(t)
	var logged logText
	c := NewCarrier(CarrierConfig{Conn: conn, LogID: testLog, Logger: logged.logger(slog.LevelInfo)})
	requireResume(t, c, 0)
	mustPublish(t, c, recorded(1, 2))
	publishForeign(t, conn)
	requireResume(t, c, 0)
	mustPublish(t, c, recorded(2, 3))
	requirePositions(t, conn, 1, 2, 0, 2, 3)
	if !strings.Contains(logged.String(), "carelog.events.by.hand") {
		t.Errorf("nothing was logged: %s", logged.String())
	}
}

// A message that took the place of the first of a chain: the others are stored
// behind it, and must not be taken for the whole.
func TestForeignMessageInPlaceOfAnEvent(t *testing.T) {
	conn := testBus(t)
	c := newCarrier(t, conn)
	mustPublish(t, c, recorded(1, 2))
	publishForeign(t, conn)
	requireErrorCode(t, c.Publish(t.Context(), recorded(3, 5)), wrongLastSequence)
	requirePositions(t, conn, 1, 2, 0, 4, 5)
	requireResume(t, c, 2)
	mustPublish(t, c, recorded(3, 6))
	requirePositions(t, conn, 1, 2, 0, 4, 5, 3, 4, 5, 6)
}

func publishForeign(t *testing.T, conn *Conn) {
	t.Helper()
	if _, err := conn.js.Publish(t.Context(), "carelog.events.by.hand", []byte("hello")); err != nil {
		t.Fatal(err)
	}
}

// TestAStopAwaitsTheMakingOfTheStream: a NATS server inside the process that is
// shut down while it makes a NATS stream would leave its files open.
func TestAStopAwaitsTheMakingOfTheStream(t *testing.T) {
	for i := range 50 {
		s := runServer(t)
		conn := connect(t, ConnConfig{InProcess: s})
		carrier := NewCarrier(CarrierConfig{Conn: conn, LogID: testLog, Own: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
		_, _ = carrier.Resume(ctx) // it may have been told to stop before it began
		cancel()
		conn.Close()
		stopServer(s)
		eventually(t, "the NATS server has closed its streams", func() bool { return !onStack("flushStreamStateLoop") })
	}
}

// onStack tells whether a goroutine is in the function.
func onStack(function string) bool {
	stacks := make([]byte, 1<<20)
	return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), function+"(")
}

// TestAStreamWhoseFilesCannotBeMadeAtFirst is what a server answers that still removes the
// empty directory of a stream deleted before. A file is in the way here, which it removes
// with the first attempt.
func TestAStreamWhoseFilesCannotBeMadeAtFirst(t *testing.T) {
	dir := t.TempDir()
	conn := connect(t, ConnConfig{InProcess: startServer(t, server.Options{DontListen: true, StoreDir: dir})})
	account := filepath.Join(dir, "jetstream", "$G")
	if err := os.MkdirAll(account, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(account, "streams"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	newCarrier(t, conn)
}

// TestAPurgedStreamOfALogThatWentBack still has its consumers, which have got events that
// are not in the log. It is refused as one that holds them is, and made anew where it is
// our own.
func TestAPurgedStreamOfALogThatWentBack(t *testing.T) {
	for _, own := range []bool{false, true} {
		conn, log := testBus(t), &memoryLog{head: 12}
		config := CarrierConfig{Conn: conn, LogID: testLog, Log: log, Own: own, Logger: slog.New(slog.DiscardHandler)}
		c := NewCarrier(config)
		resume := func() error {
			_, err := c.Resume(t.Context())
			return err
		}
		if err := resume(); err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(t.Context(), recorded(1, 12)); err != nil {
			t.Fatal(err)
		}
		stream := lookUpStream(t, conn)
		if err := stream.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := resume(); err != nil {
			t.Errorf("a purge alone: %v", err)
		}
		log.head = 7
		var foreign *ForeignEventError
		if err := resume(); own != (err == nil) || !own && (!errors.As(err, &foreign) || foreign.Position != 12) {
			t.Errorf("own %v: %v", own, err)
		}
		again := lookUpStream(t, conn)
		if own == again.CachedInfo().Created.Equal(stream.CachedInfo().Created) {
			t.Errorf("own %v, and the stream is of %v after %v", own, again.CachedInfo().Created, stream.CachedInfo().Created)
		}
		if err := conn.js.DeleteStream(t.Context(), StreamName); err != nil {
			t.Fatal(err)
		}
		if err := resume(); err != nil {
			t.Errorf("a new stream: %v", err)
		}
	}
}
