package events

import "time"

// The types of events about users.
const (
	UserRegisteredType      Type = "user.registered"
	UserDisabledType        Type = "user.disabled"
	UserEnabledType         Type = "user.enabled"
	UserPasswordChangedType Type = "user.password_changed"
)

// UserRegistered opens an account. The password's hash is not in the log.
type UserRegistered struct {
	UserID       int64     `json:"user_id"`
	Name         string    `json:"name"`
	Email        string    `json:"email"` // what the user logs in with
	RegisteredAt time.Time `json:"registered_at"`
}

// UserDisabled keeps a user out until a UserEnabled.
type UserDisabled struct {
	UserID int64 `json:"user_id"`
}

// UserEnabled lets a disabled user in again, with the same password and tokens.
type UserEnabled struct {
	UserID int64 `json:"user_id"`
}

// UserPasswordChanged ends every token that was issued to the user before. The
// password, and what it was, are not in the log.
type UserPasswordChanged struct {
	UserID int64 `json:"user_id"`
}

// EventType implements [Payload].
func (UserRegistered) EventType() Type { return UserRegisteredType }

// EventType implements [Payload].
func (UserDisabled) EventType() Type { return UserDisabledType }

// EventType implements [Payload].
func (UserEnabled) EventType() Type { return UserEnabledType }

// EventType implements [Payload].
func (UserPasswordChanged) EventType() Type { return UserPasswordChangedType }

func registerUser(r *Registry) {
	register[UserRegistered](r)
	register[UserDisabled](r)
	register[UserEnabled](r)
	register[UserPasswordChanged](r)
}
