package accounts

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB is a pool, a connection or a transaction of pgx.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// ErrNoCredential: the user has no password here.
var ErrNoCredential = errors.New("the user has no password")

// Credentials keeps the hashes of passwords.
type Credentials struct {
	db DB
}

// NewCredentials makes one that works on db: a pool, or a transaction of the
// caller's.
func NewCredentials(db DB) *Credentials { return &Credentials{db} }

// Add stores the hash of a new user's password, before user.registered is
// appended. A user id is drawn once, so one that is there already is an error.
func (c *Credentials) Add(ctx context.Context, userID int64, passwordHash string) error {
	_, err := c.db.Exec(ctx, `insert into accounts.credentials (user_id, password_hash) values ($1, $2)`, userID, passwordHash)
	return classify("store a credential", err)
}

// Hash answers the hash of a user's password, or [ErrNoCredential].
func (c *Credentials) Hash(ctx context.Context, userID int64) (hash string, err error) {
	err = c.db.QueryRow(ctx, `select password_hash from accounts.credentials where user_id = $1`, userID).Scan(&hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ErrNoCredential
	}
	return hash, classify("read a credential", err)
}

// Replace stores another hash in place of one that was read, of the same
// password. It changes nothing when the stored hash is a third by now.
func (c *Credentials) Replace(ctx context.Context, userID int64, oldHash, newHash string) error {
	_, err := c.db.Exec(ctx, `update accounts.credentials set password_hash = $3 where user_id = $1 and password_hash = $2`,
		userID, oldHash, newHash)
	return classify("replace a credential", err)
}

// Change stores the hash of a user's new password and revokes the families of
// refresh tokens that are known of the user, both or neither. A token that was
// never exchanged has no family here: user.password_changed, which is appended
// next, ends that one as well.
func (c *Credentials) Change(ctx context.Context, userID int64, passwordHash string) error {
	_, err := c.db.Exec(ctx, `
		with ended as (
			update accounts.refresh_families set revoked_at = coalesce(revoked_at, clock_timestamp()) where user_id = $1)
		insert into accounts.credentials (user_id, password_hash) values ($1, $2)
		on conflict on constraint credentials_pkey do update set password_hash = excluded.password_hash`,
		userID, passwordHash)
	return classify("change a credential", err)
}

// Remove ends a user's password. One that is not there is no error.
func (c *Credentials) Remove(ctx context.Context, userID int64) error {
	_, err := c.db.Exec(ctx, `delete from accounts.credentials where user_id = $1`, userID)
	return classify("remove a credential", err)
}

// Sweep removes the credentials that are older than a day and whose user was
// never registered, and answers how many.
func (c *Credentials) Sweep(ctx context.Context) (removed int64, err error) {
	tag, err := c.db.Exec(ctx, `
		delete from accounts.credentials c
		where c.created_at < clock_timestamp() - interval '1 day'
		  and not exists (
			select from public.event_tags t
			where t.tag = 'user:' || c.user_id and t.type = 'user.registered')`)
	return tag.RowsAffected(), classify("sweep credentials", err)
}
