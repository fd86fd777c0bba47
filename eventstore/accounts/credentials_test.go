package accounts

import (
	"errors"
	"testing"
	"time"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	pool := open(t)
	c, ctx := NewCredentials(pool), t.Context()
	if hash, err := c.Hash(ctx, 7); !errors.Is(err, ErrNoCredential) {
		t.Fatalf("%q, %v", hash, err)
	}
	if err := c.Add(ctx, 7, "first"); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(ctx, 7, "again"); err == nil {
		t.Error("one user id was taken twice")
	}
	if err := c.Replace(ctx, 7, "another", "never"); err != nil {
		t.Fatal(err)
	}
	if hash, err := c.Hash(ctx, 7); hash != "first" || err != nil {
		t.Errorf("%q, %v", hash, err)
	}
	if err := c.Replace(ctx, 7, "first", "second"); err != nil {
		t.Fatal(err)
	}
	if hash, err := c.Hash(ctx, 7); hash != "second" || err != nil {
		t.Errorf("%q, %v", hash, err)
	}
	for range 2 {
		if err := c.Remove(ctx, 7); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Hash(ctx, 7); !errors.Is(err, ErrNoCredential) {
		t.Errorf("after removal: %v", err)
	}
}

func TestAChangedPasswordRevokesTheUsersFamilies(t *testing.T) {
	t.Parallel()
	pool := open(t)
	c, tokens, ctx := NewCredentials(pool), NewRefreshTokens(pool), t.Context()
	soon := time.Now().Add(time.Hour)
	rotate := func(user int64, from, to string) error {
		return tokens.Rotate(ctx, Rotation{JTI: from, UserID: user, Expires: soon, SuccessorJTI: to, SuccessorExpires: soon})
	}
	for _, user := range []int64{7, 8} {
		if err := errors.Join(c.Add(ctx, user, "old"), rotate(user, "a1", "a2"), rotate(user, "b1", "b2")); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Change(ctx, 7, "new"); err != nil {
		t.Fatal(err)
	}
	if hash, err := c.Hash(ctx, 7); hash != "new" || err != nil {
		t.Errorf("%q, %v", hash, err)
	}
	for _, jti := range []string{"a2", "b2"} {
		if err := rotate(7, jti, "x"); !errors.Is(err, ErrTokenRevoked) {
			t.Errorf("token %s of before: %v", jti, err)
		}
		if err := rotate(8, jti, "x"+jti); err != nil {
			t.Errorf("token %s of another user: %v", jti, err)
		}
	}
	if err := rotate(7, "c1", "c2"); err != nil {
		t.Errorf("a new login: %v", err)
	}
	if err := c.Replace(ctx, 7, "old", "stronger"); err != nil {
		t.Fatal(err)
	}
	if hash, _ := c.Hash(ctx, 7); hash != "new" {
		t.Errorf("a rehash of the old password has won: %q", hash)
	}
	if err := c.Change(ctx, 9, "first"); err != nil {
		t.Fatal(err)
	}
	if hash, err := c.Hash(ctx, 9); hash != "first" || err != nil {
		t.Errorf("a user without a password: %q, %v", hash, err)
	}
}

func TestCredentialsInATransactionOfTheCaller(t *testing.T) {
	t.Parallel()
	pool := open(t)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := NewCredentials(tx).Add(t.Context(), 7, "h"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := NewCredentials(pool).Hash(t.Context(), 7); !errors.Is(err, ErrNoCredential) {
		t.Errorf("after the rollback: %v", err)
	}
}

func TestSweepOfCredentials(t *testing.T) {
	t.Parallel()
	pool := open(t)
	c, ctx := NewCredentials(pool), t.Context()
	for user := range int64(4) {
		if err := c.Add(ctx, user, "h"); err != nil {
			t.Fatal(err)
		}
	}
	// 0: old and registered. 1: old, never registered. 2: young. 3: old, named
	// by another type of event only.
	execute(t, pool, `update accounts.credentials set created_at = now() - interval '25 hours' where user_id <> 2`)
	execute(t, pool, `insert into event_tags (tag, type, position) values ('user:0', 'user.registered', 1), ('user:3', 'user.amended', 2)`)
	if removed, err := c.Sweep(ctx); removed != 2 || err != nil {
		t.Errorf("%d removed, %v", removed, err)
	}
	for user, want := range []error{nil, ErrNoCredential, nil, ErrNoCredential} {
		if _, err := c.Hash(ctx, int64(user)); !errors.Is(err, want) {
			t.Errorf("user %d: %v", user, err)
		}
	}
}
