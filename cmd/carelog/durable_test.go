package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// follower is a system of somebody else that reads a durable consumer, and goes by positions.
type follower struct {
	last  atomic.Int64 // position up to which it has every event, in order
	twice atomic.Int64
	gaps  atomic.Int64
}

// run fetches until the context ends. What fails it tries again.
func (f *follower) run(ctx context.Context, js jetstream.JetStream, name string) {
	for ctx.Err() == nil {
		consumer, err := js.Consumer(ctx, "CARELOG", name)
		if err != nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		batch, err := consumer.Fetch(100, jetstream.FetchMaxWait(time.Second), jetstream.FetchHeartbeat(400*time.Millisecond))
		if err != nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		for msg := range batch.Messages() {
			var position int64
			fmt.Sscan(msg.Headers().Get("Carelog-Position"), &position)
			switch last := f.last.Load(); {
			case position <= last:
				f.twice.Add(1)
			case position > last+1:
				f.gaps.Add(1)
			default:
				f.last.Store(position)
			}
			_ = msg.Ack() // one that is lost brings the message again
		}
	}
}

// TestADurableConsumerSurvives what becomes of the server: killed with its NATS and
// its PostgreSQL, and without the store of NATS. The subscriber stays connected.
func TestADurableConsumerSurvives(t *testing.T) {
	t.Parallel()
	var config Config
	url, passwords := listen(t, &config, "billing")
	vars := map[string]string{
		"CARELOG_DATA_DIR": dataDir(t), "DATABASE_URL": "", "NATS_URL": "",
		"CARELOG_NATS_LISTEN": config.NATSListen, "CARELOG_NATS_SUBSCRIBERS": config.NATSSubscribers,
	}
	server := startProcess(t, vars)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	written := int64(1)
	write := func(count int) {
		t.Helper()
		for range count {
			server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
			written++
		}
	}
	_, js := (&subscribed{url: url, passwords: passwords}).as(t, "billing")
	create := func() (jetstream.Consumer, error) {
		return js.CreateOrUpdateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "billing", AckWait: 2 * time.Second})
	}
	if _, err := create(); err != nil {
		t.Fatal(err)
	}
	var f follower
	follow := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { f.run(ctx, js, "billing") })
		stop = sync.OnceFunc(func() {
			cancel()
			work.Wait()
		})
		t.Cleanup(stop)
		return stop
	}
	stop := follow()
	caughtUp := func(when string) {
		t.Helper()
		eventually(t, "every event is followed "+when, 20*time.Second, func() bool { return f.last.Load() == written })
	}
	write(20)
	caughtUp("at first")
	for when, end := range map[string]syscall.Signal{
		"after a restart of the server, of its NATS and of its PostgreSQL": syscall.SIGTERM,
		"after kill -9 of all three":                                       syscall.SIGKILL,
	} {
		write(5)
		if err := server.command.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		server.wait(t)
		server = startProcess(t, vars)
		write(5)
		caughtUp(when)
	}
	consumer, err := js.Consumer(t.Context(), "CARELOG", "billing")
	if err != nil {
		t.Fatal(err)
	}
	if delivered := consumer.CachedInfo().Delivered.Stream; delivered < uint64(written) {
		t.Errorf("it is another consumer, and at message %d", delivered)
	}

	stop()
	write(10) // is not followed before the NATS stream is gone
	server.kill(t)
	if err := os.RemoveAll(filepath.Join(vars["CARELOG_DATA_DIR"], "nats")); err != nil {
		t.Fatal(err)
	}
	server = startProcess(t, vars)
	write(3)
	eventually(t, "the consumer is gone with the store", 20*time.Second, func() bool {
		_, err := js.Consumer(t.Context(), "CARELOG", "billing")
		return errors.Is(err, jetstream.ErrConsumerNotFound)
	})
	goOn(t, server.running, access, js, &f, create)
	follow()
	caughtUp("on the new NATS stream")
	if f.gaps.Load() > 0 {
		t.Errorf("%d gaps", f.gaps.Load())
	}
}

// goOn is what a subscriber does that finds no consumer: it makes one, compares where
// the NATS stream begins with the position up to which it has everything, and gets what is
// missing from the log.
func goOn(t *testing.T, server *running, access string, js jetstream.JetStream, f *follower, create func() (jetstream.Consumer, error)) {
	t.Helper()
	if _, err := create(); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "CARELOG")
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.GetMsg(t.Context(), stream.CachedInfo().State.FirstSeq)
	if err != nil {
		t.Fatal(err)
	}
	begin, err := strconv.ParseInt(first.Header.Get("Carelog-Position"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if begin <= f.last.Load()+1 {
		t.Fatalf("the NATS stream begins at %d, and nothing is missing behind %d", begin, f.last.Load())
	}
	got := server.mustAs(t, access, "GET", fmt.Sprintf("/api/events/?after=%d", f.last.Load()), "", 200)
	var page struct {
		Results []struct{ Position string }
	}
	if err := json.Unmarshal(got.body, &page); err != nil {
		t.Fatal(err)
	}
	for _, event := range page.Results {
		if position, _ := strconv.ParseInt(event.Position, 10, 64); position == f.last.Load()+1 && position < begin {
			f.last.Store(position)
		}
	}
	if f.last.Load() != begin-1 {
		t.Fatalf("the log gives events up to %d, and the NATS stream begins at %d", f.last.Load(), begin)
	}
}
