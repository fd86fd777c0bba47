package httpapi

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// What a JSON text may be made of at most. A body's size is limited by [maxBody].
const (
	maxDepth  = 64   // lists and objects inside each other
	maxDigits = 4300 // of an integer: Python's own limit
)

// kind is what a value is in Python, whose names for types some answers contain.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindFloat
	kindString
	kindList
	kindObject
	kindFile // an upload; in multipart forms only
)

func (k kind) String() string {
	return [...]string{"NoneType", "bool", "int", "float", "str", "list", "dict", "InMemoryUploadedFile"}[k]
}

// value is a decoded JSON value, or what a form has for one. Its text is the
// content of a string, the literal of a number or boolean, the JSON of a list or
// an object, the name of a file. Fields never look inside a list or an object,
// so these are checked but not taken apart: a large body stays one string.
type value struct {
	kind kind
	text string
}

// member is a name and its value in an object.
type member struct {
	name  string
	value value
}

// parseJSON reads one JSON text as RFC 8259 defines it, and nothing besides: no
// NaN, no trailing comma, no second value, no byte order mark, no invalid UTF-8.
// Of an object it also returns the members, in order, with those whose names
// come twice; the last one counts. Strings share the memory of the text.
//
// An error is a jsonError; places are counted in characters.
func parseJSON(text string) (value, []member, error) {
	if !utf8.ValidString(text) {
		return value{}, nil, utf8Error(text)
	}
	if strings.HasPrefix(text, "\uFEFF") {
		return value{}, nil, jsonError("Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)")
	}
	p := jsonParser{text: text}
	v := value{kind: kindObject}
	var members []member
	var err error
	if p.space(); p.peek() == '{' {
		err = p.object(&members)
	} else {
		v, err = p.value()
	}
	if err != nil {
		return value{}, nil, err
	}
	if p.space(); p.pos < len(text) {
		return value{}, nil, p.fail("Extra data", p.pos)
	}
	return v, members, nil
}

// jsonError tells what is wrong with a JSON text, in the words of Python's json.
type jsonError string

func (e jsonError) Error() string { return string(e) }

func jsonErrorf(format string, args ...any) error { return jsonError(fmt.Sprintf(format, args...)) }

type jsonParser struct {
	text  string
	pos   int // of the next byte
	depth int // lists and objects that are open
}

func (p *jsonParser) fail(message string, pos int) error {
	before := p.text[:pos]
	line := strings.Count(before, "\n") + 1
	column := length(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return jsonErrorf("%s: line %d column %d (char %d)", message, line, column, length(before))
}

func (p *jsonParser) space() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// peek returns the next byte; at the end 0, which is no part of any JSON.
func (p *jsonParser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *jsonParser) value() (v value, err error) {
	start := p.pos
	switch c := p.peek(); {
	case c == '"':
		v.kind = kindString
		v.text, err = p.string()
		return v, err
	case c == '{':
		v.kind = kindObject
		err = p.object(nil)
	case c == '[':
		v.kind = kindList
		err = p.list()
	case c == '-' || '0' <= c && c <= '9':
		v.kind, err = p.number()
	case p.skip("null"):
	case p.skip("true"), p.skip("false"):
		v.kind = kindBool
	default:
		err = p.failNoValue()
	}
	v.text = p.text[start:p.pos]
	return v, err
}

// skip passes over a word if it comes next.
func (p *jsonParser) skip(word string) bool {
	if strings.HasPrefix(p.text[p.pos:], word) {
		p.pos += len(word)
		return true
	}
	return false
}

// failNoValue says why what comes next is not a value. Python knows three words
// for numbers that JSON does not have; the reference refuses them by name.
func (p *jsonParser) failNoValue() error {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if strings.HasPrefix(p.text[p.pos:], word) {
			return jsonErrorf("Out of range float values are not JSON compliant: '%s'", word)
		}
	}
	return p.fail("Expecting value", p.pos)
}

// open begins a list or an object, which close ends.
func (p *jsonParser) open() error {
	if p.depth == maxDepth {
		return p.fail(fmt.Sprintf("The nesting is too deep, more than %d levels", maxDepth), p.pos)
	}
	p.depth++
	p.pos++
	p.space()
	return nil
}

func (p *jsonParser) close() {
	p.depth--
	p.pos++
}

// object reads an object and appends its members, if they are wanted.
func (p *jsonParser) object(members *[]member) error {
	if err := p.open(); err != nil {
		return err
	}
	for first := true; p.peek() != '}' || !first; first = false {
		if p.peek() != '"' {
			return p.fail("Expecting property name enclosed in double quotes", p.pos)
		}
		name, err := p.string()
		if err != nil {
			return err
		}
		if p.space(); p.peek() != ':' {
			return p.fail("Expecting ':' delimiter", p.pos)
		}
		p.pos++
		p.space()
		v, err := p.value()
		if err != nil {
			return err
		}
		if members != nil {
			if *members == nil {
				*members = make([]member, 0, 8)
			}
			*members = append(*members, member{name, v})
		}
		if more, err := p.more('}'); err != nil {
			return err
		} else if !more {
			break
		}
	}
	p.close()
	return nil
}

func (p *jsonParser) list() error {
	if err := p.open(); err != nil {
		return err
	}
	for first := true; p.peek() != ']' || !first; first = false {
		if _, err := p.value(); err != nil {
			return err
		}
		if more, err := p.more(']'); err != nil {
			return err
		} else if !more {
			break
		}
	}
	p.close()
	return nil
}

// more passes over a comma; it reports false when the end comes instead.
func (p *jsonParser) more(end byte) (bool, error) {
	p.space()
	switch p.peek() {
	case ',':
		p.pos++
		p.space()
		return true, nil
	case end:
		return false, nil
	default:
		return false, p.fail("Expecting ',' delimiter", p.pos)
	}
}

// number passes over the longest number that comes next. What follows one that
// looks longer, as in 01 or 1.e5, is then found to be out of place.
func (p *jsonParser) number() (kind, error) {
	start := p.pos
	if p.peek() == '-' {
		p.pos++
	}
	digits := 1
	if p.peek() == '0' {
		p.pos++
	} else if digits = p.digits(); digits == 0 {
		p.pos = start
		return 0, p.failNoValue()
	}
	k := kindInt
	end := p.pos
	if p.peek() == '.' {
		p.pos++
		if p.digits() > 0 {
			k, end = kindFloat, p.pos
		}
		p.pos = end
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if p.digits() > 0 {
			k, end = kindFloat, p.pos
		}
		p.pos = end
	}
	if k == kindInt && digits > maxDigits {
		return 0, jsonErrorf("Exceeds the limit (%d digits) for integer string conversion: value has %d digits", maxDigits, digits)
	}
	return k, nil
}

// digits passes over digits and counts them.
func (p *jsonParser) digits() int {
	start := p.pos
	for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
		p.pos++
	}
	return p.pos - start
}

// utf8Error says where text stops being UTF-8, and why.
func utf8Error(text string) error {
	pos := 0
	for {
		r, size := utf8.DecodeRuneInString(text[pos:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		pos += size
	}
	reason := "invalid continuation byte"
	switch c := text[pos]; {
	case c < 0xC2 || c > 0xF4:
		reason = "invalid start byte"
	case !utf8.FullRuneInString(text[pos:]):
		reason = "unexpected end of data"
	}
	return jsonErrorf("'utf-8' codec can't decode byte 0x%02x in position %d: %s", text[pos], pos, reason)
}
