package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/carelog/carelog/eventstore/accounts"
	"github.com/carelog/carelog/httpapi"
)

// accountKeeper joins the API to what is kept outside the log.
type accountKeeper struct {
	credentials *accounts.Credentials
	tokens      *accounts.RefreshTokens
	hasher      *accounts.Hasher
}

// hashWait is how long a password waits to be hashed before the client is told
// to come back.
const hashWait = 5 * time.Second

func newAccountKeeper(db accounts.DB, concurrency int, registerer prometheus.Registerer) *accountKeeper {
	return &accountKeeper{
		credentials: accounts.NewCredentials(db),
		tokens:      accounts.NewRefreshTokens(db),
		hasher:      accounts.NewHasher(concurrency, hashWait, registerer),
	}
}

// HashPassword implements [httpapi.Accounts].
func (k *accountKeeper) HashPassword(ctx context.Context, password string) (string, error) {
	hash, err := k.hasher.Hash(ctx, password)
	return hash, asAPI(err)
}

// VerifyPassword implements [httpapi.Accounts]. A weaker hash than new ones is
// replaced while the password is at hand.
func (k *accountKeeper) VerifyPassword(ctx context.Context, user int64, password string) (bool, error) {
	hash, err := k.credentials.Hash(ctx, user)
	if user == 0 || errors.Is(err, accounts.ErrNoCredential) {
		return false, asAPI(k.hasher.VerifyDummy(ctx, password))
	}
	if err != nil {
		return false, err
	}
	right, err := k.hasher.Verify(ctx, hash, password)
	if !right || err != nil || !accounts.NeedsRehash(hash) {
		return right, asAPI(err)
	}
	if stronger, err := k.hasher.Hash(ctx, password); err == nil {
		_ = k.credentials.Replace(ctx, user, hash, stronger) // the next login tries again
	}
	return true, nil
}

// Rotate implements [httpapi.Accounts].
func (k *accountKeeper) Rotate(ctx context.Context, token httpapi.RotateToken) error {
	return asAPI(k.tokens.Rotate(ctx, accounts.Rotation(token)))
}

// asAPI turns the errors of accounts into those that the API knows.
func asAPI(err error) error {
	for from, to := range map[error]error{
		accounts.ErrBusy:         httpapi.ErrBusy,
		accounts.ErrTokenReused:  httpapi.ErrTokenReused,
		accounts.ErrTokenRevoked: httpapi.ErrTokenRevoked,
	} {
		if errors.Is(err, from) {
			return to
		}
	}
	return err
}

// sweepEvery is how often rows that nobody can use any more are removed.
const sweepEvery = time.Hour

// sweep removes dead rows until the context ends. It returns nil.
func (k *accountKeeper) sweep(ctx context.Context, logger *slog.Logger) error {
	for pause(ctx, sweepEvery) {
		_, deadCredentials := k.credentials.Sweep(ctx)
		_, deadTokens := k.tokens.Sweep(ctx)
		if err := errors.Join(deadCredentials, deadTokens); err != nil && ctx.Err() == nil {
			logger.Warn("sweeping accounts failed, trying again later", "error", err)
		}
	}
	return nil
}
