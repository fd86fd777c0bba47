package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// keys are those of HS256. One signs; tokens that another has signed are good as
// well, while keys are rotated: for a new key to be used by one process it must be
// known to all, and an old one must be known until the last token that it has
// signed has expired.
//
// While there are several, a token names the key that has signed it (the header
// kid, RFC 7515, 4.1.4) and is checked with no other. Tokens without a name are
// those of a single key, the replaced application's among them: they are checked
// with each.
type keys struct {
	signing []byte
	id      string // of the signing key; empty while there is no other
	byID    map[string][]byte
	all     jwt.VerificationKeySet
}

func newKeys(signing []byte, others ...[]byte) keys {
	k := keys{signing: signing, byID: map[string][]byte{}}
	for _, key := range slices.Concat([][]byte{signing}, others) {
		if id := KeyID(key); k.byID[id] == nil {
			k.byID[id] = key
			k.all.Keys = append(k.all.Keys, key)
		}
	}
	if len(k.byID) > 1 {
		k.id = KeyID(signing)
	}
	return k
}

// KeyID tells one key from another, the same in every process, and can be shown: it
// is a hash, and whoever guesses at keys could as well try his guesses on a token.
func KeyID(key []byte) string {
	hash := sha256.Sum256(append([]byte("carelog kid\x00"), key...))
	return base64.RawURLEncoding.EncodeToString(hash[:8])
}

// sign makes the token that says so.
func (k *keys) sign(c jwt.Claims) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	if k.id != "" {
		token.Header["kid"] = k.id
	}
	return token.SignedString(k.signing)
}

// find answers what to verify a token with. A name is compared with those of the
// keys, and never looked up anywhere else; a token with extensions that must be
// understood (RFC 7515, 4.1.11) is refused.
func (k *keys) find(token *jwt.Token) (any, error) {
	if _, given := token.Header["crit"]; given {
		return nil, errors.New("a token with the header crit")
	}
	id, given := token.Header["kid"]
	if !given {
		return k.all, nil
	}
	name, _ := id.(string)
	key := k.byID[name]
	if key == nil {
		return nil, errors.New("a token of an unknown key")
	}
	return key, nil
}
