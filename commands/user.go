package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/carelog/carelog/events"
)

// RegisterUser opens an account. The fields are valid already; the password
// arrives as its hash.
type RegisterUser struct {
	Name         string
	Email        string
	PasswordHash string
}

// RegisterUser answers the new user's id; ErrEmailTaken when another user has
// the e-mail address.
//
// The credential is stored first, under an id that was drawn for this attempt.
// Of two who race for an e-mail address only the one whose event is stored has
// an account, so only that one's password logs in; the other's row is dead.
func (s *Service) RegisterUser(ctx context.Context, caller Caller, command RegisterUser) (int64, events.Position, error) {
	id, err := s.Log.NextID(ctx, events.User)
	if err != nil {
		return 0, 0, err
	}
	if err := s.Credentials.Add(ctx, id, command.PasswordHash); err != nil {
		return 0, 0, fmt.Errorf("store the credential of user %d: %w", id, err)
	}
	email := s.TagKey.UserEmail(command.Email)
	caller.UserID = id // who registers acts as the new user
	_, position, err := s.execute(ctx, caller, command, basis{query: userEmailHistory(email)}, func(history []fact) (decision, error) {
		if len(history) > 0 {
			return decision{}, ErrEmailTaken
		}
		registered := events.UserRegistered{UserID: id, Name: command.Name, Email: command.Email, RegisteredAt: s.now()}
		return decision{
			drafts:    []draft{{registered, []events.Tag{events.UserTag(id), email}}},
			condition: userEmailHistory(email),
			unused:    events.UserTag(id),
		}, nil
	})
	if err != nil && !errors.Is(err, events.ErrOutcomeUnknown) {
		// Tidiness only: a sweep removes what stays behind here.
		_ = s.Credentials.Remove(context.WithoutCancel(ctx), id)
	}
	return id, position, err
}

// UserByEmail looks a user up in the log, which knows of every registration that
// was answered; ErrNotFound.
func (s *Service) UserByEmail(ctx context.Context, email string) (int64, events.Position, error) {
	history, head, err := s.load(ctx, userEmailHistory(s.TagKey.UserEmail(email)), 0)
	if err != nil {
		return 0, 0, err
	}
	for _, f := range history {
		if e, ok := f.payload.(events.UserRegistered); ok {
			return e.UserID, head, nil
		}
	}
	return 0, head, ErrNotFound
}

// UserByID tells whether the log knows a user; ErrNotFound.
func (s *Service) UserByID(ctx context.Context, id int64) (events.Position, error) {
	history, head, err := s.load(ctx, events.Query{{
		Types: []events.Type{events.UserRegisteredType},
		Tags:  []events.Tag{events.UserTag(id)},
	}}, 0)
	if err == nil && len(history) == 0 {
		err = ErrNotFound
	}
	return head, err
}

// User is a user's account as the log has it.
type User struct {
	ID           int64
	Name         string
	Email        string
	Disabled     bool
	Roles        []events.Role // sorted
	RegisteredAt time.Time
}

// User looks a user up in the log; ErrNotFound.
func (s *Service) User(ctx context.Context, id int64) (User, events.Position, error) {
	history, head, err := s.load(ctx, userHistory(id), 0)
	if err != nil {
		return User{}, 0, err
	}
	user, known := foldUser(history)
	if !known {
		return User{}, head, ErrNotFound
	}
	return user, head, nil
}

// AmendUser changes what a user may do; nil leaves it.
type AmendUser struct {
	ID     int64
	Active *bool          // false keeps the user out from the next request on; the records stay, and so does the e-mail address
	Roles  *[]events.Role // exactly these
}

// AmendUser answers the user as it is then; ErrNotFound. Each difference is an event.
func (s *Service) AmendUser(ctx context.Context, caller Caller, command AmendUser) (User, events.Position, error) {
	user, _, at, err := s.amendUser(ctx, caller, command.ID, command, func(User) (*bool, *[]events.Role) { return command.Active, command.Roles })
	return user, at, err
}

// DisableUser keeps a user out from the next request on, and tells whether that
// changed anything; ErrNotFound. The user's records stay, and so does the e-mail
// address.
func (s *Service) DisableUser(ctx context.Context, caller Caller, id int64) (changed bool, at events.Position, err error) {
	return s.setActive(ctx, caller, id, false)
}

// EnableUser lets a disabled user in again, and tells whether that changed
// anything; ErrNotFound.
func (s *Service) EnableUser(ctx context.Context, caller Caller, id int64) (changed bool, at events.Position, err error) {
	return s.setActive(ctx, caller, id, true)
}

func (s *Service) setActive(ctx context.Context, caller Caller, id int64, active bool) (changed bool, at events.Position, err error) {
	_, changed, at, err = s.amendUser(ctx, caller, id, active, func(User) (*bool, *[]events.Role) { return &active, nil })
	return changed, at, err
}

// GrantRole gives a user a role from the next request on, and tells whether that
// changed anything; ErrNotFound.
func (s *Service) GrantRole(ctx context.Context, caller Caller, id int64, role events.Role) (changed bool, at events.Position, err error) {
	_, changed, at, err = s.amendUser(ctx, caller, id, role, func(user User) (*bool, *[]events.Role) {
		roles := append(slices.Clip(user.Roles), role)
		return nil, &roles
	})
	return changed, at, err
}

