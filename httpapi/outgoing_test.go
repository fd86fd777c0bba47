package httpapi

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// alwaysOn is a feed that does not stop.
type alwaysOn struct{ Feed }

func (alwaysOn) While(ctx context.Context) (context.Context, func()) {
	return context.WithCancel(ctx)
}

// pipes are connections that wait in the time of a test.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p <- theirs
	return ours, nil
}

// TestStreamsThatAreQuiet for longer than a client may take for what is sent to it go
// on, over each version of HTTP. Over HTTP/2 they end with the deadline where that is
// left in place.
func TestStreamsThatAreQuiet(t *testing.T) {
	for name, test := range map[string]struct {
		http2, keepDeadline bool
		want                string
	}{
		"HTTP/1.1":                    {false, false, "before after"},
		"HTTP/2":                      {true, false, "before after"},
		"HTTP/2, with the deadline":   {true, true, "before "},
		"HTTP/1.1, with the deadline": {false, true, "before after"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &api{feed: alwaysOn{}, open: openStreams{of: map[int64]int{}}}
				ended := make(chan struct{})
				handler := func(w http.ResponseWriter, r *http.Request) {
					defer close(ended)
					known := &request{client: r.Context(), standing: &standing{expires: time.Now().Add(time.Hour)}}
					out, err := a.beginStream(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, known)), streamType)
					if err != nil {
						t.Error(err)
						return
					}
					defer out.end()
					out.buffer = append(out.buffer, "before "...)
					if err := out.flushAt(1); err != nil {
						t.Error(err)
					}
					if test.keepDeadline {
						out.sendBy(sendWithin)
					}
					time.Sleep(sendWithin + time.Second)
					out.buffer = append(out.buffer, "after"...)
					_ = out.flushAt(1)
				}
				server := NewServer(http.HandlerFunc(handler), 10, nil, testLogger(&syncBuffer{}))
				server.Protocols = protocols(test.http2)
				listener := make(pipes)
				served := make(chan error)
				go func() { served <- server.Serve(listener) }()
				transport := &http.Transport{DialContext: listener.dial, Protocols: protocols(test.http2)}
				answer, err := (&http.Client{Transport: transport}).Get("http://carelog/")
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(answer.Body)
				if string(got) != test.want || (err != nil) != (test.want == "before ") {
					t.Errorf("%q, %v", got, err)
				}
				<-ended
				transport.CloseIdleConnections()
				close(listener)
				_ = server.Close()
				<-served
			})
		})
	}
}

// TestAClientThatTakesNothing from its connection loses it over HTTP/2, where the deadline
// of an answer cannot be told to a client behind what it does not take. Without the
// bound it keeps the connection for as long as it likes.
func TestAClientThatTakesNothing(t *testing.T) {
	for _, bounded := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			server := NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(make([]byte, 1<<20))
			}), 10, nil, testLogger(&syncBuffer{}))
			server.Protocols = protocols(true)
			if !bounded {
				server.HTTP2.WriteByteTimeout = 0
			}
			listener := make(pipes)
			served := make(chan error)
			go func() { served <- server.Serve(listener) }()
			ours, theirs := net.Pipe()
			watched := &closing{Conn: theirs, closed: make(chan struct{})}
			listener <- watched
			// The preface, empty settings, and GET / (RFC 9113, 3.4 and 6; RFC 7541, A).
			if _, err := ours.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
				"\x00\x00\x00\x04\x00\x00\x00\x00\x00" +
				"\x00\x00\x06\x01\x05\x00\x00\x00\x01" + "\x82\x86\x84\x41\x01c")); err != nil {
				t.Fatal(err)
			}
			select {
			case <-watched.closed:
				if !bounded {
					t.Error("it loses the connection without the bound, too")
				}
			case <-time.After(2 * time.Minute):
				if bounded {
					t.Error("it keeps the connection")
				}
			}
			_ = ours.Close()
			close(listener)
			_ = server.Close()
			<-served
		})
	}
}

// closing tells when a connection is closed.
type closing struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func protocols(http2 bool) *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	return &p
}

// TestNobodyTakesAllStreams: one user has at most half, and a second at most half of the
// rest.
func TestNobodyTakesAllStreams(t *testing.T) {
	s := openStreams{of: map[int64]int{}}
	takeAll := func(user int64) (taken int) {
		for s.begin(user) {
			taken++
		}
		return taken
	}
	for user, want := range []int{maxStreams / 2, maxStreams / 4, maxStreams / 8} {
		if got := takeAll(int64(user)); got != want {
			t.Fatalf("user %d has %d streams, want %d", user, got, want)
		}
	}
	for range maxStreams / 2 {
		s.end(0)
	}
	if got := takeAll(3); got != (maxStreams-maxStreams/4-maxStreams/8)/2 {
		t.Fatalf("%d streams after others ended", got)
	}
	if s.all != s.of[1]+s.of[2]+s.of[3] || len(s.of) != 3 {
		t.Fatalf("%d streams of %v", s.all, s.of)
	}
}
