package accounts

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHashAndVerify(t *testing.T) {
	t.Parallel()
	h, ctx := NewHasher(2, time.Minute, nil), t.Context()
	for _, password := range []string{"correct horse", "", " a ", "ünïcödé ✓", strings.Repeat("x", 73) + "y", "a\x00b"} {
		hash, err := h.Hash(ctx, password)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") || NeedsRehash(hash) {
			t.Errorf("hash %s", hash)
		}
		for other, want := range map[string]bool{password: true, strings.TrimSpace(password) + " ": false, strings.Repeat("x", 73) + "z": false} {
			if ok, err := h.Verify(ctx, hash, other); ok != want || err != nil {
				t.Errorf("%q against %q: %v, %v", other, password, ok, err)
			}
		}
	}
	first, err := h.Hash(ctx, "same")
	if err != nil {
		t.Fatal(err)
	}
	if second, err := h.Hash(ctx, "same"); err != nil || first == second {
		t.Errorf("two hashes with one salt: %s, %v", second, err)
	}
	if err := h.VerifyDummy(ctx, "same"); err != nil {
		t.Error(err)
	}
}

// The test vector is the reference implementation's:
// echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32 -e
func TestVerifyReadsParameters(t *testing.T) {
	t.Parallel()
	const hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := NewHasher(1, time.Minute, nil).Verify(t.Context(), hash, "password"); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if !NeedsRehash(hash) {
		t.Error("a salt of 8 bytes is as good as one of 16")
	}
}

func TestVerifyRefusesHashes(t *testing.T) {
	t.Parallel()
	const salt, key = "c29tZXNhbHRzb21lc2FsdA", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h := NewHasher(1, time.Minute, nil)
	for name, hash := range map[string]string{
		"nothing":             "",
		"other algorithm":     "pbkdf2_sha256$600000$salt$key",
		"argon2i":             "$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + key,
		"other version":       "$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + key,
		"4 GiB":               "$argon2id$v=19$m=4194304,t=2,p=1$" + salt + "$" + key,
		"no memory":           "$argon2id$v=19$m=0,t=2,p=1$" + salt + "$" + key,
		"a million passes":    "$argon2id$v=19$m=19456,t=1000000,p=1$" + salt + "$" + key,
		"no passes":           "$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + key,
		"no lanes":            "$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + key,
		"255 lanes":           "$argon2id$v=19$m=19456,t=2,p=255$" + salt + "$" + key,
		"more lanes than fit": "$argon2id$v=19$m=19456,t=2,p=257$" + salt + "$" + key,
		"negative":            "$argon2id$v=19$m=-1,t=2,p=1$" + salt + "$" + key,
		"no salt":             "$argon2id$v=19$m=19456,t=2,p=1$$" + key,
		"no key":              "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$",
		"a long key":          "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + strings.Repeat("A", 4096),
		"padding":             "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "==$" + key,
		"one field more":      "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key + "$",
		"text behind":         "$argon2id$v=19$m=19456,t=2,p=1,x=1$" + salt + "$" + key,
	} {
		if ok, err := h.Verify(t.Context(), hash, "password"); ok || !errors.Is(err, ErrUnknownHash) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
		if !NeedsRehash(hash) {
			t.Errorf("%s: would be kept", name)
		}
	}
}

func TestNeedsRehash(t *testing.T) {
	t.Parallel()
	const rest = "$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for parameters, want := range map[string]bool{
		"m=19456,t=2,p=1": false, "m=65536,t=2,p=1": false, "m=19456,t=3,p=4": false,
		"m=19455,t=2,p=1": true, "m=19456,t=1,p=1": true, "m=8,t=1,p=1": true,
	} {
		if got := NeedsRehash("$argon2id$v=19$" + parameters + rest); got != want {
			t.Errorf("%s: %v", parameters, got)
		}
	}
}

// TestHasherIsBounded holds all places and counts who gets in.
func TestHasherIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHasher(3, 2*time.Second, nil)
		for range cap(h.places) {
			h.places <- struct{}{}
		}
		begin := time.Now()
		if _, err := h.Hash(t.Context(), "x"); !errors.Is(err, ErrBusy) || time.Since(begin) != 2*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if err := h.VerifyDummy(t.Context(), "x"); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Hash(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		done := make(chan error)
		go func() {
			_, err := h.Hash(t.Context(), "x")
			done <- err
		}()
		synctest.Wait()
		<-h.places // one place is free again
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(h.places) != 2 {
			t.Errorf("%d places are taken", len(h.places))
		}
	})
}
