package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/argon2"
)

// Parameters of new hashes: Argon2id with 19 MiB, 2 passes and 1 lane (OWASP
// ASVS 5.0, appendix C; OWASP Password Storage Cheat Sheet).
const (
	memoryKiB  = 19456
	passes     = 2
	lanes      = 1
	saltLength = 16 // bytes, as is the key; RFC 9106, section 3.1
	keyLength  = 32
)

// What a stored hash may ask for at most, so that one that somebody has planted
// cannot exhaust memory or time.
const (
	maxMemoryKiB = 64 << 10
	maxPasses    = 8
	maxLanes     = 4
	maxLength    = 64 // of salt and key
)

// ErrBusy: as many passwords are being hashed as may be, and none was finished
// in time. Nothing was done.
var ErrBusy = errors.New("too many passwords are being hashed")

// ErrUnknownHash: a stored hash is in no form that is understood here.
var ErrUnknownHash = errors.New("the stored password hash cannot be read")

// Hasher hashes passwords with Argon2id, a bounded number at the same time.
//
// Each takes 19 MiB while it runs, which the garbage collector may keep for as
// much again: count on 40 MiB per place.
type Hasher struct {
	places  chan struct{}
	wait    time.Duration
	metrics metrics
}

// NewHasher makes a Hasher that hashes up to concurrency passwords at the same
// time; further ones wait for their turn, at most that long. Its metrics are
// registered, unless the registerer is nil.
func NewHasher(concurrency int, wait time.Duration, registerer prometheus.Registerer) *Hasher {
	h := &Hasher{places: make(chan struct{}, concurrency), wait: wait}
	h.metrics = newMetrics(h, registerer)
	return h
}

// Hash answers the hash of a password in PHC string format, with a new salt.
// It fails with [ErrBusy] or with the context's error.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	p := parameters{memory: memoryKiB, passes: passes, lanes: lanes, salt: make([]byte, saltLength), key: make([]byte, keyLength)}
	rand.Read(p.salt) // never fails
	key, err := h.derive(ctx, p, password)
	if err != nil {
		return "", err
	}
	p.key = key
	return p.String(), nil
}

// Verify tells whether a hash is that of the password. It fails with [ErrBusy],
// with [ErrUnknownHash] or with the context's error.
func (h *Hasher) Verify(ctx context.Context, hash, password string) (bool, error) {
	p, err := parse(hash)
	if err != nil {
		return false, err
	}
	key, err := h.derive(ctx, p, password)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, p.key) == 1, nil
}

// VerifyDummy takes the time of a Verify, in vain: for a user that is not there,
// so that time does not tell.
func (h *Hasher) VerifyDummy(ctx context.Context, password string) error {
	p := parameters{memory: memoryKiB, passes: passes, lanes: lanes, salt: make([]byte, saltLength), key: make([]byte, keyLength)}
	_, err := h.derive(ctx, p, password)
	return err
}

// NeedsRehash tells whether a hash is weaker than those that Hash makes: the
// password's next login is the occasion to replace it.
func NeedsRehash(hash string) bool {
	p, err := parse(hash)
	return err != nil || p.memory < memoryKiB || p.passes < passes || len(p.salt) < saltLength || len(p.key) < keyLength
}

// derive waits for a place and hashes the password.
func (h *Hasher) derive(ctx context.Context, p parameters, password string) ([]byte, error) {
	if err := h.enter(ctx); err != nil {
		return nil, err
	}
	defer func() { <-h.places }()
	began := time.Now()
	defer func() { h.metrics.duration.Observe(time.Since(began).Seconds()) }()
	return argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, p.lanes, uint32(len(p.key))), nil
}

// enter takes a place.
func (h *Hasher) enter(ctx context.Context) error {
	h.metrics.waiting.Inc()
	defer h.metrics.waiting.Dec()
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.places <- struct{}{}:
		return nil
	case <-timer.C:
		h.metrics.refused.Inc()
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// parameters are what a PHC string holds.
type parameters struct {
	memory uint32 // KiB
	passes uint32
	lanes  uint8
	salt   []byte
	key    []byte
}

// String is in PHC string format: $argon2id$v=19$m=19456,t=2,p=1$salt$key.
func (p parameters) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.passes, p.lanes,
		base64.RawStdEncoding.EncodeToString(p.salt), base64.RawStdEncoding.EncodeToString(p.key))
}

// parse reads a PHC string in the form that String writes, within the bounds.
func parse(hash string) (p parameters, err error) {
	fields := strings.Split(hash, "$")
	if len(fields) != 6 || fields[1] != "argon2id" || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, ErrUnknownHash
	}
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.lanes); err != nil {
		return p, ErrUnknownHash
	}
	var saltErr, keyErr error
	p.salt, saltErr = base64.RawStdEncoding.DecodeString(fields[4])
	p.key, keyErr = base64.RawStdEncoding.DecodeString(fields[5])
	switch {
	case saltErr != nil, keyErr != nil, p.String() != hash, // in this form alone
		p.memory < 8*uint32(p.lanes), p.memory > maxMemoryKiB,
		p.passes < 1, p.passes > maxPasses,
		p.lanes < 1, p.lanes > maxLanes,
		len(p.salt) < 8, len(p.salt) > maxLength,
		len(p.key) < saltLength, len(p.key) > maxLength:
		return p, ErrUnknownHash
	}
	return p, nil
}
