package httpapi

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Throttle says how often something may happen in any minute. 0 is no limit.
type Throttle struct {
	LoginAccount int // failed logins of one account from one address
	LoginAddress int // failed logins from one address
	Register     int // attempts to register from one address
}

// throttleWindow is the time that limits are for.
const throttleWindow = time.Minute

// throttleKeys is how many keys a throttle keeps in a generation. With its two
// generations full it takes 14 MiB, and 24 bytes for each attempt of a key after
// the first.
const throttleKeys = 1 << 15

// throttleKey is what is counted together.
type throttleKey struct {
	network netip.Addr        // see networkOf; not valid: all clients without an address
	account [sha256.Size]byte // of the text: that may be long, and is personal data; zero: any
}

// throttle counts what happens, by key, in this process, over a window that
// slides like that of Django REST Framework's SimpleRateThrottle: each event is
// remembered until it is a window old.
//
// An attempt counts from its beginning and is given back when it turns out not
// to count. If it were counted at its end, any number at once would slip past the
// limit, for a password takes long to check. But an attempt that may be over the
// limit only because earlier ones are undecided waits for those: what does not
// count may happen any number of times at once.
//
// The number of keys is bounded, however many an attacker has. They are kept in
// two generations. After a window, or when it is full, the younger one becomes
// the older one, and what that held is forgotten: after a window nothing of it
// counts any more. So when there are too many keys, those that were not heard of
// for longest begin anew: the throttle fails open, for them alone. To refuse new
// keys instead would let an attacker lock out everybody; not to count them would
// leave every further key without a limit. To be forgotten before its minute is
// over, a key needs 32,768 others.
type throttle struct {
	limit int // 0: none
	now   func() time.Time

	mu             sync.Mutex
	younger, older map[throttleKey]*attempts
	turned         time.Time // when the younger generation began
	refused        int64     // attempts
}

// attempts is what is remembered of a key.
type attempts struct {
	times     []time.Time     // of what counts, and of what is undecided; oldest first
	undecided int             // how many attempts have not ended
	waiting   []chan struct{} // of those that wait for decisions, first come first; closed to wake one
}

func newThrottle(limit int, now func() time.Time) *throttle {
	return &throttle{limit: limit, now: now, younger: map[throttleKey]*attempts{}, turned: now()}
}

// begin counts an attempt. The caller must call end when it is decided whether
// the attempt counts. It fails with a 429, or with the context's error while it
// waits for attempts that are undecided.
func (t *throttle) begin(ctx context.Context, key throttleKey) (end func(counts bool), err error) {
	if t.limit == 0 {
		return func(bool) {}, nil
	}
	for {
		t.mu.Lock()
		h, end, err := t.tryBegin(key)
		if end != nil || err != nil {
			t.mu.Unlock()
			return end, err
		}
		turn := h.wait()
		t.mu.Unlock()
		select {
		case <-turn:
		case <-ctx.Done():
			t.mu.Lock()
			defer t.mu.Unlock()
			h.stopWaiting(turn)
			return nil, fmt.Errorf("wait for other attempts: %w", ctx.Err())
		}
	}
}

// tryBegin begins an attempt, refuses it, or does neither when that depends on
// what is undecided. t.mu is held.
func (t *throttle) tryBegin(key throttleKey) (h *attempts, end func(counts bool), err error) {
	now := t.now()
	h = t.attempts(key, now)
	for len(h.times) > 0 && now.Sub(h.times[0]) >= throttleWindow {
		h.times = h.times[1:]
	}
	switch {
	case len(h.times) < t.limit:
		h.times = append(h.times, now)
		h.undecided++
		return h, func(counts bool) { t.end(h, now, counts) }, nil
	case h.undecided > 0:
		return h, nil, nil
	default:
		t.refused++
		h.wakeOne() // to be refused as well
		return h, nil, newThrottled(throttleWindow - now.Sub(h.times[0]))
	}
}

