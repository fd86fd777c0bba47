package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
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
	"github.com/carelog/carelog/projections/feed/feedtest"
)

// memoryLog is one that never loses a connection.
type memoryLog struct{ *feedtest.Log }

func (memoryLog) PositionAt(context.Context, time.Time) (events.Position, error) { return 0, nil }
func (memoryLog) Live() error                                                    { return nil }
func (memoryLog) Reconnects() int64                                              { return 0 }

// streamed is a server of streams of events, in the time of a bubble.
type streamed struct {
	memoryLog
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
			memoryLog: memoryLog{feedtest.NewLog()}, t: t, log: &syncBuffer{}, registry: prometheus.NewRegistry(), listener: make(pipes),
			queries: &fakeQueries{users: map[int64]error{1: nil}, epochs: map[int64]events.Position{}, roles: map[int64][]events.Role{}},
		}
		hub := feed.NewHub(s.Log, uuid.New(), s.Log, nil, slog.New(slog.DiscardHandler))
		running, stop := context.WithCancel(context.Background())
		a := &api{
			feed: hub, log: s.memoryLog, progress: s.memoryLog, queries: s.queries, metrics: newMetrics(nil, s.registry),
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
	s.Append(n-1, events.DoctorAmendedType)
	r := s.follow("")
	s.Append(1, events.DoctorAmendedType)
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
		s.Append(1, events.DoctorAmendedType)
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
		s.Append(1, events.DoctorAmendedType)
		r, began := s.follow("?types=doctor.removed"), time.Now()
		for n := range 4 {
			for range 3 {
				s.Append(1, events.DoctorAmendedType)
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
		s.Append(1, events.DoctorAmendedType)
		if line := r.line(); line != "id: 1" {
			t.Fatal(line)
		}
		for range 50 { // and nothing is read meanwhile
			s.Append(500, events.DoctorAmendedType)
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
		s.Append(500, events.DoctorAmendedType)
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
		"went_back": func(s *streamed) { s.GoBack(1) },
		"changed": func(s *streamed) {
			s.queries.roles[1] = []events.Role{events.Auditor}
			s.Append(1, events.UserRoleGrantedType, "user:1")
		},
		"not_allowed": func(s *streamed) {
			s.queries.users[1] = projections.ErrInactiveUser
			s.Append(1, events.UserDisabledType, "user:1")
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
	t.Run("not allowed, of which no event tells", func(t *testing.T) {
		inStream(t, func(s *streamed) {
			r, began := s.followLive(3), time.Now()
			s.queries.users[1] = projections.ErrInactiveUser
			s.Append(1, events.DoctorAmendedType)
			if _, last, reason := r.events(); reason != "not_allowed" || last != 4 || time.Since(began) > 2*heartbeat {
				t.Error(last, reason, time.Since(began))
			}
		})
	})
	t.Run("not allowed, while the log is read", func(t *testing.T) {
		inStream(t, func(s *streamed) {
			s.Append(3, events.DoctorAmendedType)
			s.OnStream(func() {
				time.Sleep(2 * time.Second)
				s.queries.users[1] = projections.ErrInactiveUser
			})
			if _, last, reason := s.follow("").events(); reason != "not_allowed" || last != 0 {
				t.Error(last, reason)
			}
		})
	})
	t.Run("changed to less", func(t *testing.T) {
		inStream(t, func(s *streamed) {
			s.queries.roles[1] = []events.Role{events.Auditor}
			r := s.follow("")
			synctest.Wait()
			delete(s.queries.roles, 1)
			s.Append(1, events.UserRoleRevokedType, "user:1")
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
			s.Append(10, events.DoctorAmendedType)
			s.OnStream(func() {
				s.GoBack(5)
				s.Append(7, events.DoctorAmendedType)
			})
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
	for name, more := range map[string]int{"as long": 6, "longer": 9} {
		t.Run(name, func(t *testing.T) {
			inStream(t, func(s *streamed) {
				r := s.followLive(12)
				s.Replace(6, more, events.DoctorAmendedType)
				synctest.Wait()
				s.Append(1, events.DoctorAmendedType)
				if first, last, reason := r.events(); reason != "went_back" {
					t.Errorf("%d to %d, %s", first, last, reason)
				}
			})
		})
		t.Run(name+", while the first follower comes", func(t *testing.T) {
			inStream(t, func(s *streamed) {
				s.Append(12, events.DoctorAmendedType)
				s.OnStream(sync.OnceFunc(func() { s.Replace(6, more, events.DoctorAmendedType) }))
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
		s.Append(10, events.DoctorAmendedType)
		conn, err := s.listener.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		s.OnStream(sync.OnceFunc(func() { conn.Close() }))
		fmt.Fprint(conn, "GET /api/events/ HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n")
		synctest.Wait()
		if log := s.log.String(); log != "" {
			t.Errorf("it is logged: %s", log)
		}
	})
}
