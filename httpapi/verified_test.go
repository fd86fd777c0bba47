package httpapi

import (
	"fmt"
	"testing"
	"time"

	"github.com/carelog/carelog/projections"
)

// TestAVerifiedTokenExpires: that it was good before does not prolong its life,
// nor make another text good.
func TestAVerifiedTokenExpires(t *testing.T) {
	now := testTime
	issuer := newTokens(newKeys([]byte(testKey)), func() time.Time { return now }, 5*time.Minute, 24*time.Hour)
	raw, err := issuer.sign(issuer.claim(accessType, projections.Session{User: 7, Epoch: 3}))
	if err != nil {
		t.Fatal(err)
	}
	first, err := issuer.checkAccess(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Duration{0, time.Minute, 4*time.Minute + 59*time.Second} {
		now = testTime.Add(at)
		if again, err := issuer.checkAccess(raw); err != nil || again != first || again.session() != (projections.Session{User: 7, Epoch: 3}) {
			t.Errorf("after %v: %+v, %v", at, again, err)
		}
		if _, err := issuer.checkAccess(raw + "A"); err != tokenInvalid {
			t.Errorf("with one character more: %v", err)
		}
	}
	now = testTime.Add(5 * time.Minute)
	if _, err := issuer.checkAccess(raw); err != tokenExpired {
		t.Errorf("expired: %v", err)
	}
	refresh, err := issuer.sign(issuer.claim(refreshType, projections.Session{User: 7}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.check(refresh, refreshType); err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.checkAccess(refresh); err != tokenError("Token has wrong type") {
		t.Errorf("a refresh token: %v", err)
	}
}

// TestVerifiedTokensTakeBoundedMemory, and those in use stay.
func TestVerifiedTokensTakeBoundedMemory(t *testing.T) {
	var v verified
	token := checked{user: 1, expires: testTime.Add(time.Hour)}
	v.add("in use", token)
	for i := range 5 * maxVerified {
		v.add(fmt.Sprint("another ", i), token)
		if _, known := v.find("in use", testTime); !known {
			t.Fatalf("a token in use is forgotten after %d others", i+1)
		}
		if n := len(v.younger) + len(v.older); n > 2*maxVerified {
			t.Fatalf("%d tokens are remembered", n)
		}
	}
	if _, known := v.find("another 0", testTime); known {
		t.Error("one that nobody uses is remembered")
	}
}