// end decides an attempt.
func (t *throttle) end(h *attempts, began time.Time, counts bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.undecided--
	if i := slices.IndexFunc(h.times, began.Equal); i >= 0 && !counts {
		h.times = slices.Delete(h.times, i, i+1)
	}
	if !counts || h.undecided == 0 {
		h.wakeOne()
	}
}

// Who waits is woken one by one: by an attempt that was given back, to begin in
// its place; and by a refusal, to be refused, since nothing is undecided then.

func (h *attempts) wait() (turn chan struct{}) {
	turn = make(chan struct{})
	h.waiting = append(h.waiting, turn)
	return turn
}

func (h *attempts) wakeOne() {
	if len(h.waiting) > 0 {
		close(h.waiting[0])
		h.waiting = h.waiting[1:]
	}
}

// stopWaiting leaves a turn that may just have come to the next.
func (h *attempts) stopWaiting(turn chan struct{}) {
	if i := slices.Index(h.waiting, turn); i >= 0 {
		h.waiting = slices.Delete(h.waiting, i, i+1)
	} else {
		h.wakeOne()
	}
}

// attempts answers what is remembered of the key, which is in the younger
// generation then. t.mu is held.
func (t *throttle) attempts(key throttleKey, now time.Time) *attempts {
	if len(t.younger) >= throttleKeys || now.Sub(t.turned) >= throttleWindow {
		t.older, t.younger, t.turned = t.younger, map[throttleKey]*attempts{}, now
	}
	h := t.younger[key]
	if h == nil {
		if h = t.older[key]; h == nil {
			h = &attempts{}
		}
		t.younger[key] = h
	}
	return h
}

// newThrottled is the answer to what is over a limit, in the words of Django
// REST Framework.
func newThrottled(wait time.Duration) *apiError {
	seconds := int64((wait + time.Second - 1) / time.Second)
	unit := "seconds"
	if seconds == 1 {
		unit = "second"
	}
	e := newDetail(http.StatusTooManyRequests, fmt.Sprintf("Request was throttled. Expected available in %d %s.", seconds, unit))
	e.header = map[string]string{"Retry-After": strconv.FormatInt(seconds, 10)}
	return e
}

// throttles are those of the API.
type throttles struct {
	proxies      []netip.Prefix // whose X-Forwarded-For counts
	loginAccount *throttle
	loginAddress *throttle
	register     *throttle
}

func newThrottles(limits Throttle, proxies []netip.Prefix, now func() time.Time) *throttles {
	return &throttles{
		proxies:      proxies,
		loginAccount: newThrottle(limits.LoginAccount, now),
		loginAddress: newThrottle(limits.LoginAddress, now),
		register:     newThrottle(limits.Register, now),
	}
}

// beginLogin counts a login that may fail, until end tells whether it did. An
// account is the text that it is called by, be there one or not; it is counted
// for each address by itself, so that its owner can log in elsewhere while
// somebody guesses. The address comes first: when it is refused, its guesses do
// not fill the memory for accounts.
func (t *throttles) beginLogin(r *http.Request, username string) (end func(failed bool), err error) {
	key := throttleKey{network: networkOf(clientAddress(r, t.proxies))}
	endAddress, err := t.loginAddress.begin(r.Context(), key)
	if err != nil {
		return nil, err
	}
	key.account = sha256.Sum256([]byte(username))
	endAccount, err := t.loginAccount.begin(r.Context(), key)
	if err != nil {
		endAddress(false) // nothing was tried
		return nil, err
	}
	return func(failed bool) {
		endAccount(failed)
		endAddress(failed)
	}, nil
}

// countRegistration counts an attempt to register, whatever becomes of it.
func (t *throttles) countRegistration(r *http.Request) error {
	end, err := t.register.begin(r.Context(), throttleKey{network: networkOf(clientAddress(r, t.proxies))})
	if err == nil {
		end(true)
	}
	return err
}
