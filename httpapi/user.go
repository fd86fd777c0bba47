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
// Whether an e-mail address is registered is asked for those alone who may try to
// register, or it could be found out of any number of addresses.
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
	var throttled error
	if email != nil {
		throttled = a.throttles.countRegistration(r)
	}
	if email != nil && throttled == nil {
		taken, err := a.queries.UserEmailTaken(r.Context(), *email)
		if err != nil {
			return newAccount{}, err
		}
		if taken {
			f.fail("email", userEmailTaken)
		}
	}
	if err := f.err(); err != nil {
		return newAccount{}, err
	}
	return newAccount{textOf(name), textOf(email), textOf(password)}, throttled
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
	session, err := a.checkCredentials(r, *username, *password)
	if err != nil {
		return err
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

// checkCredentials begins the session of a user who logs in, or answers
// noActiveAccount; only that counts as a failed login, for nothing else tells
// that the password was wrong.
func (a *api) checkCredentials(r *http.Request, username, password string) (_ projections.Session, err error) {
	ctx := r.Context()
	end, err := a.throttles.beginLogin(r, username)
	if err != nil {
		return projections.Session{}, err
	}
	defer func() { end(errors.Is(err, noActiveAccount)) }()
	user, _, err := a.commands.UserByEmail(ctx, username)
	if err != nil && !errors.Is(err, commands.ErrNotFound) {
		return projections.Session{}, err
	}
	// The session begins before the password is looked at: see tokens.
	session, refused := asUser(ctx, a, projections.Session{User: user}, func() (projections.Session, error) {
		return a.queries.NewSession(ctx, user)
	})
	right, err := a.accounts.VerifyPassword(ctx, user, password)
	switch {
	case err != nil:
		return projections.Session{}, err
	case !right:
		return projections.Session{}, noActiveAccount
	case refused != nil:
		return projections.Session{}, sayNoAccount(refused, noActiveAccount)
	}
	return session, nil
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
	if _, err := a.checkUser(ctx, session); err != nil {
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
