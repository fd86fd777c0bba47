package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/metricstest"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/feed"
)

// growing is a log that grows as a test has it. It is its own progress.
type growing struct {
	mu       sync.Mutex
	evs      []events.Recorded
	more     chan struct{} // closed when something is new
	restarts int64
	reading  func() // is called when the events are read
}

// add appends so many events of a type.
func (g *growing) add(count int, t events.Type, tags ...events.Tag) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for range count {
		g.evs = append(g.evs, events.Recorded{
			Event:    events.Event{ID: uuid.New(), Type: t, SchemaVersion: 1, Tags: tags, Data: []byte(`{}`)},
			Position: events.Position(len(g.evs) + 1),
		})
	}
	close(g.more)
	g.more = make(chan struct{})
}

// goBack loses the events after a position.
func (g *growing) goBack(to int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.evs = g.evs[:to]
	g.restarts++
	close(g.more)
	g.more = make(chan struct{})
}

func (g *growing) Stream(_ context.Context, s events.Selection) iter.Seq2[events.Recorded, error] {
	if g.reading != nil {
		g.reading()
	}
	found, err := g.Read(context.Background(), s.After, int(s.Until-s.After))
	return func(yield func(events.Recorded, error) bool) {
		for _, e := range found {
			in := (len(s.Query) == 0 || s.Query.Matches(e.Type, e.Tags)) && (s.Kind == "" || e.Type.Entity() == s.Kind)
			if in && !yield(e, err) {
				return
			}
		}
	}
}

func (g *growing) Read(_ context.Context, after events.Position, limit int) ([]events.Recorded, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	rest := g.evs[min(int(after), len(g.evs)):]
	return append([]events.Recorded(nil), rest[:min(limit, len(rest))]...), nil
}

func (g *growing) Head(context.Context) (events.Position, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return events.Position(len(g.evs)), nil
}

func (g *growing) PositionAt(context.Context, time.Time) (events.Position, error) { return 0, nil }
func (g *growing) Live() error                                                    { return nil }
func (g *growing) Reconnects() int64                                              { return 0 }

func (g *growing) Restarts() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.restarts
}

func (g *growing) Wait(ctx context.Context, p events.Position) error {
	for {
		g.mu.Lock()
		reached, more, restarts := len(g.evs) >= int(p), g.more, g.restarts
		g.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-more:
			if g.Restarts() != restarts {
				return projections.ErrWentBack
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// streamed is a server of streams of events, in the time of a bubble.
type streamed struct {
	*growing
	t        *testing.T
	queries  *fakeQueries
	log      *syncBuffer
	registry *prometheus.Registry
	listener pipes
}

// inStream runs a test with a server in a bubble.
func inStream(t *testing.T, test func(s *streamed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &streamed{
			growing: &growing{more: make(chan struct{})}, t: t, log: &syncBuffer{}, registry: prometheus.NewRegistry(), listener: make(pipes),
			queries: &fakeQueries{users: map[int64]error{1: nil}, epochs: map[int64]events.Position{}, roles: map[int64][]events.Role{}},
		}
		hub := feed.NewHub(s.growing, uuid.New(), s.growing, nil, slog.New(slog.DiscardHandler))
		running, stop := context.WithCancel(context.Background())
		a := &api{
			feed: hub, log: s.growing, progress: s.growing, queries: s.queries, metrics: newMetrics(nil, s.registry),
			logger: testLogger(s.log), open: openStreams{of: map[int64]int{}}, types: []events.Type{events.DoctorAmendedType, events.DoctorRemovedType},
		}
		server := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			known := &request{client: r.Context(), user: projections.Session{User: 1}}
			known.standing = &standing{api: a, user: known.user, expires: time.Now().Add(time.Hour)}
			if err := a.listEvents(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, known))); err != nil {
				a.fail(w, r, err)
			}
		}), 10, nil, testLogger(s.log))
		var work sync.WaitGroup
		work.Go(func() { _ = hub.Run(running) })
		work.Go(func() { _ = server.Serve(s.listener) })
		defer func() {
			stop()
			close(s.listener)
			_ = server.Close()
			work.Wait()
		}()
		test(s)
	})
}

// reader reads a stream that it has asked for.
type reader struct {
	t     *testing.T
	conn  io.Closer
	lines *bufio.Scanner
}

// follow asks for a stream and reads what comes before the first event.
func (s *streamed) follow(query string) *reader {
	s.t.Helper()
	conn, err := s.listener.dial(s.t.Context(), "", "")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /api/events/%s HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n", query)
	r := &reader{s.t, conn, bufio.NewScanner(conn)}
	r.until("retry: 1000")
	return r
}