// RevokeRole takes a role from a user, from the next request on, and tells whether
// that changed anything; ErrNotFound.
func (s *Service) RevokeRole(ctx context.Context, caller Caller, id int64, role events.Role) (changed bool, at events.Position, err error) {
	_, changed, at, err = s.amendUser(ctx, caller, id, role, func(user User) (*bool, *[]events.Role) {
		roles := slices.DeleteFunc(slices.Clone(user.Roles), func(r events.Role) bool { return r == role })
		return nil, &roles
	})
	return changed, at, err
}

// amendUser makes a user what want answers of it as it was.
func (s *Service) amendUser(ctx context.Context, caller Caller, id int64, command any, want func(User) (active *bool, roles *[]events.Role)) (_ User, changed bool, at events.Position, err error) {
	history, at, err := s.execute(ctx, caller, command, basis{query: userHistory(id)}, func(history []fact) (decision, error) {
		user, known := foldUser(history)
		if !known {
			return decision{}, ErrNotFound
		}
		active, roles := want(user)
		payloads := userChanges(user, active, roles)
		changed = len(payloads) > 0
		decided := decision{condition: userHistory(id)}
		for _, p := range payloads {
			decided.drafts = append(decided.drafts, draft{p, []events.Tag{events.UserTag(id)}})
		}
		return decided, nil
	})
	if err != nil {
		return User{}, false, at, err
	}
	user, _ := foldUser(history)
	return user, changed, at, nil
}

// userChanges are the events that make a user so.
func userChanges(user User, active *bool, roles *[]events.Role) (payloads []events.Payload) {
	if active != nil && *active == user.Disabled {
		if *active {
			payloads = append(payloads, events.UserEnabled{UserID: user.ID})
		} else {
			payloads = append(payloads, events.UserDisabled{UserID: user.ID})
		}
	}
	if roles == nil {
		return payloads
	}
	for _, role := range user.Roles {
		if !slices.Contains(*roles, role) {
			payloads = append(payloads, events.UserRoleRevoked{UserID: user.ID, Role: role})
		}
	}
	granted := slices.Clone(*roles)
	slices.Sort(granted)
	for _, role := range slices.Compact(granted) {
		if !slices.Contains(user.Roles, role) {
			payloads = append(payloads, events.UserRoleGranted{UserID: user.ID, Role: role})
		}
	}
	return payloads
}

// ChangePassword gives a user another password, which is valid already and
// arrives as its hash.
type ChangePassword struct {
	UserID       int64
	PasswordHash string
}

// ChangePassword ends the old password, then every token that was issued to the
// user before; ErrNotFound.
//
// The two are not one transaction, and the order decides what a crash in between
// leaves. The credential comes first: then the new password is in force, the old
// one is not, and what is missing is the end of the old tokens; the command has
// failed visibly and is repeated. The other way round the old password would
// still log in and get tokens that no later event ends. That holds without a
// crash as well: who logs in with the old password while it is being changed gets
// a token of before the event.
func (s *Service) ChangePassword(ctx context.Context, caller Caller, command ChangePassword) (events.Position, error) {
	if at, err := s.UserByID(ctx, command.UserID); err != nil {
		return at, err
	}
	if err := s.Credentials.Change(ctx, command.UserID, command.PasswordHash); err != nil {
		return 0, fmt.Errorf("store the credential of user %d: %w", command.UserID, err)
	}
	_, position, err := s.execute(ctx, caller, command, basis{}, func([]fact) (decision, error) {
		changed := events.UserPasswordChanged{UserID: command.UserID}
		return decision{drafts: []draft{{changed, []events.Tag{events.UserTag(command.UserID)}}}}, nil
	})
	if err != nil {
		err = fmt.Errorf("the new password is in force, but tokens that were issued before may still be valid: %w", err)
	}
	return position, err
}

// userHistory selects the events that decide about a user's account.
func userHistory(id int64) events.Query {
	return events.Query{{
		Types: []events.Type{events.UserRegisteredType, events.UserDisabledType, events.UserEnabledType, events.UserRoleGrantedType, events.UserRoleRevokedType},
		Tags:  []events.Tag{events.UserTag(id)},
	}}
}

// foldUser folds a history in which at most one user has events.
func foldUser(history []fact) (user User, known bool) {
	for _, f := range history {
		switch e := f.payload.(type) {
		case events.UserRegistered:
			known = true
			user = User{ID: e.UserID, Name: e.Name, Email: e.Email, RegisteredAt: e.RegisteredAt}
		case events.UserDisabled:
			user.Disabled = true
		case events.UserEnabled:
			user.Disabled = false
		case events.UserRoleGranted:
			user.Roles = append(user.Roles, e.Role)
			slices.Sort(user.Roles)
		case events.UserRoleRevoked:
			user.Roles = slices.DeleteFunc(user.Roles, func(r events.Role) bool { return r == e.Role })
		}
	}
	return user, known
}

func userEmailHistory(email events.Tag) events.Query {
	return events.Query{{Types: []events.Type{events.UserRegisteredType}, Tags: []events.Tag{email}}}
}
