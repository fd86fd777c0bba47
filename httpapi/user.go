package httpapi

import (
	"errors"
	"net/http"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/projections"
)

const userEmailTaken = "user with this email already exists."

// MaxPassword is the most bytes that a password may have: enough for any
// passphrase, and a bound on what is hashed.
const MaxPassword = 1024

var (
	noActiveAccount   = newDetail(http.StatusUnauthorized, "No active account found with the given credentials")
	noAccountForToken = newDetail(http.StatusUnauthorized, "No active account found for the given token.")
)

// registerUser answers POST /api/auth/register/. All that is wrong is told at
// once, and what can be told cheaply is told before the password is hashed.
func (a *api) registerUser(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	account, err := a.readAccount(r)
	if err != nil {
		return err
	}
	hash, err := a.accounts.HashPassword(ctx, account.password)
	if err != nil {
		return err
	}
	_, pos, err := a.commands.RegisterUser(ctx, callerOf(r), commands.RegisterUser{
		Name:         account.name,
		Email:        account.email,
		PasswordHash: hash,
	})
	if err := a.settle(ctx, w, pos, sayEmailTaken(err, userEmailTaken)); err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, func(dst []byte) []byte {
		return appendTexts(dst, "message", "User registered successfully")
	})
	return nil
}

// newAccount is what a user registers with.
type newAccount struct{ name, email, password string }

func (a *api) readAccount(r *http.Request) (newAccount, error) {
	b, err := readBody(r)
	if err != nil {
		return newAccount{}, err
	}
	f := newForm(b, false)
	name, email, password := f.text("name", 255), f.email("email", 254), f.password("password", MaxPassword)
	if password != nil {
		err := commands.CheckPassword(*password, textOf(name), textOf(email))
		if weak, ok := errors.AsType[*commands.PasswordError](err); ok {
			f.fail("password", weak.Message)
		} else if err != nil {
			return newAccount{}, err
		}
	}
	if email != nil {
		taken, err := a.queries.UserEmailTaken(r.Context(), *email)
		if err != nil {
			return newAccount{}, err
		}
		if taken {
			f.fail("email", userEmailTaken)
		}
	}
	return newAccount{textOf(name), textOf(email), textOf(password)}, f.err()
}

func textOf(field *string) string {
	if field == nil {
		return ""
	}
	return *field
}

// login answers POST /api/auth/login/. A wrong password, an address that nobody
// registered and a user who is no longer active get the same answer after the
// same work.
func (a *api) login(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	b, err := readBody(r)
	if err != nil {
		return err
	}
	f := newForm(b, false)
	username, password := f.text("username", 0), f.password("password", MaxPassword)
	if err := f.err(); err != nil {
		return err
	}
	user, _, err := a.commands.UserByEmail(ctx, *username)
	if err != nil && !errors.Is(err, commands.ErrNotFound) {
		return err
	}
	// The session begins before the password is looked at: see tokens.
	session, refused := asUser(ctx, a, projections.Session{User: user}, func() (projections.Session, error) {
		return a.queries.NewSession(ctx, user)
	})
	right, err := a.accounts.VerifyPassword(ctx, user, *password)
	switch {
	case err != nil:
		return err
	case !right:
		return noActiveAccount
	case refused != nil:
		return sayNoAccount(refused, noActiveAccount)
	}
	requestOf(ctx).user = session
	refresh, access, err := a.signPair(session, a.tokens.claim(refreshType, session))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, func(dst []byte) []byte {
		return appendTexts(dst, "refresh", refresh, "access", access)
	})
	return nil
}

// refresh answers POST /api/auth/refresh/ with a new pair of tokens, and ends
// the refresh token that it was asked with.
func (a *api) refresh(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	b, err := readBody(r)
	if err != nil {
		return err
	}
	f := newForm(b, false)
	raw := f.text("refresh", 0)
	if err := f.err(); err != nil {
		return err
	}
	token, err := a.tokens.check(*raw, refreshType)
	if err != nil {
		return refreshRefused(err.Error())
	}
	if token.user == 0 {
		return namesNoUser
	}
	session := token.session()
	if err := a.checkUser(ctx, session); err != nil {
		return sayNoAccount(err, noAccountForToken)
	}
	requestOf(ctx).user = session
	successor := a.tokens.claim(refreshType, session)
	err = a.accounts.Rotate(ctx, RotateToken{
		JTI:              token.id,
		UserID:           token.user,
		Expires:          token.expires,
		SuccessorJTI:     successor.ID,
		SuccessorExpires: successor.ExpiresAt.Time,
	})
	if err != nil {
		return err
	}
	refresh, access, err := a.signPair(session, successor)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, func(dst []byte) []byte {
		return appendTexts(dst, "access", access, "refresh", refresh)
	})
	return nil
}

// sayNoAccount answers for a user who is not there, or not active, without
// telling which.
func sayNoAccount(err error, answer *apiError) error {
	if errors.Is(err, userNotFound) || errors.Is(err, projections.ErrUnknownUser) || errors.Is(err, projections.ErrInactiveUser) {
		return answer
	}
	return err
}

// signPair signs a refresh token and a new access token to go with it.
func (a *api) signPair(session projections.Session, of claims) (refresh, access string, err error) {
	if refresh, err = a.tokens.sign(of); err != nil {
		return "", "", err
	}
	access, err = a.tokens.sign(a.tokens.claim(accessType, session))
	return refresh, access, err
}