// followLive follows a log of so many events, the last of which comes when the others
// have been read.
func (s *streamed) followLive(n int) *reader {
	s.t.Helper()
	s.add(n-1, events.DoctorAmendedType)
	r := s.follow("")
	s.add(1, events.DoctorAmendedType)
	synctest.Wait()
	r.until(fmt.Sprintf("id: %d", n))
	return r
}

// line is the next that holds something of the stream.
func (r *reader) line() string {
	r.t.Helper()
	for r.lines.Scan() {
		line := r.lines.Text()
		if _, notHex := fmt.Sscanf(line, "%x", new(int)); line != "" && (notHex != nil || strings.Contains(line, ":")) { // not the size of a chunk
			return line
		}
	}
	return cutOffLine
}

// until reads up to a line.
func (r *reader) until(want string) {
	r.t.Helper()
	for line := r.line(); line != want; line = r.line() {
		if line == cutOffLine {
			r.t.Fatalf("%s before %q came", line, want)
		}
	}
}

// cutOffLine stands for the end of what can be read.
const cutOffLine = "the stream is cut off"

// events reads up to the end, and answers the positions between which all have come, in
// order, and the reason of the end.
func (r *reader) events() (first, last int, reason string) {
	r.t.Helper()
	for {
		line := r.line()
		var position int
		if _, err := fmt.Sscanf(line, "id: %d", &position); err == nil {
			if last > 0 && position != last+1 {
				r.t.Fatalf("%d after %d", position, last)
			}
			last = position
			if first == 0 {
				first = position
			}
			continue
		}
		if strings.HasPrefix(line, "data: {\"reason\":\"") {
			return first, last, strings.Split(line, `"`)[3]
		}
		if line == cutOffLine {
			return first, last, line
		}
	}
}

// mustHaveEnded for this reason alone, by the metrics.
func (s *streamed) mustHaveEnded(reason string) {
	s.t.Helper()
	synctest.Wait()
	for name, count := range metricstest.Gather(s.t, s.registry) {
		if got, is := strings.CutPrefix(name, "carelog_http_streams_ended_total "); is && (count == 1) != (got == reason) {
			s.t.Errorf("%v streams have ended as %s, and one as %s", count, got, reason)
		}
	}
}

// TestAQuietStream says every 15 seconds that it is still there.
func TestAQuietStream(t *testing.T) {
	inStream(t, func(s *streamed) {
		r, began := s.follow(""), time.Now()
		for n := range 4 {
			if line := r.line(); line != ": still there" || time.Since(began) != time.Duration(n+1)*heartbeat {
				t.Errorf("after %v: %s", time.Since(began), line)
			}
		}
		s.add(1, events.DoctorAmendedType)
		if line := r.line(); line != "id: 1" || time.Since(began) != 4*heartbeat {
			t.Errorf("after %v: %s", time.Since(began), line)
		}
		r.conn.Close()
		s.mustHaveEnded("gone")
	})
}

// TestAStreamOfWhatDoesNotHappen: what others ask for keeps none from telling that it is
// still there.
func TestAStreamOfWhatDoesNotHappen(t *testing.T) {
	inStream(t, func(s *streamed) {
		s.add(1, events.DoctorAmendedType)
		r, began := s.follow("?types=doctor.removed"), time.Now()
		for n := range 4 {
			for range 3 {
				s.add(1, events.DoctorAmendedType)
				time.Sleep(heartbeat / 3)
				synctest.Wait()
			}
			if line := r.line(); line != ": still there" || time.Since(began) != time.Duration(n+1)*heartbeat {
				t.Errorf("after %v: %s", time.Since(began), line)
			}
		}
		r.conn.Close()
		s.mustHaveEnded("gone")
	})
}

// TestAReaderThatIsTooSlow is told so when what it has not read is kept no more, and
// resumes.
func TestAReaderThatIsTooSlow(t *testing.T) {
	inStream(t, func(s *streamed) {
		r := s.follow("")
		s.add(1, events.DoctorAmendedType)
		if line := r.line(); line != "id: 1" {
			t.Fatal(line)
		}
		for range 50 { // and nothing is read meanwhile
			s.add(500, events.DoctorAmendedType)
			synctest.Wait()
		}
		time.Sleep(sendWithin - time.Second)
		_, last, reason := r.events()
		if reason != "too_slow" || last < 2 || last > 1000 {
			t.Errorf("up to %d: %s", last, reason)
		}
		s.mustHaveEnded("too_slow")
		again := s.follow(fmt.Sprintf("?after=%d", last))
		for position := last + 1; position <= 25_001; position++ {
			if line := again.line(); line != fmt.Sprintf("id: %d", position) || !strings.HasPrefix(again.line(), "data: ") {
				t.Fatalf("in place of %d: %s", position, line)
			}
		}
	})
}

