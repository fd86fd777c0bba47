package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/client"
	"github.com/carelog/carelog/events/cloudevent"
)

// BenchmarkFollowing measures those who follow the events: how fast they catch up, and
// how late what happens reaches them, by the database's clock. Over NATS they are a
// subscriber with an account of its own.
//
//	make bench-components BENCH="-bench Following -benchtime 1x"
func BenchmarkFollowing(b *testing.B) {
	config := databaseConfig(b)
	config.AccessTokenLifetime = time.Hour
	config.StreamMaxBytes = 512 << 20
	s := &subscribed{}
	s.url, s.passwords = listen(b, &config, "billing")
	server := start(b, config)
	s.awaitStream(b, "billing")
	const past = 200_000
	fillLog(b, config.DatabaseURL, past)
	runSQL(b, config.DatabaseURL, fmt.Sprintf("select setval('patient_ids', %d)", past))
	access, _ := server.register(b, "John Doe", "john@example.com", oldPassword)
	_, js := s.as(b, "billing")
	eventually(b, "the NATS stream has all events", time.Minute, func() bool {
		stream, err := js.Stream(b.Context(), "CARELOG")
		return err == nil && stream.CachedInfo().State.Msgs > past
	})
	if err := withOperator(b.Context(), config, quiet(), func(ctx context.Context, o *operator) error {
		user, err := o.findUser(ctx, "john@example.com")
		if err == nil {
			_, _, err = o.commands.GrantRole(ctx, usersCaller(), user.ID, events.Auditor)
		}
		return err
	}); err != nil {
		b.Fatal(err)
	}
	follow := client.Config{URL: server.url, Token: func(context.Context) (string, error) { return access, nil }}

	b.Run("catch up over HTTP, lines", func(b *testing.B) {
		for b.Loop() {
			r, _ := http.NewRequestWithContext(b.Context(), "GET", server.url+"/api/events/", nil)
			r.Header.Set("Authorization", "Bearer "+access)
			r.Header.Set("Accept", "application/x-ndjson")
			answer, err := server.client.Transport.RoundTrip(r)
			if err != nil {
				b.Fatal(err)
			}
			lines := bufio.NewScanner(answer.Body)
			n := 0
			for lines.Scan() {
				n++
			}
			answer.Body.Close()
			if n < past {
				b.Fatal(n, lines.Err())
			}
		}
		b.ReportMetric(float64(past*b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("catch up over HTTP, client", func(b *testing.B) {
		for b.Loop() {
			err := client.Follow(b.Context(), follow, client.Checkpoint{}, func(_ context.Context, e client.Event) error {
				if e.Position == past {
					return errEnough
				}
				return nil
			})
			if err != errEnough {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(past*b.N)/b.Elapsed().Seconds(), "events/s")
	})
	catchUp := func(name string, count int, consumer func() (jetstream.Consumer, error)) {
		b.Run("catch up over NATS, "+name, func(b *testing.B) {
			for b.Loop() {
				c, err := consumer()
				if err != nil {
					b.Fatal(err)
				}
				messages, err := c.Messages()
				if err != nil {
					b.Fatal(err)
				}
				for n := range count {
					message, err := messages.Next()
					if err != nil || message.Headers().Get("Carelog-Position") != strconv.Itoa(n+1) {
						b.Fatal(n, message, err)
					}
					if name == "durable" {
						_ = message.Ack()
					}
				}
				messages.Stop()
			}
			b.ReportMetric(float64(count*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
	catchUp("ordered", past, func() (jetstream.Consumer, error) {
		return js.OrderedConsumer(b.Context(), "CARELOG", jetstream.OrderedConsumerConfig{})
	})
	catchUp("durable", past/10, func() (jetstream.Consumer, error) {
		_ = js.DeleteConsumer(b.Context(), "CARELOG", "billing") // from the round before
		return js.CreateConsumer(b.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "billing", MaxAckPending: 1})
	})
	b.Run("1000 idle readers", func(b *testing.B) {
		for b.Loop() {
			b.ReportMetric(float64(server.measureIdle(b, access, 1000))/(1<<20), "MiB")
		}
	})
	for _, by := range []string{"NATS", "SSE"} {
		for _, rate := range []int{1000, 5000} {
			b.Run(fmt.Sprintf("live by %s at %d a second", by, rate), func(b *testing.B) {
				for b.Loop() {
					late := server.measureFollowers(b, access, by, s, rate, 10)
					slices.Sort(late)
					b.ReportMetric(float64(len(late)), "events")
					b.ReportMetric(float64(quantile(late, 0.5))/1e6, "p50-ms")
					b.ReportMetric(float64(quantile(late, 0.99))/1e6, "p99-ms")
				}
			})
		}
	}
}

var errEnough = fmt.Errorf("enough")

// measureIdle answers how much more memory the process has in use, in bytes, with so many
// streams of events that have nothing to send. The clients are in the process as well, but are
// no more than a socket each.
func (r *running) measureIdle(b *testing.B, access string, readers int) int64 {
	b.Helper()
	_, _, head := eventsPage(b, r, access, "?limit=1")
	inUse := func() int64 {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.Sys - m.HeapReleased)
	}
	before := inUse()
	request := fmt.Appendf(nil, "GET /api/events/?after=%d HTTP/1.1\r\nHost: carelog\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n", head, access)
	begins := make([]byte, len("HTTP/1.1 200"))
	for range readers {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, begins); err != nil || string(begins) != "HTTP/1.1 200" {
			b.Fatalf("%q %v", begins, err)
		}
	}
	return inUse() - before
}

// head is the checkpoint of who has handled everything.
func (r *running) head(b *testing.B, access string) client.Checkpoint {
	b.Helper()
	var page struct {
		Results []json.RawMessage
		Head    events.Position
	}
	ask := func(query string) {
		if err := json.Unmarshal(r.mustAs(b, access, "GET", "/api/events/?limit=1"+query, "", 200).body, &page); err != nil {
			b.Fatal(err)
		}
	}
	ask("")
	ask(fmt.Sprintf("&after=%d", page.Head-1))
	last, err := cloudevent.Parse(page.Results[0])
	if err != nil {
		b.Fatal(err)
	}
	return client.Checkpoint{Log: last.Log, Position: last.Recorded.Position, ID: last.Recorded.ID}
}

// measureFollowers has patients registered at a rate for three seconds, by a process's
// worth of commands beside the server, and answers by how much all followers were late,
// event by event.
func (r *running) measureFollowers(b *testing.B, access, by string, s *subscribed, rate, followers int) (late []time.Duration) {
	b.Helper()
	begin := r.head(b, access)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var all errgroup.Group
	results := make([][]time.Duration, followers)
	var ready atomic.Int64
	total := int64(3 * rate)
	for i := range followers {
		all.Go(func() error {
			first := true
			note := func(recorded time.Time) {
				if first { // tells that it follows
					first = false
					ready.Add(1)
					return
				}
				results[i] = append(results[i], time.Since(recorded))
			}
			if by == "NATS" {
				conn, err := nats.Connect(s.url, nats.UserInfo("billing", s.passwords["billing"]))
				if err != nil {
					return err
				}
				defer conn.Close()
				err = client.Follow(ctx, client.Config{URL: r.url, NATS: conn, Domain: "carelog", Token: func(context.Context) (string, error) { return access, nil }}, begin,
					func(_ context.Context, e client.Event) error {
						if note(e.RecordedAt); int64(len(results[i])) == total {
							return errEnough
						}
						return nil
					})
				if err != errEnough {
					return err
				}
				return nil
			}
			s, err := follow(ctx, r, access, fmt.Sprintf("?after=%d", begin.Position), "")
			if err != nil {
				return err
			}
			defer s.body.Close()
			for int64(len(results[i])) < total {
				_, event, data, err := s.next()
				if err != nil || event != "" {
					return fmt.Errorf("%s %s %w", event, data, err)
				}
				const mark = `"time":"`
				at := strings.Index(data, mark) + len(mark)
				recorded, err := time.Parse(time.RFC3339Nano, data[at:at+strings.IndexByte(data[at:], '"')])
				if err != nil {
					return err
				}
				note(recorded)
			}
			return nil
		})
	}
	r.mustAs(b, access, "POST", "/api/patients/", somePatient, 201)
	eventually(b, "all follow", 10*time.Second, func() bool { return ready.Load() == int64(followers) })
	if err := withOperator(b.Context(), r.program.config, quiet(), func(ctx context.Context, o *operator) error {
		return registerAt(ctx, o.commands, rate, total)
	}); err != nil {
		b.Fatal(err)
	}
	if err := all.Wait(); err != nil {
		b.Fatal(err)
	}
	return slices.Concat(results...)
}

// registerAt registers patients of the first user at a rate, in events a second.
func registerAt(ctx context.Context, service *commands.Service, rate int, total int64) error {
	writers, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	var next atomic.Int64
	for range 128 {
		writers.Go(func() error {
			for n := next.Add(1); n <= total; n = next.Add(1) {
				pause(ctx, time.Until(began.Add(time.Duration(n)*time.Second/time.Duration(rate))))
				_, _, err := service.RegisterPatient(ctx, commands.Caller{UserID: 1},
					commands.RegisterPatient{FirstName: "Alice", LastName: "Smith", Age: 30, Gender: "Female"})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return writers.Wait()
}
