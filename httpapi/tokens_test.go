package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/carelog/carelog/projections"
)

func testTokens() *tokens {
	return newTokens(newKeys([]byte(testKey)), func() time.Time { return testTime }, 5*time.Minute, 24*time.Hour)
}

// The segments of a token are the bytes that the reference writes.
func TestTokensAreWrittenLikeTheReference(t *testing.T) {
	issuer := testTokens()
	for tokenType, lifetime := range map[string]int64{accessType: 300, refreshType: 86400} {
		token, err := issuer.sign(issuer.claim(tokenType, projections.Session{User: 17}))
		if err != nil {
			t.Fatal(err)
		}
		segments := strings.Split(token, ".")
		header, payload := unsegment(t, segments[0]), unsegment(t, segments[1])
		if header != `{"alg":"HS256","typ":"JWT"}` {
			t.Errorf("header %s", header)
		}
		now := testTime.Unix()
		want := fmt.Sprintf(`^{"token_type":"%s","exp":%d,"iat":%d,"jti":"[0-9a-f]{32}","user_id":"17"}$`, tokenType, now+lifetime, now)
		if !regexp.MustCompile(want).MatchString(payload) {
			t.Errorf("payload %s\nwant    %s", payload, want)
		}
		if got, err := issuer.check(token, tokenType); err != nil || got.user != 17 || len(got.id) != 32 || got.expires.Unix() != now+lifetime {
			t.Errorf("checked: %+v, %v", got, err)
		}
	}
}

// Once the password was changed tokens say in which epoch they were issued.
func TestEpochOfAToken(t *testing.T) {
	issuer := testTokens()
	session := projections.Session{User: 17, Epoch: 4711}
	token, err := issuer.sign(issuer.claim(accessType, session))
	if err != nil {
		t.Fatal(err)
	}
	if payload := unsegment(t, strings.Split(token, ".")[1]); !strings.HasSuffix(payload, `"user_id":"17","epoch":4711}`) {
		t.Errorf("payload %s", payload)
	}
	if got, err := issuer.check(token, accessType); err != nil || got.session() != session {
		t.Errorf("checked: %+v, %v", got, err)
	}
}

