package events

import "time"

// The types of events about users.
const (
	UserRegisteredType      Type = "user.registered"
	UserDisabledType        Type = "user.disabled"
	UserEnabledType         Type = "user.enabled"
	UserPasswordChangedType Type = "user.password_changed"
	UserRoleGrantedType     Type = "user.role_granted"
	UserRoleRevokedType     Type = "user.role_revoked"
)

// Role is what a user may do besides what every user may.
type Role string

// The roles there are.
const (
	Auditor Role = "auditor" // sees every event and every history
	Admin   Role = "admin"   // manages accounts; sees no more of health records than every user
)

// Roles lists them, sorted.
func Roles() []Role { return []Role{Admin, Auditor} }

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

// UserRoleGranted gives a user a role.
type UserRoleGranted struct {
	UserID int64 `json:"user_id"`
	Role   Role  `json:"role"`
}

// UserRoleRevoked takes a role from a user.
type UserRoleRevoked struct {
	UserID int64 `json:"user_id"`
	Role   Role  `json:"role"`
}

// EventType implements [Payload].
func (UserRoleGranted) EventType() Type { return UserRoleGrantedType }

// EventType implements [Payload].
func (UserRoleRevoked) EventType() Type { return UserRoleRevokedType }

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
	register[UserRoleGranted](r)
	register[UserRoleRevoked](r)
}
