package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

// carrierFaults are those of the NATS server and of its stream. Writes go on
// meanwhile.
var carrierFaults = []fault{
	{"NATS stopped and started", withoutNATS(syscall.SIGTERM, nil)},
	{"NATS killed and started", withoutNATS(syscall.SIGKILL, nil)},
	{"NATS killed, its store wiped", withoutNATS(syscall.SIGKILL, func(s *site) error { return os.RemoveAll(s.broker.dir) })},
	{"NATS put back to an older store", func(t *testing.T, s *site, r *rand.Rand) time.Time {
		copied := t.TempDir() + "/store"
		s.broker.end(t, syscall.SIGTERM)
		if err := os.CopyFS(copied, os.DirFS(s.broker.dir)); err != nil {
			t.Error(err)
		}
		s.broker.start(t)
		s.awaitRecovery(t, "NATS stopped and started", time.Now())
		return withoutNATS(syscall.SIGKILL, func(s *site) error {
			return errors.Join(os.RemoveAll(s.broker.dir), os.CopyFS(s.broker.dir, os.DirFS(copied)))
		})(t, s, r)
	}},
	{"SIGSTOP and SIGCONT of NATS", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		s.broker.signal(t, syscall.SIGSTOP)
		defer s.broker.signal(t, syscall.SIGCONT)
		s.mustWrite(t, "NATS hangs")
		return time.Now()
	}},
	{"the end of the NATS stream deleted", onStream(func(ctx context.Context, _ *site, _ jetstream.JetStream, stream jetstream.Stream) error {
		last := stream.CachedInfo().State.LastSeq
		for sequence := last; sequence > last-min(last, 20); sequence-- {
			if err := stream.DeleteMsg(ctx, sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				return err
			}
		}
		return nil
	})},
	{"the NATS stream purged", onStream(func(ctx context.Context, _ *site, _ jetstream.JetStream, stream jetstream.Stream) error {
		return stream.Purge(ctx)
	})},
	{"the NATS stream deleted", onStream(func(ctx context.Context, _ *site, js jetstream.JetStream, _ jetstream.Stream) error {
		return js.DeleteStream(ctx, "CARELOG")
	})},
	{"the consumers deleted", onStream(func(ctx context.Context, _ *site, _ jetstream.JetStream, stream jetstream.Stream) error {
		names := stream.ConsumerNames(ctx)
		count := 0
		for name := range names.Name() {
			count++
			if err := stream.DeleteConsumer(ctx, name); err != nil {
				return err
			}
		}
		if names.Err() == nil && count == 0 {
			return errors.New("there is no consumer")
		}
		return names.Err()
	})},
	{"copies on the NATS stream, in disorder", onStream(func(ctx context.Context, _ *site, js jetstream.JetStream, stream jetstream.Stream) error {
		state := stream.CachedInfo().State
		var copies []*nats.Msg
		for sequence := state.LastSeq; sequence >= state.FirstSeq && len(copies) < 30; sequence-- {
			found, err := stream.GetMsg(ctx, sequence)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			found.Header.Del(jetstream.ExpectedLastSeqHeader)
			copies = append(copies, &nats.Msg{Subject: found.Subject, Header: found.Header, Data: found.Data})
		}
		rand.New(rand.NewPCG(4, state.LastSeq)).Shuffle(len(copies), func(i, j int) { copies[i], copies[j] = copies[j], copies[i] })
		for _, one := range copies {
			if _, err := js.PublishMsg(ctx, one); err != nil {
				return err
			}
		}
		return nil
	})},
}

// withoutNATS ends the NATS server, writes while it is away, does something to
// its store, and starts it again.
func withoutNATS(end syscall.Signal, meanwhile func(*site) error) func(*testing.T, *site, *rand.Rand) time.Time {
	return func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		s.broker.end(t, end)
		s.mustWrite(t, "NATS is away")
		if meanwhile != nil {
			if err := meanwhile(s); err != nil {
				t.Error(err)
			}
		}
		s.broker.start(t)
		return time.Now()
	}
}

// onStream does something to the NATS stream behind the program's back.
func onStream(do func(context.Context, *site, jetstream.JetStream, jetstream.Stream) error) func(*testing.T, *site, *rand.Rand) time.Time {
	return func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		s.broker.stream(t, func(js jetstream.JetStream, stream jetstream.Stream) error { return do(t.Context(), s, js, stream) })
		return time.Now()
	}
}

// TestTheCarrierMayDie: whatever becomes of NATS, writes go on, nothing is
// skipped or applied twice, and soon events come over it again.
func TestTheCarrierMayDie(t *testing.T) {
	t.Parallel()
	newSite(t, false).sufferAll(t, carrierFaults)
}

// TestBatchesInDisorder doubles, drops, holds back and shuffles what the bus
// delivers. The read tables are built as if nothing had happened.
func TestBatchesInDisorder(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var number int
	var held []events.Recorded
	seen := map[string]int{}
	config := databaseConfig(t)
	server := startBetween(t, config, between{deliver: func(next deliver) deliver {
		return func(ctx context.Context, evs []events.Recorded) error {
			mu.Lock()
			defer mu.Unlock()
			number++
			doing := []string{"as it is", "doubled", "lost", "its halves swapped", "held back", "as it is"}[number%6]
			if doing == "its halves swapped" && len(evs) < 2 {
				doing = "as it is"
				number-- // it is done to the next batch that has halves
			}
			seen[doing]++
			switch doing {
			case "doubled":
				if err := next(ctx, evs); err != nil {
					return err
				}
				return next(ctx, evs)
			case "lost":
				return nil
			case "its halves swapped":
				_ = next(ctx, evs[len(evs)/2:]) // a gap, which is refused
				return next(ctx, evs[:len(evs)/2])
			case "held back":
				held = slices.Clone(evs)
				return nil
			}
			if err := next(ctx, evs); err != nil && !strings.Contains(err.Error(), "must be applied next") {
				return err
			}
			late := held
			held = nil
			if len(late) > 0 {
				_ = next(ctx, late) // late: either it fills the gap, or it is there already
			}
			return nil
		}
	}})
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	h := newRecording(&tally{})
	var k known
	var all sync.WaitGroup
	for client := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(5, uint64(client)))
			for i := range 25 {
				o, _ := h.do(func() *running { return server }, access, client, k.draw(r, h, client, i))
				k.learn(o)
			}
		})
	}
	all.Wait()
	if len(h.tally.unexpected) > 0 || h.tally.pending.Load() > 0 {
		t.Errorf("%d pending; %s", h.tally.pending.Load(), h.tally.unexpected)
	}
	if err := h.check(practiceModel); err != nil {
		t.Error(err)
	}
	mustEqualFold(t, config.DatabaseURL)
	mu.Lock()
	defer mu.Unlock()
	for _, doing := range []string{"doubled", "lost", "its halves swapped", "held back"} {
		if seen[doing] == 0 {
			t.Errorf("no batch was %s: %s", doing, fmt.Sprint(seen))
		}
	}
}
