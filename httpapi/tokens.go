package httpapi

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// The types of tokens, as the claim token_type has them.
const (
	accessType  = "access"
	refreshType = "refresh"
)

// tokens issues and checks JSON Web Tokens as djangorestframework-simplejwt
// 5.5.1 does: HS256, claims token_type, exp, iat, jti (32 hexadecimal digits)
// and user_id (a text of digits). The algorithm is pinned (RFC 8725, 3.1), and which
// keys are good is for [keys] to tell. There is no leeway: processes that share a
// key share the time, too.
//
// A changed password ends all tokens of before, and no time can tell those from
// new ones: iat has whole seconds, so two of one second may stand on either side
// of the change, and clocks differ. So a token carries the epoch in which its
// login began (claim epoch; none is epoch 0, which every user begins in, with
// tokens exactly like the reference's), and is good in no other. simplejwt does
// the same with a hash of the password, where it is told to (CHECK_REVOKE_TOKEN),
// and the answer is its answer. What makes it exact is the order of things:
//
//   - a login reads the epoch first and the password's hash then, while a change
//     stores the hash first and begins the epoch then. So a token of the new epoch
//     was never given for the old password; a login that overlaps the change may
//     get one of the old epoch, and logs in again.
//   - a refresh passes on the epoch of the token that it was asked with.
type tokens struct {
	keys      keys
	now       func() time.Time
	lifetimes map[string]time.Duration // by type
	parser    *jwt.Parser
	verified  verified // access tokens
}

func newTokens(keys keys, now func() time.Time, access, refresh time.Duration) *tokens {
	return &tokens{
		keys:      keys,
		now:       now,
		lifetimes: map[string]time.Duration{accessType: access, refreshType: refresh},
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithJSONNumber(),
			jwt.WithoutClaimsValidation()), // see checkClaims
	}
}

// claims are what a token says, in the reference's order: token_type, exp, iat,
// jti, user_id; epoch is ours.
type claims struct {
	TokenType string `json:"token_type"`
	jwt.RegisteredClaims
	UserID string          `json:"user_id"`
	Epoch  events.Position `json:"epoch,omitempty"`
}

// claim makes the claims of a new token.
func (t *tokens) claim(tokenType string, session projections.Session) claims {
	id, now := uuid.New(), t.now()
	return claims{
		TokenType: tokenType,
		RegisteredClaims: jwt.RegisteredClaims{
			ExpiresAt: jwt.NewNumericDate(now.Add(t.lifetimes[tokenType])),
			IssuedAt:  jwt.NewNumericDate(now),
			ID:        hex.EncodeToString(id[:]),
		},
		UserID: strconv.FormatInt(session.User, 10),
		Epoch:  session.Epoch,
	}
}

// sign makes the token that says so.
func (t *tokens) sign(c jwt.Claims) (string, error) {
	token, err := t.keys.sign(c)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return token, nil
}

// checked is what a valid token tells.
type checked struct {
	id      string
	user    int64 // 0 when the token names no user, or none that could exist
	epoch   events.Position
	expires time.Time
	seen    *atomic.Pointer[sight] // of an access token: see [standing]
}

func (c checked) session() projections.Session {
	return projections.Session{User: c.user, Epoch: c.epoch}
}

// tokenError is why a token is refused, in the words of the reference.
type tokenError string

func (e tokenError) Error() string { return string(e) }

const (
	tokenInvalid = tokenError("Token is invalid")
	tokenExpired = tokenError("Token is expired")
)

// checkAccess is check for an access token, which is sent again and again.
func (t *tokens) checkAccess(raw string) (checked, error) {
	if token, known := t.verified.find(raw, t.now()); known {
		return token, nil
	}
	token, err := t.check(raw, accessType)
	token.seen = new(atomic.Pointer[sight])
	if err == nil {
		t.verified.add(strings.Clone(raw), token)
	}
	return token, err
}

// check verifies a token of this type; the error is a tokenError. What it
// computes depends on the text, the keys and the time alone.
func (t *tokens) check(raw, tokenType string) (checked, error) {
	said, err := t.verify(raw)
	if err != nil {
		return checked{}, err
	}
	return checkClaims(said, tokenType, t.now())
}

// verify answers what a token says that was signed with one of our keys.
func (t *tokens) verify(raw string) (jwt.MapClaims, error) {
	said := jwt.MapClaims{}
	if _, err := t.parser.ParseWithClaims(raw, said, t.keys.find); err != nil {
		return nil, tokenInvalid
	}
	return said, nil
}

// What is stored of refresh tokens must fit the database. Our own ids have 32
// characters, and times end with the year 9999, as RFC 3339 has it.
const (
	maxTokenID = 255
	latest     = 253402300800 // seconds
)

// checkClaims checks in the order of the reference: the times, then what is
// missing, then the type.
func checkClaims(said jwt.MapClaims, tokenType string, now time.Time) (checked, error) {
	seconds := float64(now.UnixNano()) / 1e9
	for _, name := range []string{"iat", "nbf"} {
		if value, given := said[name]; given {
			if at, ok := wholeSeconds(value); !ok || at > seconds {
				return checked{}, tokenInvalid
			}
		}
	}
	expires, hasExpiry := said["exp"]
	at, ok := wholeSeconds(expires)
	if hasExpiry && !ok {
		return checked{}, tokenInvalid
	}
	if hasExpiry && at <= seconds {
		return checked{}, tokenExpired
	}
	id, hasID := said["jti"]
	jti, ok := id.(string)
	if hasID && (!ok || len(jti) > maxTokenID || strings.ContainsFunc(jti, unicode.IsControl)) {
		return checked{}, tokenInvalid
	}

	saidType, hasType := said["token_type"]
	switch {
	case !hasExpiry:
		return checked{}, tokenError("Token has no 'exp' claim")
	case !hasID:
		return checked{}, tokenError("Token has no id")
	case !hasType:
		return checked{}, tokenError("Token has no type")
	case saidType != tokenType:
		return checked{}, tokenError("Token has wrong type")
	}
	epoch, ok := epochOf(said)
	if !ok {
		return checked{}, tokenInvalid
	}
	return checked{id: jti, user: userID(said["user_id"]), epoch: epoch, expires: time.Unix(int64(at), 0)}, nil
}

// epochOf reads our own claim; tokens of the reference have none.
func epochOf(said jwt.MapClaims) (events.Position, bool) {
	value, given := said["epoch"]
	if !given {
		return 0, true
	}
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	epoch, err := number.Int64()
	return events.Position(epoch), err == nil
}

// wholeSeconds reads a NumericDate (RFC 7519, 2), which must be a number, and
// drops its fraction like the reference.
func wholeSeconds(value any) (float64, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	seconds, err := number.Float64()
	return math.Trunc(seconds), err == nil && seconds < latest
}

// userID reads a user's id, written as digits in a text or as a number: older
// releases of the reference wrote numbers. 0 when it is neither.
func userID(value any) int64 {
	var digits string
	switch value := value.(type) {
	case string:
		digits = value
	case json.Number:
		digits = value.String()
	}
	id, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || id < 1 {
		return 0
	}
	return id
}
