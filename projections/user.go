package projections

import (
	"context"
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
}

// users is the projection of users.
type users struct{}

func (users) Name() string       { return "users" }
func (users) SchemaVersion() int { return 1 }
func (users) Tables() []string   { return []string{"users"} }

func (users) Apply(batch *pgx.Batch, evs []Applied) error {
	var ids []int64
	var names, emails []string
	var registered []time.Time
	for _, e := range evs {
		if p, ok := e.Payload.(events.UserRegistered); ok {
			ids, names, emails = append(ids, p.UserID), append(names, p.Name), append(emails, p.Email)
			registered = append(registered, p.RegisteredAt)
		}
	}
	if len(ids) > 0 {
		batch.Queue(`
			insert into users (id, name, email, registered_at)
			select * from unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[])`,
			ids, names, emails, registered)
	}
	return nil
}

func userTargets(u *User) []any {
	return []any{&u.ID, &u.Name, &u.Email, &u.Active, &u.RegisteredAt}
}

// User answers an active user. It fails with [ErrUnknownUser] and
// [ErrInactiveUser].
func (q *Queries) User(ctx context.Context, id int64) (User, error) {
	return one(ctx, q, "read a user", userTargets,
		`select u.active, u.id, u.name, u.email, u.active, u.registered_at
		from (values (1)) as always
		left join users u on u.id = $1`, id)
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
