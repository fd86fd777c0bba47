package accounts

import (
	"errors"
	"testing"
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
