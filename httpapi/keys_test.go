package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/carelog/carelog/projections"
)

// TestTokensOfSeveralKeys: a token is good where the key that has signed it is one
// of those known, whether it names the key or not, and nowhere else.
func TestTokensOfSeveralKeys(t *testing.T) {
	older, newer, third := []byte(strings.Repeat("older", 8)), []byte(strings.Repeat("newer", 8)), []byte(strings.Repeat("third", 8))
	issuer := func(signing []byte, others ...[]byte) *tokens {
		return newTokens(newKeys(signing, others...), func() time.Time { return testTime }, 5*time.Minute, 24*time.Hour)
	}
	issuers := map[string]*tokens{
		"older": issuer(older), "older and newer": issuer(older, newer),
		"newer": issuer(newer), "newer and older": issuer(newer, older, older), "newer, third and older": issuer(newer, third, older),
	}
	for by, signs := range issuers {
		raw, err := signs.sign(signs.claim(accessType, projections.Session{User: 17}))
		if err != nil {
			t.Fatal(err)
		}
		wantHeader := `{"alg":"HS256","typ":"JWT"}`
		first, several, _ := strings.Cut(by, " ")
		if first = strings.TrimSuffix(first, ","); several != "" {
			wantHeader = `{"alg":"HS256","kid":"` + KeyID(signs.keys.signing) + `","typ":"JWT"}`
		}
		if header := unsegment(t, strings.Split(raw, ".")[0]); header != wantHeader {
			t.Errorf("signed by %s: header %s, want %s", by, header, wantHeader)
		}
		for of, checks := range issuers {
			got, err := checks.check(raw, accessType)
			if good := strings.Contains(of, first); good != (err == nil) || good && got.user != 17 {
				t.Errorf("signed by %s, checked by %s: %+v, %v", by, of, got, err)
			}
		}
	}

	// A token that names one key and is signed with another is not tried with that.
	rogue := newKeys(newer)
	rogue.id = KeyID(older)
	raw, err := rogue.sign(issuers["newer"].claim(accessType, projections.Session{User: 17}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := issuers["newer and older"].check(raw, accessType); err != tokenInvalid {
		t.Errorf("a token under another key's name: %v", err)
	}
}
