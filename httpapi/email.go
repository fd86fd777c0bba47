package httpapi

import (
	"net/netip"
	"strings"
)

// validEmail is Django's EmailValidator: at most 320 characters, a local part
// that is a dot-atom or a quoted string, and a domain name, "localhost", or an IP
// address in brackets.
func validEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 0 || length(s) > 320 {
		return false
	}
	local, domain := s[:at], s[at+1:]
	if !isDotAtom(local) && !isQuotedLocal(local) {
		return false
	}
	if address, ok := strings.CutPrefix(domain, "["); ok {
		address, ok = strings.CutSuffix(address, "]")
		ip, err := netip.ParseAddr(address)
		return ok && err == nil && ip.Zone() == ""
	}
	return domain == "localhost" || isDomainName(domain)
}

func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for _, r := range atom {
			if !isAlphanumeric(r) && !strings.ContainsRune("-!#$%&'*+/=?^_`{}|~", r) {
				return false
			}
		}
	}
	return true
}

// isQuotedLocal reports whether s is a quoted string without white space, other
// than behind a backslash, where anything in ASCII but NUL, LF and CR may stand.
func isQuotedLocal(s string) bool {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	s = s[1 : len(s)-1]
	for i := 0; i < len(s); i++ {
		c := s[i]
		escaped := c == '\\'
		if escaped {
			if i++; i == len(s) {
				return false
			}
			c = s[i]
		}
		switch {
		case c == 0 || c == '\n' || c == '\r' || c > 0x7F:
			return false
		case !escaped && (c == '\t' || c == ' ' || c == '"'):
			return false
		}
	}
	return true
}

// isDomainName reports whether s consists of two labels or more, the last of
// which has two characters or more and no digits, unless it is punycode. Letters
// beyond ASCII are allowed up to U+FFFF.
func isDomainName(s string) bool {
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 {
		return false
	}
	for label := range strings.SplitSeq(s[:dot], ".") {
		if !isLabel(label) {
			return false
		}
	}
	top := s[dot+1:]
	return isLabel(top) && length(top) > 1 && (!strings.ContainsAny(top, "0123456789") || isPunycode(top))
}

// isLabel reports whether s has 1 to 63 letters, digits and hyphens, with no
// hyphen at either end.
func isLabel(s string) bool {
	if n := length(s); n == 0 || n > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, r := range s {
		if !isAlphanumeric(r) && r != '-' && (r < 0xA1 || r > 0xFFFF) {
			return false
		}
	}
	return true
}

// isPunycode reports whether s, a label, is like xn--p1ai.
func isPunycode(s string) bool {
	if len(s) < 5 || !strings.EqualFold(s[:4], "xn--") {
		return false
	}
	for _, r := range s[4:] {
		if !isAlphanumeric(r) {
			return false
		}
	}
	return true
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}
