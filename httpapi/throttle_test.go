package httpapi

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// handClock is a clock that is set by hand.
type handClock struct{ time.Time }

func (c *handClock) now() time.Time { return c.Time }

func (c *handClock) pass(d time.Duration) { c.Time = c.Add(d) }

var someKey = throttleKey{network: netip.MustParseAddr("192.0.2.1")}

// attempt is one that counts, or not. It answers the seconds to wait when it was
// refused.
func attempt(t *testing.T, h *throttle, key throttleKey, counts bool) (retryAfter int) {
	t.Helper()
	end, err := h.begin(t.Context(), key)
	if refused, ok := errors.AsType[*apiError](err); ok && refused.status == 429 {
		seconds, err := strconv.Atoi(refused.header["Retry-After"])
		if err != nil || seconds < 1 {
			t.Errorf("Retry-After: %v", refused.header)
		}
		return seconds
	}
	if err != nil {
		t.Fatal(err)
	}
	end(counts)
	return 0
}

func TestThrottleSlides(t *testing.T) {
	clock := &handClock{testTime}
	h := newThrottle(3, clock.now)
	for _, step := range []struct {
		after      time.Duration
		retryAfter int
	}{
		{0, 0},
		{10 * time.Second, 0},
		{10 * time.Second, 0},
		{0, 40},
		{39 * time.Second, 1},
		{time.Second - time.Nanosecond, 1},
		{time.Nanosecond, 0}, // the first is a minute old
		{0, 10},              // until the second is
		{10 * time.Second, 0},
		{time.Millisecond, 10}, // 9.999 s, rounded up
		{time.Hour, 0},
		{0, 0},
		{0, 0},
		{0, 60},
	} {
		clock.pass(step.after)
		if got := attempt(t, h, someKey, true); got != step.retryAfter {
			t.Fatalf("at %v: retry after %d s, want %d", clock.Sub(testTime), got, step.retryAfter)
		}
	}
}

func TestThrottledAnswer(t *testing.T) {
	for wait, want := range map[time.Duration]string{
		time.Nanosecond: "1 second.", time.Second: "1 second.", time.Second + 1: "2 seconds.", time.Minute: "60 seconds.",
	} {
		got := newThrottled(wait)
		if string(got.body) != `{"detail":"Request was throttled. Expected available in `+want+`"}` || got.header["Retry-After"]+" " != want[:strings.Index(want, " ")+1] {
			t.Errorf("%v: %s %v", wait, got.body, got.header)
		}
	}
}

func TestThrottleGivesBack(t *testing.T) {
	clock := &handClock{testTime}
	h := newThrottle(2, clock.now)
	for range 10 {
		if attempt(t, h, someKey, false) != 0 {
			t.Fatal("what does not count is refused")
		}
	}
	attempt(t, h, someKey, true)
	for range 10 {
		if attempt(t, h, someKey, false) != 0 {
			t.Fatal("what does not count is refused")
		}
	}
	attempt(t, h, someKey, true)
	if attempt(t, h, someKey, false) != 60 { // and does not take away what counts
		t.Error("the third is begun")
	}
	other := throttleKey{network: someKey.network, account: [32]byte{1}}
	if attempt(t, h, other, true) != 0 {
		t.Error("another key is refused")
	}
}

func TestThrottleOff(t *testing.T) {
	h := newThrottle(0, time.Now)
	for range 1000 {
		if attempt(t, h, someKey, true) != 0 {
			t.Fatal("refused")
		}
	}
	if len(h.younger) > 0 {
		t.Error("something is remembered")
	}
}

// Of many at once, as many as may be begin. The others wait until it is decided
// whether those count, each of which may let one more begin.
func TestThrottleWaitsForDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newThrottle(2, time.Now)
		var ends []func(bool)
		for range 2 {
			end, err := h.begin(t.Context(), someKey)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, end)
		}
		begun, refused := make(chan func(bool), 5), make(chan error, 5)
		for range 5 {
			go func() {
				if end, err := h.begin(t.Context(), someKey); err != nil {
					refused <- err
				} else {
					begun <- end
				}
			}()
		}
		expectAt := func(what string, begin, refuse int) {
			t.Helper()
			synctest.Wait()
			if len(begun) != begin || len(refused) != refuse {
				t.Fatalf("%s: %d have begun and %d were refused, want %d and %d", what, len(begun), len(refused), begin, refuse)
			}
		}
		expectAt("before any decision", 0, 0)
		ends[0](false)
		expectAt("one does not count", 1, 0)
		ends[1](true)
		expectAt("one counts", 1, 0)
		(<-begun)(false)
		expectAt("another does not count", 1, 0)
		(<-begun)(true)
		expectAt("all are decided", 0, 3)
	})
}

func TestThrottleWaitsNoLongerThanItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newThrottle(1, time.Now)
		end, err := h.begin(t.Context(), someKey)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := h.begin(ctx, someKey); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		end(false)
		if attempt(t, h, someKey, true) != 0 {
			t.Error("one that gave up has left something behind")
		}
	})
}

// A turn that comes to one who gives up at the same moment goes to the next.
// Which of the two is first is chance, so it is tried many times.
func TestThrottleLosesNoTurn(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			h := newThrottle(1, time.Now)
			end, err := h.begin(t.Context(), someKey)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for _, ctx := range []context.Context{ctx, t.Context()} {
				all.Go(func() {
					if end, err := h.begin(ctx, someKey); err == nil {
						end(false)
					} else if ctx == t.Context() {
						t.Error(err)
					}
				})
				synctest.Wait() // so they stand in line in this order
			}
			cancel()
			end(false)
			all.Wait() // for ever, if the turn was lost; synctest notices
		})
	}
}

// However many try at once, no more count than may.
func TestThrottleUnderRaces(t *testing.T) {
	const limit = 10
	h := newThrottle(limit, time.Now)
	var counted, refused atomic.Int64
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			end, err := h.begin(t.Context(), someKey)
			if err != nil {
				refused.Add(1)
				return
			}
			counts := i%2 == 0
			if counts {
				counted.Add(1)
			}
			end(counts)
		})
	}
	all.Wait()
	if counted.Load() != limit || len(h.younger[someKey].times) != limit || refused.Load() < 100-limit {
		t.Errorf("%d count, %d were refused", counted.Load(), refused.Load())
	}
}

func numberedKey(i int) throttleKey {
	key := throttleKey{network: netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(i))))}
	key.account[0] = 1 // never someKey
	return key
}

// A key that is heard of is remembered, whatever the number of others; one that
// is not, until there are too many.
func TestThrottleBoundsItsMemory(t *testing.T) {
	clock := &handClock{testTime}
	h := newThrottle(1, clock.now)
	attempt(t, h, someKey, true)
	forgotten := numberedKey(1 << 30)
	attempt(t, h, forgotten, true)
	for i := range 4 * throttleKeys {
		attempt(t, h, numberedKey(i), true)
		if i%1000 == 0 && attempt(t, h, someKey, true) == 0 {
			t.Fatalf("forgotten after %d others", i)
		}
		if i == throttleKeys/2 && attempt(t, h, forgotten, true) == 0 {
			t.Error("forgotten long before there are too many")
		}
	}
	if n := len(h.younger) + len(h.older); n > 2*throttleKeys {
		t.Errorf("%d keys are remembered", n)
	}
	if attempt(t, h, forgotten, true) != 0 {
		t.Error("nothing is forgotten")
	}
	clock.pass(throttleWindow)
	attempt(t, h, someKey, true)
	clock.pass(throttleWindow)
	attempt(t, h, someKey, true)
	if n := len(h.younger) + len(h.older); n > 2 {
		t.Errorf("%d keys are remembered that count for nothing", n)
	}
}

// What is remembered lasts for a window, wherever in one it falls.
func TestThrottleForgetsNothingTooEarly(t *testing.T) {
	for offset := range 12 {
		clock := &handClock{testTime}
		h := newThrottle(1, clock.now)
		clock.pass(time.Duration(offset) * 10 * time.Second)
		attempt(t, h, someKey, true)
		for i := range 59 {
			clock.pass(time.Second)
			attempt(t, h, numberedKey(i), true)
		}
		if got := attempt(t, h, someKey, true); got != 1 {
			t.Errorf("after %d s, a minute later: retry after %d", 10*offset, got)
		}
	}
}

// BenchmarkThrottle meets a new key each time.
func BenchmarkThrottle(b *testing.B) {
	h := newThrottle(10, time.Now)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		end, err := h.begin(b.Context(), numberedKey(i))
		if err != nil {
			b.Fatal(err)
		}
		end(true)
	}
}
