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
	_, position, err := s.execute(ctx, caller, command, userEmailHistory(email), func(history []fact) (decision, error) {
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
	history, head, err := s.load(ctx, userEmailHistory(s.TagKey.UserEmail(email)))
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
	}})
	if err == nil && len(history) == 0 {
		err = ErrNotFound
	}
	return head, err
}

func userEmailHistory(email events.Tag) events.Query {
	return events.Query{{Types: []events.Type{events.UserRegisteredType}, Tags: []events.Tag{email}}}
}
