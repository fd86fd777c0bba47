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
	Roles        []events.Role // sorted

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
	roles        map[events.Role]bool // granted or revoked, whatever was last
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
		case events.UserRoleGranted:
			users.of(p.UserID).setRole(p.UserID, p.Role, true)
		case events.UserRoleRevoked:
			users.of(p.UserID).setRole(p.UserID, p.Role, false)
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
	if r := rolesOf(users.list); len(r.id) > 0 {
		batch.Queue(`
			with changed as (select * from unnest($1::bigint[], $2::text[], $3::boolean[]) as c (id, role, granted))
			update users u set roles = array(
			    select unnest(u.roles) collate "C"
			    except select c.role from changed c where c.id = u.id
			    union select c.role from changed c where c.id = u.id and c.granted
			    order by 1)
			where u.id = any($1)`,
			r.id, r.role, r.granted)
	}
	return nil
}

func (c *userChange) setRole(id int64, role events.Role, granted bool) {
	c.id = id
	if c.roles == nil {
		c.roles = map[events.Role]bool{}
	}
	c.roles[role] = granted
}

// roleColumns are changes of roles turned into the arrays of a statement.
type roleColumns struct {
	id      []int64
	role    []string
	granted []bool
}

func rolesOf(changes []*userChange) (r roleColumns) {
	for _, c := range changes {
		for role, granted := range c.roles {
			r.id, r.role, r.granted = append(r.id, c.id), append(r.role, string(role)), append(r.granted, granted)
		}
	}
	return r
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

// userFields are those of a user l: u is the one who asks.
const userFields = `l.id, l.name, l.email, l.active, l.registered_at, l.token_epoch, l.roles`

func userTargets(u *User) []any {
	return []any{&u.ID, &u.Name, &u.Email, &u.Active, &u.RegisteredAt, &u.Epoch, &u.Roles}
}

// Account answers who asks. It fails with [ErrUnknownUser], [ErrInactiveUser] and
// [ErrSessionEnded].
func (q *Queries) Account(ctx context.Context, user Session) (User, error) {
	return q.User(ctx, user, user.User)
}

// User answers any user. It fails with [ErrNotFound], [ErrUnknownUser],
// [ErrInactiveUser] and [ErrSessionEnded].
func (q *Queries) User(ctx context.Context, user Session, id int64) (User, error) {
	return q.users.ask(ctx, lookup{user, id})
}

// AllUsers answers all users in order of id. It fails with [ErrUnknownUser],
// [ErrInactiveUser] and [ErrSessionEnded].
func (q *Queries) AllUsers(ctx context.Context, user Session) ([]User, error) {
	return list(ctx, q, "list users", userTargets,
		`select `+userState+userFields+`
		from (values (1)) as always
		left join users u on u.id = $1
		left join users l on u.active
		order by l.id`, user)
}

// UsersPage answers at most limit of those, in order of id, after the first offset.
func (q *Queries) UsersPage(ctx context.Context, user Session, limit, offset int64) (Page[User], error) {
	return page(ctx, q, "list users", userTargets, userFields, `users l`, user, limit, offset)
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
	rows, err := q.pool.Query(ctx, `select `+userFields+` from users l where l.id > $1 order by l.id limit $2`, after, limit)
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
