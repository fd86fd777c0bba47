package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

var (
	notAuthenticated = newDetail(http.StatusUnauthorized, "Authentication credentials were not provided.")
	badAuthorization = newError(http.StatusUnauthorized,
		"detail", "Authorization header must contain two space-delimited values", "code", "bad_authorization_header")
	namesNoUser = newError(http.StatusUnauthorized,
		"detail", "Token contained no recognizable user identification", "code", "token_not_valid")
)

// authenticate answers the user of the access token that the request carries,
// nil when it carries none. It asks no database; the user's state is checked by
// the query that the request leads to, or by its [standing].
func (a *api) authenticate(r *http.Request) (*standing, error) {
	raw, err := bearer(r.Header)
	if err != nil || raw == "" {
		return nil, err
	}
	token, err := a.tokens.checkAccess(raw)
	if err != nil {
		return nil, accessRefused(err.Error())
	}
	if token.user == 0 {
		return nil, namesNoUser
	}
	return a.newStanding(token, token.expires), nil
}

// newStanding is that of the user of a token, until then.
func (a *api) newStanding(token checked, expires time.Time) *standing {
	if token.seen == nil {
		token.seen = new(atomic.Pointer[sight])
	}
	return &standing{api: a, user: token.session(), seen: token.seen, expires: expires}
}

// bearer finds the token in the Authorization header as simplejwt does: the
// scheme is "Bearer" to the letter, and with any other one the request counts as
// carrying no credentials. A token anywhere else is not looked for (RFC 9700,
// 4.3.2: not in URLs). Several headers are read as one, joined by a comma, which
// is never a token.
func bearer(h http.Header) (string, error) {
	parts := strings.FieldsFunc(strings.Join(h.Values("Authorization"), ","), isASCIISpace)
	switch {
	case len(parts) == 0 || parts[0] != "Bearer":
		return "", nil
	case len(parts) != 2:
		return "", badAuthorization
	}
	return parts[1], nil
}

func isASCIISpace(c rune) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// accessRefused is the answer to an access token that is refused.
func accessRefused(message string) *apiError {
	body := append([]byte(nil), `{"detail":"Given token not valid for any token type","code":"token_not_valid","messages":[`...)
	body = appendTexts(body, "token_class", "AccessToken", "token_type", accessType, "message", message)
	return &apiError{status: http.StatusUnauthorized, body: append(body, "]}"...)}
}

// refreshRefused is the answer to a refresh token that is refused.
func refreshRefused(message string) *apiError {
	return newError(http.StatusUnauthorized, "detail", message, "code", "token_not_valid")
}

// checkUser makes sure that there is such a user, that it may act, and that the
// session still lasts. It answers the position up to which that is known.
func (a *api) checkUser(ctx context.Context, user projections.Session) (events.Position, error) {
	return asUser(ctx, a, user, func() (events.Position, error) { return a.queries.CheckSession(ctx, user) })
}

// asUser runs a query that checks the user's state in its own statement. A user
// that the read tables do not know is looked up in the log: who registered a
// moment ago is waited for, who never did gets a 401.
func asUser[T any](ctx context.Context, a *api, user projections.Session, query func() (T, error)) (T, error) {
	rows, err := query()
	if !errors.Is(err, projections.ErrUnknownUser) {
		return rows, err
	}
	pos, err := a.commands.UserByID(ctx, user.User)
	if errors.Is(err, commands.ErrNotFound) {
		return rows, userNotFound
	}
	if err != nil {
		return rows, err
	}
	if err := a.await(ctx, pos); err != nil {
		return rows, err
	}
	return query()
}
