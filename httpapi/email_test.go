package httpapi

import (
	"strings"
	"testing"
)

// The answers are those of Django 5.2's EmailValidator.
func TestValidEmail(t *testing.T) {
	x63, x64 := strings.Repeat("x", 63), strings.Repeat("x", 64)
	valid := []string{
		"a@b.co",
		"A.b+c@sub.example.co.uk",
		"!#$%&'*+-/=?^_`{|}~@x.io",
		"a@localhost",
		"a@[127.0.0.1]", "a@[::1]", "a@[::ffff:1.2.3.4]", "a@[2001:DB8::1]",
		"a@x-y.io", "a@1.io", "a@é.io", "a@x.éé", "a@\uffff.io",
		"a@x.xn--p1ai", "a@x.XN--P1AI", "a@x.xn--a-b",
		"a@" + x63 + ".io", "a@y." + x63, "a@" + strings.Repeat("é", 63) + ".io",
		strings.Repeat("a", 315) + "@x.io", // 320 characters
		`"ab"@x.io`, `""@x.io`, `"a@b"@x.io`, `"\ "@x.io`, `"\a\""@x.io`, "\"\x01\x7f\"@x.io",
	}
	invalid := []string{
		"", "a", "@", "a@", "@x.io", "a@b", "sarah",
		"a..b@x.io", ".a@x.io", "a.@x.io", "a b@x.io", "a@b@x.io", "a\n@x.io", "a\x00@x.io", "ü@x.io", "a(b)@x.io",
		"a@x..io", "a@.io", "a@x.io.", "a@-x.io", "a@x-.io", "a@x.-io", "a@x.io-", "a@x_y.io", "a@x y.io", "a@x.io\n",
		"a@LOCALHOST", "a@1.2.3.4", "a@x.é", "a@x.c", "a@x.1a", "a@x.a1", "a@x.xn--", "a@x.xn--é1", "a@😀.io", "a@x\u00a0y.io",
		"a@[]", "a@[1.2.3]", "a@[01.2.3.4]", "a@[1.2.3.4", "a@1.2.3.4]", "a@[1.2.3.4]x", "a@[fe80::1%eth0]", "a@[IPv6:::1]", "a@[::1::]",
		"a@" + x64 + ".io", "a@y." + x64,
		strings.Repeat("a", 316) + "@x.io",
		`"a b"@x.io`, `"a"b"@x.io`, `"a@x.io`, `"@x.io`, `"\"@x.io`, "\"\\\n\"@x.io", `"é"@x.io`,
	}
	for _, email := range valid {
		if !validEmail(email) {
			t.Errorf("%q was refused", email)
		}
	}
	for _, email := range invalid {
		if validEmail(email) {
			t.Errorf("%q was accepted", email)
		}
	}
}
