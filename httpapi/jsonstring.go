package httpapi

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// appendString appends s as a JSON string, as the reference writes it: non-ASCII
// and <>& as they are, control characters escaped, and U+2028 and U+2029 too,
// which JavaScript once took for ends of lines. What is not UTF-8, a lone
// surrogate included, becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0 // of what is not yet appended
	for i := 0; i < len(s); {
		c, size := s[i], 1
		var escaped string
		switch {
		case c >= utf8.RuneSelf:
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			switch {
			case r == '\u2028':
				escaped = `\u2028`
			case r == '\u2029':
				escaped = `\u2029`
			case r != utf8.RuneError || size > 1:
				i += size
				continue
			default:
				escaped = "\uFFFD"
				if _, ok := surrogate(s[i:]); ok {
					size = surrogateLen
				}
			}
		case c == '"':
			escaped = `\"`
		case c == '\\':
			escaped = `\\`
		case c >= ' ':
			i++
			continue
		case c == '\n':
			escaped = `\n`
		case c == '\r':
			escaped = `\r`
		case c == '\t':
			escaped = `\t`
		case c == '\b':
			escaped = `\b`
		case c == '\f':
			escaped = `\f`
		default:
			escaped = `\u00` + string(hex[c>>4]) + string(hex[c&15])
		}
		dst = append(dst, s[start:i]...)
		dst = append(dst, escaped...)
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// string reads a string; one without escapes costs no memory.
func (p *jsonParser) string() (string, error) {
	begin := p.pos
	p.pos++
	start := p.pos // of what is not yet in unescaped
	var unescaped []byte
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '"':
			rest := p.text[start:p.pos]
			p.pos++
			if unescaped == nil {
				return rest, nil
			}
			return string(append(unescaped, rest...)), nil
		case c == '\\':
			unescaped = append(unescaped, p.text[start:p.pos]...)
			p.pos++
			if p.pos == len(p.text) {
				return "", p.fail("Unterminated string starting at", begin)
			}
			var err error
			if unescaped, err = p.escape(unescaped); err != nil {
				return "", err
			}
			start = p.pos
		case c < ' ':
			return "", p.fail("Invalid control character at", p.pos)
		default:
			p.pos++
		}
	}
	return "", p.fail("Unterminated string starting at", begin)
}

// escape appends what the escape sequence after a backslash stands for.
func (p *jsonParser) escape(dst []byte) ([]byte, error) {
	c := p.text[p.pos]
	p.pos++
	switch c {
	case '"', '\\', '/':
		return append(dst, c), nil
	case 'b':
		return append(dst, '\b'), nil
	case 'f':
		return append(dst, '\f'), nil
	case 'n':
		return append(dst, '\n'), nil
	case 'r':
		return append(dst, '\r'), nil
	case 't':
		return append(dst, '\t'), nil
	case 'u':
		r, ok := p.hex4()
		if !ok {
			return nil, p.fail(`Invalid \uXXXX escape`, p.pos-1)
		}
		if !utf16.IsSurrogate(r) {
			return utf8.AppendRune(dst, r), nil
		}
		if after := p.pos; p.skip(`\u`) {
			if low, ok := p.hex4(); ok {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					return utf8.AppendRune(dst, pair), nil
				}
			}
			p.pos = after // an escape sequence of its own
		}
		return appendSurrogate(dst, r), nil
	default:
		return nil, p.fail(`Invalid \escape`, p.pos-2)
	}
}

// hex4 passes over four hexadecimal digits, if they come next.
func (p *jsonParser) hex4() (rune, bool) {
	if len(p.text)-p.pos < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(p.text[p.pos:p.pos+4], 16, 16)
	if err != nil {
		return 0, false
	}
	p.pos += 4
	return rune(n), true
}

// A JSON string may name half of a surrogate pair, "\ud800", which no UTF-8 can
// say. Such a half is kept as the three bytes that UTF-8 would have for it
// (WTF-8), so that a field can name it in its refusal.
const (
	surrogateLen   = 3
	surrogateStart = 0xED // the first byte of every surrogate, and of U+D000 to U+D7FF
)

// surrogate returns the lone surrogate that s begins with, if it does.
func surrogate(s string) (r rune, ok bool) {
	if len(s) < surrogateLen || s[0] != surrogateStart || s[1] < 0xA0 || s[1] > 0xBF || s[2] < 0x80 || s[2] > 0xBF {
		return 0, false
	}
	return 0xD000 | rune(s[1]&0x3F)<<6 | rune(s[2]&0x3F), true
}

// findSurrogate returns the first lone surrogate in s, if there is one.
func findSurrogate(s string) (r rune, ok bool) {
	for {
		i := strings.IndexByte(s, surrogateStart)
		if i < 0 {
			return 0, false
		}
		s = s[i:]
		if r, ok := surrogate(s); ok {
			return r, true
		}
		s = s[1:]
	}
}

// appendSurrogate appends a lone surrogate.
func appendSurrogate(dst []byte, r rune) []byte {
	return append(dst, surrogateStart, 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
}

// length counts the code points of s, a lone surrogate as one, as Python does.
func length(s string) int {
	n := 0
	for i := range len(s) {
		if s[i]&0xC0 != 0x80 {
			n++
		}
	}
	return n
}
