package openapitest

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
)

// longest is how much of a body is looked at; what is longer counts as cut.
const longest = 256 << 10

// wrongs are what is wrong with the answers that a test has seen. They are told when it
// ends: an answer may be read in a goroutine that does not.
type wrongs struct {
	document *Document

	mu   sync.Mutex
	told map[string]bool
	done bool
}

func newWrongs(t testing.TB) *wrongs {
	t.Helper()
	document, err := Carelog()
	if err != nil {
		t.Fatal(err)
	}
	w := &wrongs{document: document, told: map[string]bool{}}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done = true
		for text := range w.told {
			t.Error(text)
		}
	})
	return w
}

func (w *wrongs) check(a Answer) {
	if err := w.document.Check(a); err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.done && len(w.told) < 10 {
			w.told[err.Error()] = true
		}
	}
}

// isPreflight tells of a request of browsers that the CORS protocol answers, no path.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// Handler answers as next does, and has the test fail for what it should not.
func Handler(t testing.TB, next http.Handler) http.Handler {
	w := newWrongs(t)
	return http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		if isPreflight(r) {
			next.ServeHTTP(answer, r)
			return
		}
		seen := &recorder{ResponseWriter: answer, answer: Answer{Method: r.Method, Path: r.URL.Path}}
		next.ServeHTTP(seen, r) // a panic cuts the connection: there is no answer
		if seen.answer.Status != 0 {
			w.check(seen.answer)
		}
	})
}

type recorder struct {
	http.ResponseWriter
	answer Answer
}

func (r *recorder) WriteHeader(status int) {
	if r.answer.Status == 0 {
		r.answer.Status, r.answer.Header = status, r.Header().Clone()
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.answer.Status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	r.answer.add(p)
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the writer underneath.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (a *Answer) add(p []byte) {
	if len(a.Body)+len(p) > longest {
		p, a.IsCut = p[:longest-len(a.Body)], true
	}
	a.Body = append(a.Body, p...)
}

// Transport sends as next does, and has the test fail for an answer that it should not
// get. Benchmarks are left alone.
func Transport(t testing.TB, next http.RoundTripper) http.RoundTripper {
	if _, measures := t.(*testing.B); measures {
		return next
	}
	return &transport{next, newWrongs(t)}
}

type transport struct {
	http.RoundTripper
	wrongs *wrongs
}

// CloseIdleConnections is for [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	if closer, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	got, err := t.RoundTripper.RoundTrip(r)
	if err != nil || isPreflight(r) {
		return got, err
	}
	answer := Answer{Method: r.Method, Path: r.URL.Path, Status: got.StatusCode, Header: got.Header.Clone()}
	got.Body = &body{ReadCloser: got.Body, wrongs: t.wrongs, answer: answer}
	return got, nil
}

// body is one that is checked when it was read, or closed.
type body struct {
	io.ReadCloser
	wrongs *wrongs

	mu      sync.Mutex // it may be closed while it is read
	answer  Answer
	checked bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer.add(p[:n])
	if err != nil {
		b.check(!errors.Is(err, io.EOF))
	}
	return n, err
}

func (b *body) Close() error {
	b.mu.Lock()
	b.check(true)
	b.mu.Unlock()
	return b.ReadCloser.Close()
}

func (b *body) check(isCut bool) {
	if !b.checked {
		b.checked = true
		b.answer.IsCut = b.answer.IsCut || isCut
		b.wrongs.check(b.answer)
	}
}
