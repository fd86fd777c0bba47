package accounts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// rotate exchanges a token of user 1 for another, both valid for a day.
func rotate(ctx context.Context, r *RefreshTokens, jti, successor string) error {
	expires := time.Now().Add(24 * time.Hour)
	return r.Rotate(ctx, Rotation{JTI: jti, UserID: 1, Expires: expires, SuccessorJTI: successor, SuccessorExpires: expires})
}

func TestRotate(t *testing.T) {
	t.Parallel()
	pool := open(t)
	r := NewRefreshTokens(pool)
	for _, step := range []struct {
		name, jti, successor string
		want                 error
	}{
		{"a token that was never seen", "a", "b", nil},
		{"its successor", "b", "c", nil},
		{"the successor of that", "c", "d", nil},
		{"another family", "x", "y", nil},
		{"one from the middle again", "b", "e", ErrTokenReused},
		{"the live one of the revoked family", "d", "f", ErrTokenRevoked},
		{"what was never given out in it", "e", "g", nil}, // a family of its own: its signature would have to be forged
		{"its root again", "a", "h", ErrTokenReused},
		{"the other family goes on", "y", "z", nil},
		{"the other family's root again", "x", "w", ErrTokenReused},
		{"the other family is revoked", "z", "v", ErrTokenRevoked},
	} {
		if err := rotate(t.Context(), r, step.jti, step.successor); !errors.Is(err, step.want) {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	// The same ids of another user are other tokens.
	err := r.Rotate(t.Context(), Rotation{JTI: "a", UserID: 2, Expires: time.Now(), SuccessorJTI: "b", SuccessorExpires: time.Now()})
	if err != nil {
		t.Errorf("another user: %v", err)
	}
}

// TestRotateHasOneWinner exchanges one token many times at once, first as the root of a family
// and then as a successor.
func TestRotateHasOneWinner(t *testing.T) {
	t.Parallel()
	pool := open(t)
	r := NewRefreshTokens(pool)
	if err := rotate(t.Context(), r, "root", "successor"); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"new", "successor"} {
		errs := make([]error, 16)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = rotate(t.Context(), r, token, fmt.Sprint(token, i)) })
		}
		all.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Errorf("%s: both %d and %d won", token, winner, i)
			case !errors.Is(err, ErrTokenReused):
				t.Errorf("%s: %v", token, err)
			}
		}
		if winner < 0 {
			t.Fatalf("%s: nobody won", token)
		}
		if err := rotate(t.Context(), r, fmt.Sprint(token, winner), "next"); !errors.Is(err, ErrTokenRevoked) {
			t.Errorf("%s: the family was used twice and goes on: %v", token, err)
		}
		var rows int
		err := pool.QueryRow(t.Context(), `select count(*) from accounts.refresh_tokens where jti like $1 || '%'`, token).Scan(&rows)
		if want := map[string]int{"new": 1, "successor": 2}[token]; rows != want || err != nil {
			t.Errorf("%s: %d successors are stored, %v", token, rows, err)
		}
	}
}

// TestRotateNeedsItsCondition is the control of the tests above: without the
// condition on the family's row a token can be exchanged twice.
func TestRotateNeedsItsCondition(t *testing.T) {
	t.Parallel()
	pool := open(t)
	without := strings.Replace(exchange, "where f.live = $2 and f.revoked_at is null", "", 1)
	for _, successor := range []string{"b", "c"} {
		tag, err := pool.Exec(t.Context(), without, 1, "a", successor, time.Now(), time.Now())
		if err != nil || tag.RowsAffected() != 1 {
			t.Errorf("%s: %v, %v", successor, tag, err)
		}
	}
}

// TestRotateAgainstReuse lets the live token be exchanged while an old one is
// used again: whichever comes first, nothing of the family is live in the end.
func TestRotateAgainstReuse(t *testing.T) {
	t.Parallel()
	r := NewRefreshTokens(open(t))
	for i := range 20 {
		name := func(s string) string { return fmt.Sprint(s, i) }
		if err := rotate(t.Context(), r, name("a"), name("b")); err != nil {
			t.Fatal(err)
		}
		var reuse, exchange error
		var both sync.WaitGroup
		both.Go(func() { reuse = rotate(t.Context(), r, name("a"), name("x")) })
		both.Go(func() { exchange = rotate(t.Context(), r, name("b"), name("c")) })
		both.Wait()
		if !errors.Is(reuse, ErrTokenReused) {
			t.Errorf("reuse: %v", reuse)
		}
		live := name("c")
		if exchange != nil {
			if !errors.Is(exchange, ErrTokenRevoked) {
				t.Errorf("exchange: %v", exchange)
			}
			live = name("b")
		}
		if err := rotate(t.Context(), r, live, name("d")); !errors.Is(err, ErrTokenRevoked) {
			t.Errorf("%s is live after the reuse: %v", live, err)
		}
	}
}

func TestSweepOfRefreshTokens(t *testing.T) {
	t.Parallel()
	pool := open(t)
	r, ctx := NewRefreshTokens(pool), t.Context()
	now := time.Now()
	for _, x := range []Rotation{
		{JTI: "expired", Expires: now.Add(-3 * time.Hour), SuccessorJTI: "expired too", SuccessorExpires: now.Add(-2 * time.Hour)},
		{JTI: "root is valid", Expires: now.Add(time.Hour), SuccessorJTI: "short", SuccessorExpires: now.Add(-2 * time.Hour)},
		{JTI: "just expired", Expires: now.Add(-2 * time.Hour), SuccessorJTI: "just", SuccessorExpires: now.Add(-time.Minute)},
	} {
		x.UserID = 1
		if err := r.Rotate(ctx, x); err != nil {
			t.Fatal(err)
		}
	}
	if removed, err := r.Sweep(ctx); removed != 1 || err != nil {
		t.Errorf("%d removed, %v", removed, err)
	}
	if err := rotate(ctx, r, "root is valid", "again"); !errors.Is(err, ErrTokenReused) {
		t.Errorf("a token that was used and is valid was forgotten: %v", err)
	}
	var left int
	if err := pool.QueryRow(ctx, `select count(*) from accounts.refresh_tokens`).Scan(&left); left != 2 || err != nil {
		t.Errorf("%d tokens are left, %v", left, err)
	}
}