func TestEveryTokenHasItsOwnID(t *testing.T) {
	issuer := testTokens()
	if one, two := issuer.claim(accessType, projections.Session{User: 1}), issuer.claim(accessType, projections.Session{User: 1}); one.ID == two.ID {
		t.Errorf("both have %s", one.ID)
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	now := testTime.Unix()
	good := map[string]any{"token_type": "access", "exp": now + 300, "iat": now, "jti": strings.Repeat("f", 32), "user_id": "17"}
	with := func(changes ...any) map[string]any {
		said := map[string]any{}
		for name, value := range good {
			said[name] = value
		}
		for i := 0; i < len(changes); i += 2 {
			name := changes[i].(string)
			if delete(said, name); changes[i+1] != nil {
				said[name] = changes[i+1]
			}
		}
		return said
	}
	hs256 := map[string]any{"alg": "HS256", "typ": "JWT"}
	header := func(name string, value any) map[string]any { return map[string]any{"alg": "HS256", name: value} }
	valid := token(t, hs256, good, testKey)
	cut := strings.Split(valid, ".")

	for name, test := range map[string]struct{ token, want string }{
		"good":              {valid, ""},
		"lower case typ":    {token(t, header("typ", "jwt"), good, testKey), ""},
		"no typ":            {token(t, map[string]any{"alg": "HS256"}, good, testKey), ""},
		"an audience":       {token(t, hs256, with("aud", "somebody else"), testKey), ""},
		"audiences":         {token(t, hs256, with("aud", []string{"a", "b"}), testKey), ""},
		"an issuer":         {token(t, hs256, with("iss", "somebody"), testKey), ""},
		"other claims":      {token(t, hs256, with("is_staff", true), testKey), ""},
		"no iat":            {token(t, hs256, with("iat", nil), testKey), ""},
		"iat now":           {token(t, hs256, with("iat", now), testKey), ""},
		"nbf now":           {token(t, hs256, with("nbf", now), testKey), ""},
		"fractions":         {token(t, hs256, with("iat", float64(now)-0.5, "exp", float64(now)+1.5), testKey), ""},
		"a jku is ignored":  {token(t, header("jku", "https://evil.example/keys"), good, testKey), ""},
		"empty":             {"", "Token is invalid"},
		"garbage":           {"abc.def.ghi", "Token is invalid"},
		"two segments":      {cut[0] + "." + cut[1], "Token is invalid"},
		"four segments":     {valid + ".e30", "Token is invalid"},
		"not base64":        {cut[0] + ".§." + cut[2], "Token is invalid"},
		"not ASCII":         {"é.é.é", "Token is invalid"},
		"no signature":      {cut[0] + "." + cut[1] + ".", "Token is invalid"},
		"another key":       {token(t, hs256, good, "another key of thirty-two bytes or so"), "Token is invalid"},
		"another payload":   {cut[0] + "." + segment(t, with("user_id", "18")) + "." + cut[2], "Token is invalid"},
		"alg none":          {segment(t, map[string]any{"alg": "none", "typ": "JWT"}) + "." + cut[1] + ".", "Token is invalid"},
		"alg None":          {segment(t, map[string]any{"alg": "None"}) + "." + cut[1] + ".", "Token is invalid"},
		"alg none, signed":  {token(t, map[string]any{"alg": "none"}, good, testKey), "Token is invalid"},
		"alg HS512":         {signedWith(sha512.New, map[string]any{"alg": "HS512"}, good, t), "Token is invalid"},
		"alg HS384":         {signedWith(sha512.New384, map[string]any{"alg": "HS384"}, good, t), "Token is invalid"},
		"HS512 as HS256":    {signedWith(sha512.New, hs256, good, t), "Token is invalid"},
		"alg RS256":         {token(t, map[string]any{"alg": "RS256"}, good, testKey), "Token is invalid"},
		"no alg":            {token(t, map[string]any{"typ": "JWT"}, good, testKey), "Token is invalid"},
		"alg of no text":    {token(t, map[string]any{"alg": 256}, good, testKey), "Token is invalid"},
		"a kid":             {token(t, header("kid", "1"), good, testKey), "Token is invalid"},
		"a kid of a path":   {token(t, header("kid", "../../dev/null"), good, testKey), "Token is invalid"},
		"a kid of SQL":      {token(t, header("kid", "' or 1=1 --"), good, testKey), "Token is invalid"},
		"critical headers":  {token(t, header("crit", []string{"b64"}), good, testKey), "Token is invalid"},
		"header of a list":  {sealed(sha256.New, encode(`["HS256"]`)+"."+cut[1]), "Token is invalid"},
		"payload of a list": {sealed(sha256.New, cut[0]+"."+encode(`[1]`)), "Token is invalid"},
		"payload of a text": {sealed(sha256.New, cut[0]+"."+encode(`"x"`)), "Token is invalid"},
		"payload not JSON":  {sealed(sha256.New, cut[0]+"."+encode(`{`)), "Token is invalid"},

		"expired":                 {token(t, hs256, with("exp", now-1), testKey), "Token is expired"},
		"expires now":             {token(t, hs256, with("exp", now), testKey), "Token is expired"},
		"expired at 0":            {token(t, hs256, with("exp", 0), testKey), "Token is expired"},
		"expired before 1970":     {token(t, hs256, with("exp", -1), testKey), "Token is expired"},
		"expired refresh token":   {token(t, hs256, with("exp", now-1, "token_type", "refresh"), testKey), "Token is expired"},
		"forged and expired":      {token(t, hs256, with("exp", now-1), "another key of thirty-two bytes or so"), "Token is invalid"},
		"no exp":                  {token(t, hs256, with("exp", nil), testKey), "Token has no 'exp' claim"},
		"exp of text":             {token(t, hs256, with("exp", fmt.Sprint(now+300)), testKey), "Token is invalid"},
		"exp of a list":           {token(t, hs256, with("exp", []int64{now + 300}), testKey), "Token is invalid"},
		"exp of truth":            {token(t, hs256, with("exp", true), testKey), "Token is invalid"},
		"exp null":                {token(t, hs256, with("exp", json.RawMessage("null")), testKey), "Token is invalid"},
		"exp out of range":        {token(t, hs256, with("exp", json.RawMessage("1e400")), testKey), "Token is invalid"},
		"nbf in the future":       {token(t, hs256, with("nbf", now+2), testKey), "Token is invalid"},
		"nbf of text":             {token(t, hs256, with("nbf", "now"), testKey), "Token is invalid"},
		"iat in the future":       {token(t, hs256, with("iat", now+2), testKey), "Token is invalid"},
		"iat in the future, late": {token(t, hs256, with("iat", now+2, "exp", now-1), testKey), "Token is invalid"},
		"no jti":                  {token(t, hs256, with("jti", nil), testKey), "Token has no id"},
		"jti of a number":         {token(t, hs256, with("jti", 5), testKey), "Token is invalid"},
		"jti with a NUL":          {token(t, hs256, with("jti", "a\x00"), testKey), "Token is invalid"},
		"jti of 256 bytes":        {token(t, hs256, with("jti", strings.Repeat("f", 256)), testKey), "Token is invalid"},
		"exp beyond the calendar": {token(t, hs256, with("exp", 9e15), testKey), "Token is invalid"},
		"no token_type":           {token(t, hs256, with("token_type", nil), testKey), "Token has no type"},
		"refresh as access":       {token(t, hs256, with("token_type", "refresh"), testKey), "Token has wrong type"},
		"epoch of text":           {token(t, hs256, with("epoch", "0"), testKey), "Token is invalid"},
		"epoch null":              {token(t, hs256, with("epoch", json.RawMessage("null")), testKey), "Token is invalid"},
		"epoch of a fraction":     {token(t, hs256, with("epoch", 0.5), testKey), "Token is invalid"},
		"epoch out of range":      {token(t, hs256, with("epoch", json.RawMessage("1e30")), testKey), "Token is invalid"},
		"sliding as access":       {token(t, hs256, with("token_type", "sliding"), testKey), "Token has wrong type"},
		"token_type of a list":    {token(t, hs256, with("token_type", []string{"access"}), testKey), "Token has wrong type"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := testTokens().check(test.token, accessType)
			if test.want == "" {
				if err != nil || got.user != 17 {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			if err == nil || err.Error() != test.want || got != (checked{}) {
				t.Errorf("got %+v, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestAccessAsRefresh(t *testing.T) {
	issuer := testTokens()
	raw, err := issuer.sign(issuer.claim(accessType, projections.Session{User: 1}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.check(raw, refreshType); err == nil || err.Error() != "Token has wrong type" {
		t.Errorf("got %v", err)
	}
}

func TestUserIDs(t *testing.T) {
	for text, want := range map[string]int64{
		`"1"`: 1, `1`: 1, `"007"`: 7, `1099511627776`: 1 << 40, `9223372036854775807`: 1<<63 - 1, `"9007199254740993"`: 1<<53 + 1, `9007199254740993`: 1<<53 + 1,
		`"abc"`: 0, `""`: 0, `"1.0"`: 0, `1.5`: 0, `1e3`: 0, `"-1"`: 0, `0`: 0, `-1`: 0, `true`: 0, `null`: 0, `[1]`: 0, `{"id":1}`: 0,
		`9223372036854775808`: 0, `"١"`: 0, `" 1"`: 0,
	} {
		now := testTime.Unix()
		raw := token(t, map[string]any{"alg": "HS256"}, map[string]any{
			"token_type": "access", "exp": now + 1, "jti": "f", "user_id": json.RawMessage(text)}, testKey)
		if got, err := testTokens().check(raw, accessType); err != nil || got.user != want {
			t.Errorf("user_id %s: got %d, %v; want %d", text, got.user, err, want)
		}
	}
}

func TestShortKeysAreRefused(t *testing.T) {
	if _, err := New(Config{TokenKey: []byte("thirty-one bytes are too few...")}); err == nil {
		t.Error("a key of 31 bytes is taken")
	}
}

func token(t *testing.T, header, payload map[string]any, key string) string {
	t.Helper()
	return sign256(segment(t, header)+"."+segment(t, payload), key)
}

func signedWith(newHash func() hash.Hash, header, payload map[string]any, t *testing.T) string {
	t.Helper()
	return sealed(newHash, segment(t, header)+"."+segment(t, payload))
}

func sealed(newHash func() hash.Hash, text string) string {
	mac := hmac.New(newHash, []byte(testKey))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func sign256(text, key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func segment(t *testing.T, of map[string]any) string {
	t.Helper()
	text, err := json.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	return encode(string(text))
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func unsegment(t *testing.T, text string) string {
	t.Helper()
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func BenchmarkCheckToken(b *testing.B) {
	issuer := testTokens()
	raw, err := issuer.sign(issuer.claim(accessType, projections.Session{User: 1}))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := issuer.check(raw, accessType); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := issuer.checkAccess(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
