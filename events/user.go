package events

import "time"

// UserRegisteredType is the type of a user's first event.
const UserRegisteredType Type = "user.registered"

// UserRegistered opens an account. The password's hash is not in the log.
type UserRegistered struct {
	UserID       int64     `json:"user_id"`
	Name         string    `json:"name"`
	Email        string    `json:"email"` // what the user logs in with
	RegisteredAt time.Time `json:"registered_at"`
}

// EventType implements [Payload].
func (UserRegistered) EventType() Type { return UserRegisteredType }

func registerUser(r *Registry) {
	register[UserRegistered](r)
}
