package accounts

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

var (
	// ErrTokenReused: the refresh token was exchanged before. Its family is
	// revoked now.
	ErrTokenReused = errors.New("the refresh token was used before")

	// ErrTokenRevoked: the refresh token belongs to a family that is revoked.
	ErrTokenRevoked = errors.New("the refresh token was revoked")
)

// RefreshTokens knows which refresh tokens were exchanged.
type RefreshTokens struct {
	db DB
}

// NewRefreshTokens makes one that works on db: a pool, or a transaction of the
// caller's. The revocation that comes with [ErrTokenReused] must be committed
// too.
func NewRefreshTokens(db DB) *RefreshTokens { return &RefreshTokens{db} }

// Rotation exchanges a refresh token for its successor.
type Rotation struct {
	JTI     string // the token's id
	UserID  int64
	Expires time.Time // the token's

	SuccessorJTI     string // a new id
	SuccessorExpires time.Time
}

// Rotate ends a token in favour of its successor, which is valid when nil is
// answered. Signature and expiry of the token have been checked. It fails with
// [ErrTokenReused] or [ErrTokenRevoked]. Of several at the same time with one
// token one succeeds.
func (r *RefreshTokens) Rotate(ctx context.Context, x Rotation) error {
	tag, err := r.db.Exec(ctx, exchange, x.UserID, x.JTI, x.SuccessorJTI, x.Expires, x.SuccessorExpires)
	if err != nil {
		return classify("exchange a refresh token", err)
	}
	if tag.RowsAffected() == 1 {
		return nil
	}
	var live bool
	err = r.db.QueryRow(ctx, revoke, x.UserID, x.JTI).Scan(&live)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // swept in between: all its tokens have expired
		return ErrTokenRevoked
	case err != nil:
		return classify("revoke the family of a refresh token", err)
	case live:
		return ErrTokenRevoked
	}
	return ErrTokenReused
}

// rootOfToken is the root of the family of token $2 of user $1: itself, unless
// it was given out in exchange for another.
const rootOfToken = `coalesce((select root from accounts.refresh_tokens where user_id = $1 and jti = $2), $2)`

// exchange makes $3 the live token of the family in place of $2, if that is it.
const exchange = `
	with family as (
		insert into accounts.refresh_families as f (user_id, root, live, expires_at)
		values ($1, ` + rootOfToken + `, $3, greatest($4::timestamptz, $5::timestamptz))
		on conflict on constraint refresh_families_pkey do update
			set live = excluded.live, expires_at = greatest(f.expires_at, excluded.expires_at)
			where f.live = $2 and f.revoked_at is null
		returning f.user_id, f.root)
	insert into accounts.refresh_tokens (user_id, jti, root)
	select user_id, $3, root from family`

// revoke ends the family of a token that could not be exchanged, and tells
// whether that was because it had ended before.
const revoke = `
	update accounts.refresh_families
	set revoked_at = coalesce(revoked_at, clock_timestamp())
	where user_id = $1 and root = ` + rootOfToken + `
	returning live = $2`

// Sweep removes the families of which every token has expired, and answers how
// many. An hour is left for clocks that differ.
func (r *RefreshTokens) Sweep(ctx context.Context) (removed int64, err error) {
	tag, err := r.db.Exec(ctx, `
		delete from accounts.refresh_families
		where expires_at < clock_timestamp() - interval '1 hour'`)
	return tag.RowsAffected(), classify("sweep refresh tokens", err)
}
