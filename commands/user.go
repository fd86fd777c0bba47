package commands

import (
	"context"
	"errors"
	"fmt"

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
	ID       int64
	Name     string
	Email    string
	Disabled bool
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

// DisableUser keeps a user out from the next request on, and tells whether that
// changed anything; ErrNotFound. The user's records stay, and so does the e-mail
// address.
func (s *Service) DisableUser(ctx context.Context, caller Caller, id int64) (changed bool, at events.Position, err error) {
	return s.setDisabled(ctx, caller, id, true, events.UserDisabled{UserID: id})
}

// EnableUser lets a disabled user in again, and tells whether that changed
// anything; ErrNotFound.
func (s *Service) EnableUser(ctx context.Context, caller Caller, id int64) (changed bool, at events.Position, err error) {
	return s.setDisabled(ctx, caller, id, false, events.UserEnabled{UserID: id})
}

func (s *Service) setDisabled(ctx context.Context, caller Caller, id int64, disabled bool, event events.Payload) (changed bool, at events.Position, err error) {
	_, at, err = s.execute(ctx, caller, event, basis{query: userHistory(id)}, func(history []fact) (decision, error) {
		user, known := foldUser(history)
		if !known {
			return decision{}, ErrNotFound
		}
		if changed = user.Disabled != disabled; !changed {
			return decision{}, nil
		}
		return decision{drafts: []draft{{event, []events.Tag{events.UserTag(id)}}}, condition: userHistory(id)}, nil
	})
	return changed && err == nil, at, err
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
		Types: []events.Type{events.UserRegisteredType, events.UserDisabledType, events.UserEnabledType},
		Tags:  []events.Tag{events.UserTag(id)},
	}}
}

// foldUser folds a history in which at most one user has events.
func foldUser(history []fact) (user User, known bool) {
	for _, f := range history {
		switch e := f.payload.(type) {
		case events.UserRegistered:
			known = true
			user = User{ID: e.UserID, Name: e.Name, Email: e.Email}
		case events.UserDisabled:
			user.Disabled = true
		case events.UserEnabled:
			user.Disabled = false
		}
	}
	return user, known
}

func userEmailHistory(email events.Tag) events.Query {
	return events.Query{{Types: []events.Type{events.UserRegisteredType}, Tags: []events.Tag{email}}}
}