// TestAReaderThatTakesNothing cannot be told. It is cut off after ten seconds, which is
// logged and counted.
func TestAReaderThatTakesNothing(t *testing.T) {
	inStream(t, func(s *streamed) {
		r := s.follow("")
		began := time.Now()
		s.add(500, events.DoctorAmendedType)
		time.Sleep(sendWithin - time.Millisecond)
		s.mustHaveEnded("none yet")
		time.Sleep(2 * time.Millisecond)
		s.mustHaveEnded("stalled")
		if log := s.log.String(); !strings.Contains(log, "the client took nothing for too long") {
			t.Errorf("the log after %v: %s", time.Since(began), log)
		}
		time.Sleep(2 * time.Second)
		if _, _, reason := r.events(); reason != cutOffLine {
			t.Error(reason)
		}
	})
}

// TestWhyAStreamEnds: what happens under who follows.
func TestWhyAStreamEnds(t *testing.T) {
	for want, happens := range map[string]func(s *streamed){
		"went_back": func(s *streamed) { s.goBack(1) },
		"changed": func(s *streamed) {
			s.queries.roles[1] = []events.Role{events.Auditor}
			s.add(1, events.UserRoleGrantedType, "user:1")
		},
		"not_allowed": func(s *streamed) {
			s.queries.users[1] = projections.ErrInactiveUser
			s.add(1, events.UserDisabledType, "user:1")
		},
	} {
		t.Run(want, func(t *testing.T) {
			inStream(t, func(s *streamed) {
				r := s.followLive(3)
				happens(s)
				if _, _, reason := r.events(); reason != want {
					t.Error(reason)
				}
				s.mustHaveEnded(want)
			})
		})
	}
	t.Run("changed to less", func(t *testing.T) {
		inStream(t, func(s *streamed) {
			s.queries.roles[1] = []events.Role{events.Auditor}
			r := s.follow("")
			synctest.Wait()
			delete(s.queries.roles, 1)
			s.add(1, events.UserRoleRevokedType, "user:1")
			if _, last, reason := r.events(); reason != "changed" || last != 0 {
				t.Error(last, reason)
			}
		})
	})
}

// TestALogThatGoesBackWhileItIsRead, and grows again: no answer is half of what was and
// half of what is.
func TestALogThatGoesBackWhileItIsRead(t *testing.T) {
	for form, want := range map[string]string{"application/json": "409", "application/x-ndjson": "cut off"} {
		inStream(t, func(s *streamed) {
			s.add(10, events.DoctorAmendedType)
			s.reading = func() {
				s.goBack(5)
				s.add(7, events.DoctorAmendedType)
			}
			transport := &http.Transport{DialContext: s.listener.dial}
			defer transport.CloseIdleConnections()
			r, err := http.NewRequest("GET", "http://carelog/api/events/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", form)
			got := "cut off"
			if answer, err := transport.RoundTrip(r); err == nil {
				if _, err = io.ReadAll(answer.Body); err == nil {
					got = strconv.Itoa(answer.StatusCode)
				}
				answer.Body.Close()
			}
			if got != want {
				t.Errorf("%s: %s", form, got)
			}
		})
	}
}

// TestALogThatGrowsPastAStream after it went back, before its server has seen that: the
// stream ends, whether its follower was ahead of the hub or behind it, or had just begun.
func TestALogThatGrowsPastAStream(t *testing.T) {
	replace := func(s *streamed, to, more int) { // nothing is to be seen of it but other events
		s.mu.Lock()
		s.evs = s.evs[:to]
		s.mu.Unlock()
		s.add(more, events.DoctorAmendedType)
	}
	for name, more := range map[string]int{"as long": 6, "longer": 9} {
		t.Run(name, func(t *testing.T) {
			inStream(t, func(s *streamed) {
				r := s.followLive(12)
				replace(s, 6, more)
				synctest.Wait()
				s.add(1, events.DoctorAmendedType)
				if first, last, reason := r.events(); reason != "went_back" {
					t.Errorf("%d to %d, %s", first, last, reason)
				}
			})
		})
		t.Run(name+", while the first follower comes", func(t *testing.T) {
			inStream(t, func(s *streamed) {
				s.add(12, events.DoctorAmendedType)
				s.reading = sync.OnceFunc(func() { replace(s, 6, more) })
				if first, last, reason := s.follow("").events(); reason != "went_back" {
					t.Errorf("%d to %d, %s", first, last, reason)
				}
			})
		})
	}
}

// TestAClientThatHangsUpOnLines, which are not sent yet, is no failure of the server's.
func TestAClientThatHangsUpOnLines(t *testing.T) {
	inStream(t, func(s *streamed) {
		s.add(10, events.DoctorAmendedType)
		conn, err := s.listener.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		s.reading = sync.OnceFunc(func() { conn.Close() })
		fmt.Fprint(conn, "GET /api/events/ HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n")
		synctest.Wait()
		if log := s.log.String(); log != "" {
			t.Errorf("it is logged: %s", log)
		}
	})
}
