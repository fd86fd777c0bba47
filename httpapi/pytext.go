package httpapi

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// str is what Python's str() makes of the value: what text fields turn numbers
// into, and what refusals quote.
func (v value) str() string {
	switch v.kind {
	case kindNull:
		return "None"
	case kindBool:
		return strings.ToUpper(v.text[:1]) + v.text[1:]
	case kindInt:
		if v.text == "-0" {
			return "0"
		}
		return v.text
	case kindFloat:
		return floatText(v.float())
	case kindList, kindObject:
		return string(appendRepr(nil, v.text))
	default:
		return v.text
	}
}

// float is the value of a number; infinite, where that is too large.
func (v value) float() float64 {
	f, _ := strconv.ParseFloat(v.text, 64) // the error means that f is infinite
	return f
}

// floatText writes f as Python does: the fewest digits that tell it apart, with
// an exponent from 1e16 upwards and below 1e-4.
func floatText(f float64) string {
	switch abs := math.Abs(f); {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case abs >= 1e16 || abs < 1e-4 && abs > 0:
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// appendRepr writes JSON, which must be valid, as Python prints the lists and
// dicts that it makes of it.
func appendRepr(dst []byte, json string) []byte {
	p := jsonParser{text: json}
	for p.space(); p.pos < len(json); p.space() {
		switch c := p.peek(); c {
		case '[', ']', '{', '}':
			dst = append(dst, c)
			p.pos++
		case ',', ':':
			dst = append(dst, c, ' ')
			p.pos++
		default:
			v, _ := p.value() // a string, a number, true, false or null
			if v.kind == kindString {
				dst = appendQuoted(dst, v.text)
			} else {
				dst = append(dst, v.str()...)
			}
		}
	}
	return dst
}

// appendQuoted appends Python's repr() of a string.
func appendQuoted(dst []byte, s string) []byte {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	dst = append(dst, byte(quote))
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if half, ok := surrogate(s); ok {
			r, size = half, surrogateLen
		}
		s = s[size:]
		switch {
		case r == quote || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case unicode.IsPrint(r):
			dst = utf8.AppendRune(dst, r)
		case r <= 0xFF:
			dst = fmt.Appendf(dst, `\x%02x`, r)
		case r <= 0xFFFF:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = fmt.Appendf(dst, `\U%08x`, r)
		}
	}
	return append(dst, byte(quote))
}

// trim removes white space from both ends of s, as Python's str.strip does:
// Unicode's, the no-break space included, and the four separators U+001C to
// U+001F.
func trim(s string) string { return strings.TrimFunc(s, isSpace) }

func isSpace(r rune) bool { return unicode.IsSpace(r) || 0x1C <= r && r <= 0x1F }
