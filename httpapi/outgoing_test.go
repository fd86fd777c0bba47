package httpapi

import "testing"

// TestNobodyTakesAllStreams: one user has at most half, a second at most half of the
// rest, and others still find room.
func TestNobodyTakesAllStreams(t *testing.T) {
	s := streams{of: map[int64]int{}}
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
