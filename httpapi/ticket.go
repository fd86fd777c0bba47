package httpapi

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// A browser's EventSource sends no Authorization header, and a token has no place in
// a URL, which ends up in logs and histories (RFC 9700, 4.3.2). So a page asks for a
// ticket with its token and opens the stream with that: it is good once, for half a
// minute, for nothing but a stream of events, and for no longer than the token.

// ticketType is the claim token_type of a ticket.
const ticketType = "ticket"

// ticketLifetime is how long a ticket can be used. The stream lasts as long as the
// token does.
const ticketLifetime = 30 * time.Second

// ticketParameter is where a URL has it.
const ticketParameter = "ticket"

var ticketRefused = newError(http.StatusUnauthorized, "detail", "The ticket is not valid: ask for a new one.", "code", "token_not_valid")

// ticketClaims are what a ticket says.
type ticketClaims struct {
	claims
	SessionExpires int64 `json:"session_exp"` // when the token ends that it was asked for with; seconds since 1970
}

// issueTicket answers POST /api/events/ticket/.
func (a *api) issueTicket(w http.ResponseWriter, r *http.Request) error {
	standing := requestOf(r.Context()).standing
	if err := standing.Check(r.Context()); err != nil {
		return err
	}
	said := ticketClaims{a.tokens.claim(ticketType, standing.user), standing.expires.Unix()}
	said.ExpiresAt = jwt.NewNumericDate(a.tokens.now().Add(ticketLifetime))
	ticket, err := a.tokens.sign(said)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, func(dst []byte) []byte {
		dst = append(dst, `{"ticket":`...)
		dst = appendString(dst, ticket)
		dst = append(dst, `,"expires_in":`...)
		dst = strconv.AppendInt(dst, int64(ticketLifetime/time.Second), 10)
		return append(dst, '}')
	})
	return nil
}

// byTicket answers the user of the ticket in the URL, which is not used up by that; nil
// when there is none.
func (a *api) byTicket(r *http.Request) (*standing, error) {
	raw := r.URL.Query().Get(ticketParameter)
	if raw == "" {
		return nil, nil
	}
	said, err := a.tokens.verify(raw)
	if err != nil {
		return nil, ticketRefused
	}
	ticket, err := checkClaims(said, ticketType, a.tokens.now())
	ends, ok := wholeSeconds(said["session_exp"])
	if err != nil || !ok || ticket.user == 0 {
		return nil, ticketRefused
	}
	requestOf(r.Context()).ticket = &ticket
	return a.newStanding(ticket, time.Unix(int64(ends), 0)), nil
}

// redeem uses the ticket up, which is good for nobody else then.
func (a *api) redeem(ctx context.Context, ticket checked) error {
	successor := uuid.New() // nobody gets it
	err := a.accounts.Rotate(ctx, RotateToken{
		JTI: ticket.id, UserID: ticket.user, Expires: ticket.expires,
		SuccessorJTI: hex.EncodeToString(successor[:]), SuccessorExpires: ticket.expires,
	})
	if errors.Is(err, ErrTokenReused) || errors.Is(err, ErrTokenRevoked) {
		return ticketRefused
	}
	return err
}
