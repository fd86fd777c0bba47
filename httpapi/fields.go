package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/carelog/carelog/events"
)

const (
	notText  = "Not a valid string."
	notEmail = "Enter a valid email address."

	notABoolean = "Must be a valid boolean."
	notAListOf  = `Expected a list of items but got type "%s".`
)

// text reads a text of at most maxLen characters (code points; 0: any number),
// without the white space around it. A number is taken as Python would write it.
func (f *form) text(name string, maxLen int) *string {
	text, ok := f.readText(name, notText)
	if !ok {
		return nil
	}
	text = trim(text)
	f.checkLength(name, text, maxLen)
	f.checkCharacters(name, text)
	return f.unlessFailed(name, text)
}

// email reads an e-mail address of at most maxLen characters. Case is kept.
func (f *form) email(name string, maxLen int) *string {
	text, ok := f.readText(name, notEmail)
	if !ok {
		return nil
	}
	text = trim(text)
	f.checkLength(name, text, maxLen)
	f.checkCharacters(name, text)
	if !validEmail(text) {
		f.fail(name, notEmail)
	}
	return f.unlessFailed(name, text)
}

// password reads a text of at most maxBytes bytes exactly as it is, but refuses
// one that is all white space.
func (f *form) password(name string, maxBytes int) *string {
	text, ok := f.readText(name, notText)
	if !ok {
		return nil
	}
	if len(text) > maxBytes {
		f.fail(name, fmt.Sprintf("Ensure this field has no more than %d bytes.", maxBytes))
	}
	f.checkCharacters(name, text)
	return f.unlessFailed(name, text)
}

// readText reads a text that is not blank; a value of a type that is no text is
// refused with the message.
func (f *form) readText(name, message string) (text string, ok bool) {
	v, ok := f.value(name)
	if !ok {
		return "", false
	}
	switch v.kind {
	case kindString, kindInt, kindFloat:
		text = v.str()
	default:
		f.fail(name, message)
		return "", false
	}
	if trim(text) == "" {
		f.fail(name, "This field may not be blank.")
		return "", false
	}
	return text, true
}

func (f *form) checkLength(name, text string, maxLen int) {
	if maxLen > 0 && length(text) > maxLen {
		f.fail(name, fmt.Sprintf("Ensure this field has no more than %d characters.", maxLen))
	}
}

// checkCharacters refuses what Postgres cannot store in a text.
func (f *form) checkCharacters(name, text string) {
	if strings.IndexByte(text, 0) >= 0 {
		f.fail(name, "Null characters are not allowed.")
	}
	if r, found := findSurrogate(text); found {
		f.fail(name, fmt.Sprintf("Surrogate characters are not allowed: U+%X.", r))
	}
}

func (f *form) unlessFailed(name, text string) *string {
	if len(f.errors[f.errors.declare(name)].messages) > 0 {
		return nil
	}
	return &text
}

// maxIntegerText is how many characters a text may have to be read as an integer.
const maxIntegerText = 1000

// integer reads an integer from least to most. A whole number is one however it
// is written, in text too: 30, 30.0, 3e1, "30", " 30. ".
func (f *form) integer(name string, least, most int) *int {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	if v.kind == kindString && length(v.text) > maxIntegerText {
		f.fail(name, "String value too large.")
		return nil
	}
	var n int64
	err := strconv.ErrSyntax
	switch v.kind {
	case kindString, kindInt, kindFloat:
		n, err = parseInteger(withoutZeroFraction(v.str()))
	}
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		f.fail(name, "A valid integer is required.")
	case n > int64(most): // also what is out of range: parseInteger answers the nearest
		f.fail(name, fmt.Sprintf("Ensure this value is less than or equal to %d.", most))
	case n < int64(least):
		f.fail(name, fmt.Sprintf("Ensure this value is greater than or equal to %d.", least))
	default:
		i := int(n)
		return &i
	}
	return nil
}

// withoutZeroFraction removes a decimal point that nothing but zeros follow.
func withoutZeroFraction(s string) string {
	fraction := strings.TrimRightFunc(s, isSpace)
	if point := strings.LastIndexByte(s, '.'); point >= 0 && strings.Trim(fraction[point+1:], "0") == "" {
		return s[:point]
	}
	return s
}

// parseInteger reads an integer with white space around it. For one that int64
// cannot hold it answers the nearest that it can, and strconv.ErrRange.
func parseInteger(s string) (int64, error) { return strconv.ParseInt(strings.TrimSpace(s), 10, 64) }

// choice reads one of the choices, spelled exactly so.
func (f *form) choice(name string, choices ...string) *string {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	text := v.str()
	if !slices.Contains(choices, text) {
		f.fail(name, `"`+text+`" is not a valid choice.`)
		return nil
	}
	return &text
}

// key reads the id of a record; whether there is such a record is for the caller
// to find out, and to tell with [form.noSuchKey].
func (f *form) key(name string) *int64 {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	var id int64
	err := strconv.ErrSyntax
	switch v.kind {
	case kindString:
		if v.text == "" {
			f.fail(name, "This field may not be null.")
			return nil
		}
		id, err = parseInteger(v.text)
	case kindInt:
		id, err = parseInteger(v.text)
	case kindFloat:
		id, err = strconv.ParseInt(strconv.FormatFloat(v.float(), 'f', -1, 64), 10, 64)
		if err != nil {
			err = strconv.ErrRange // a fraction, or too large
		}
	}
	switch {
	case errors.Is(err, strconv.ErrRange): // no record has such an id
		f.noSuchKey(name)
	case err != nil:
		f.fail(name, fmt.Sprintf("Incorrect type. Expected pk value, received %s.", v.kind))
	default:
		return &id
	}
	return nil
}

// noSuchKey refuses the key that the field has: there is no such record.
func (f *form) noSuchKey(name string) {
	v, _ := f.body.get(name)
	f.fail(name, `Invalid pk "`+v.str()+`" - object does not exist.`)
}

// boolean reads true or false.
func (f *form) boolean(name string) *bool {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	truth, err := strconv.ParseBool(v.text)
	if err != nil || v.kind != kindBool && v.kind != kindString {
		f.fail(name, notABoolean)
		return nil
	}
	return &truth
}

// roles reads a list of roles.
func (f *form) roles(name string) *[]events.Role {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	roles := []events.Role{}
	if v.kind != kindList {
		f.fail(name, fmt.Sprintf(notAListOf, v.kind))
		return nil
	}
	if err := json.Unmarshal([]byte(v.text), &roles); err != nil {
		f.fail(name, notText)
		return nil
	}
	for _, role := range roles {
		if !slices.Contains(events.Roles(), role) {
			f.fail(name, `"`+string(role)+`" is not a valid choice.`)
			return nil
		}
	}
	return &roles
}
