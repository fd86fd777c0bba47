package httpapi

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds say how many requests this process serves at once, by kind, and what
// they may take of memory. What is 0 has its default.
type Bounds struct {
	Changes  Bound // of records
	Reads    Bound // of single records
	Lists    Bound
	Accounts Bound // registering, logging in, staying logged in
	Streams  Bound // of events, until they have begun

	LargeBodies int // bytes, all together; default 64 MiB
	LongAnswers int // bytes, all together; default 128 MiB
}

// Bound is that of one kind of requests.
type Bound struct {
	Places int           // requests that are served at once
	Queue  int           // requests that wait for a place
	Wait   time.Duration // for a place
}

// orElse is the bound with another's values where it has none.
func (b Bound) orElse(initial Bound) Bound {
	return Bound{cmp.Or(b.Places, initial.Places), cmp.Or(b.Queue, initial.Queue), cmp.Or(b.Wait, initial.Wait)}
}

// Changes share transactions, and reads of single records share statements: some
// hundreds at once get more done than some dozens, and more than that only make
// each other wait. A list has a database connection to itself; accounts wait for
// each other's passwords to be hashed, up to [ErrBusy].
//
// To refuse a change costs a third of what it costs to carry it out, and what is
// refused at once costs least: so the queue is no longer than places become free
// for in time. To refuse a read costs as much as to serve it; those that wait cost
// nothing, and their clients ask for nothing else meanwhile: so they all may.
// (`make bench-saturation`.)
var defaultBounds = Bounds{
	Changes:  Bound{256, 256, 75 * time.Millisecond},
	Reads:    Bound{256, 4096, 100 * time.Millisecond},
	Lists:    Bound{8, 4096, 100 * time.Millisecond},
	Accounts: Bound{256, 256, 100 * time.Millisecond},
	Streams:  Bound{64, maxStreams, 8 * time.Second}, // a thousand that come back after a restart: browsers that are refused do not try again

	LargeBodies: 64 << 20,
	LongAnswers: 128 << 20,
}

var overloaded = newUnavailable("Too many requests are under way. Nothing was changed, try again later.")

// admission lets a bounded number of requests be served at once. Without that,
// what comes faster than it can be served would pile up, each waiting for all
// before it, until nothing is answered in time any more. Those beyond the bound
// wait for a place, in order of arrival, for a burst to pass; who gets none soon,
// or finds too many waiting, is refused before any database is asked.
//
// A place is held while the server works, and never while a client is waited for:
// it is taken when the body was read, and left when the answer begins to be
// written. So clients that send or read slowly keep nobody else out; what they
// keep of memory is bounded by a [room].
type admission struct {
	kind    string
	bound   Bound
	refused tally
	logger  *slog.Logger

	mu      sync.Mutex
	served  int             // as many as there are places while somebody waits
	waiting []chan struct{} // first come first; closed to give a place
}

// enter takes a place, which must be left. It fails with overloaded, or with the
// context's error.
func (a *admission) enter(ctx context.Context) error {
	a.mu.Lock()
	if a.served < a.bound.Places {
		a.served++
		a.mu.Unlock()
		return nil
	}
	if len(a.waiting) >= a.bound.Queue {
		a.mu.Unlock()
		return a.refuse(ctx)
	}
	place := make(chan struct{})
	a.waiting = append(a.waiting, place)
	a.mu.Unlock()

	timer := time.NewTimer(a.bound.Wait)
	defer timer.Stop()
	select {
	case <-place:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	gone := ctx.Err()
	if a.withdraw(place) {
		if gone != nil {
			return gone
		}
		return a.refuse(ctx)
	}
	if gone != nil { // and the place has come all the same
		a.leave()
	}
	return gone
}

// withdraw takes back a wait. It reports false when the place has come.
func (a *admission) withdraw(place chan struct{}) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.waiting, place)
	if i >= 0 {
		a.waiting = slices.Delete(a.waiting, i, i+1)
	}
	return i >= 0
}

// leave gives the place to whoever waits first.
func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == 0 {
		a.served--
		return
	}
	close(a.waiting[0])
	a.waiting = slices.Delete(a.waiting, 0, 1)
}

// isFull tells that nobody else may wait.
func (a *admission) isFull() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting) >= a.bound.Queue
}

// refuse answers overloaded. It counts, and tells of it from time to time.
func (a *admission) refuse(ctx context.Context) error {
	if n, tell := a.refused.add(); tell {
		a.logger.WarnContext(ctx, "requests were refused because too many were under way", "kind", a.kind, "refused", n)
	}
	return overloaded
}

// admissions are those of the API.
type admissions struct {
	changes, reads, lists, accounts, streams *admission
}

func newAdmissions(bounds Bounds, logger *slog.Logger) admissions {
	return admissions{
		changes:  &admission{kind: "changes", bound: bounds.Changes.orElse(defaultBounds.Changes), logger: logger},
		reads:    &admission{kind: "reads", bound: bounds.Reads.orElse(defaultBounds.Reads), logger: logger},
		lists:    &admission{kind: "lists", bound: bounds.Lists.orElse(defaultBounds.Lists), logger: logger},
		accounts: &admission{kind: "accounts", bound: bounds.Accounts.orElse(defaultBounds.Accounts), logger: logger},
		streams:  &admission{kind: "streams", bound: bounds.Streams.orElse(defaultBounds.Streams), logger: logger},
	}
}

func (a admissions) all() []*admission {
	return []*admission{a.changes, a.reads, a.lists, a.accounts, a.streams}
}

func (a admissions) refused() Refused {
	return Refused{a.changes.refused.total(), a.reads.refused.total(), a.lists.refused.total(), a.accounts.refused.total(), a.streams.refused.total()}
}

// shed refuses changes that could not even wait, before their checks: after those
// it would cost half as much again. With reads there is less to be saved.
func (a *api) shed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hasBody(r) || r.Method == http.MethodDelete {
			to := a.admissions.changes
			if strings.HasPrefix(r.URL.Path, "/api/auth/") {
				to = a.admissions.accounts
			}
			if to.isFull() {
				a.fail(w, r, to.refuse(r.Context()))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// hasBody tells of a request for which there is a handler whether that reads a
// body.
func hasBody(r *http.Request) bool {
	return r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
}

// admitted guards a handler: a request without a body takes its place now, one
// with a body when that was read ([takeBody]).
func (a *api) admitted(to *admission, serve handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		known := requestOf(r.Context())
		known.admission, known.bodies = to, a.bodies
		defer known.end()
		if !hasBody(r) {
			if err := known.enter(r.Context()); err != nil {
				return err
			}
		}
		return serve(w, r)
	}
}

// account guards a handler about the account of who asks.
func (a *api) account(serve handler) handler { return a.admitted(a.admissions.accounts, serve) }

// enter takes a place for the request.
func (known *request) enter(ctx context.Context) error {
	if known.admission == nil || known.placed {
		return nil
	}
	err := known.admission.enter(ctx)
	known.placed = err == nil
	return err
}

// leave leaves the request's place, if it has one.
func (known *request) leave() {
	if known.placed {
		known.placed = false
		known.admission.leave()
	}
}

// end gives back all that the request has.
func (known *request) end() {
	known.leave()
	known.drop()
}
