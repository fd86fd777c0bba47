package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// User is a user's account as the read tables have it.
type User struct {
	ID           int64
	Name, Email  string
	Active       bool
	RegisteredAt time.Time

	// Epoch is the position of the last event that ended the user's tokens (the
	// password was changed), 0 while there is none. A token counts only in the
	// epoch that it was issued in.
	Epoch events.Position
}

// users is the projection of users.
type users struct{}

func (users) Name() string       { return "users" }
func (users) SchemaVersion() int { return 1 }
func (users) Tables() []string   { return []string{"users"} }

// userChange is what a batch does to one user; fields that are nil stay.
type userChange struct {
	registered   bool
	id           int64
	name, email  string
	registeredAt time.Time
	active       *bool
	epoch        *events.Position
}

func (users) Apply(batch *pgx.Batch, evs []Applied) error {
	yes, no, never := true, false, events.Position(0)
	var users changes[userChange]
	for _, e := range evs {
		switch p := e.Payload.(type) {
		case events.UserRegistered:
			users.begin(p.UserID, &userChange{
				registered: true, id: p.UserID, name: p.Name, email: p.Email, registeredAt: p.RegisteredAt,
				active: &yes, epoch: &never,
			})
		case events.UserDisabled:
			c := users.of(p.UserID)
			c.id, c.active = p.UserID, &no
		case events.UserEnabled:
			c := users.of(p.UserID)
			c.id, c.active = p.UserID, &yes
		case events.UserPasswordChanged:
			c := users.of(p.UserID)
			c.id, c.epoch = p.UserID, &e.Position
		}
	}

	var changed, registered userColumns
	for _, c := range users.list {
		if c.registered {
			registered.add(c)
		} else {
			changed.add(c)
		}
	}
	if c := changed; len(c.id) > 0 {
		batch.Queue(`
			update users u set
			    active      = coalesce(c.active, u.active),
			    token_epoch = coalesce(c.token_epoch, u.token_epoch)
			from unnest($1::bigint[], $2::boolean[], $3::bigint[]) as c (id, active, token_epoch)
			where u.id = c.id`,
			c.id, c.active, c.epoch)
	}
	if r := registered; len(r.id) > 0 {
		batch.Queue(`
			insert into users (id, name, email, registered_at, active, token_epoch)
			select * from unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[], $5::boolean[], $6::bigint[])`,
			r.id, r.name, r.email, r.registeredAt, r.active, r.epoch)
	}
	return nil
}

// userColumns are changes turned into the arrays of a statement.
type userColumns struct {
	id           []int64
	name, email  []string
	registeredAt []time.Time
	active       []*bool
	epoch        []*events.Position
}

func (u *userColumns) add(c *userChange) {
	u.id, u.name, u.email = append(u.id, c.id), append(u.name, c.name), append(u.email, c.email)
	u.registeredAt = append(u.registeredAt, c.registeredAt)
	u.active, u.epoch = append(u.active, c.active), append(u.epoch, c.epoch)
}

const userFields = `u.id, u.name, u.email, u.active, u.registered_at, u.token_epoch`

func userTargets(u *User) []any {
	return []any{&u.ID, &u.Name, &u.Email, &u.Active, &u.RegisteredAt, &u.Epoch}
}

// CheckSession makes sure that the user may act in the session, and answers the
// position up to which the read tables say so. It fails with [ErrUnknownUser],
// [ErrInactiveUser] and [ErrSessionEnded].
func (q *Queries) CheckSession(ctx context.Context, user Session) (events.Position, error) {
	return q.sessions.ask(ctx, lookup{session: user})
}

// NewSession answers the session that a user who logs in now begins. It fails
// with [ErrUnknownUser] and [ErrInactiveUser].
func (q *Queries) NewSession(ctx context.Context, user int64) (Session, error) {
	session, active := Session{User: user}, false
	err := q.pool.QueryRow(ctx, `select active, token_epoch from users where id = $1`, user).Scan(&active, &session.Epoch)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Session{}, ErrUnknownUser
	case err != nil:
		return Session{}, fmt.Errorf("begin a session: %w", classify(err))
	case !active:
		return Session{}, ErrInactiveUser
	}
	return session, nil
}

// Users answers at most limit users whose ids follow after, in order of id, for
// those who run Carelog: no session is checked.
func (q *Queries) Users(ctx context.Context, after int64, limit int) ([]User, error) {
	rows, err := q.pool.Query(ctx, `select `+userFields+` from users u where u.id > $1 order by u.id limit $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", classify(err))
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (User, error) {
		var u User
		err := row.Scan(userTargets(&u)...)
		return u, err
	})
	if err != nil {
		return nil, fmt.Errorf("list users: %w", classify(err))
	}
	return found, nil
}

// UserEmailTaken tells whether a user has exactly this e-mail address.
func (q *Queries) UserEmailTaken(ctx context.Context, email string) (bool, error) {
	var taken bool
	err := q.pool.QueryRow(ctx, `select exists (select from users where email = $1)`, email).Scan(&taken)
	if err != nil {
		return false, fmt.Errorf("look for a user's e-mail address: %w", classify(err))
	}
	return taken, nil
}
