package httpapi

import (
	"fmt"
	"net/http"
)

// form reads the fields of a body, one by one, and collects what is wrong with
// each, in the words of the reference (Django REST Framework). A field that is
// refused, or that may be absent and is, reads as nil. [form.err] has it all.
//
// With partial (PATCH) a field may be absent; one that is there is held to the
// same rules.
type form struct {
	body    body
	partial bool
	errors  fieldErrors
}

func newForm(b body, partial bool) *form {
	return &form{body: b, partial: partial, errors: make(fieldErrors, 0, 5)}
}

// value returns what the field has, unless that is null, or nothing.
func (f *form) value(name string) (v value, ok bool) {
	if f.body.kind != kindObject {
		return value{}, false // err says so
	}
	f.errors.declare(name)
	v, ok = f.body.get(name)
	switch {
	case !ok && !f.partial:
		f.fail(name, "This field is required.")
	case ok && v.kind == kindNull:
		f.fail(name, "This field may not be null.")
		ok = false
	}
	return v, ok
}

// fail adds a message to the field's errors.
func (f *form) fail(name, message string) {
	i := f.errors.declare(name)
	f.errors[i].messages = append(f.errors[i].messages, message)
}

// err returns nil when nothing is wrong, else an *apiError with status 400 and
// the messages of every field, in the order in which the fields were read.
func (f *form) err() error {
	switch f.body.kind {
	case kindObject:
		return f.errors.err()
	case kindNull:
		return fieldErrors{{nonFieldErrors, []string{"No data provided"}}}.err()
	default:
		message := fmt.Sprintf("Invalid data. Expected a dictionary, but got %s.", f.body.kind)
		return fieldErrors{{nonFieldErrors, []string{message}}}.err()
	}
}

// nonFieldErrors stands for a field where something is wrong with all of them.
const nonFieldErrors = "non_field_errors"

// fieldErrors are fields in the order they were read, and what is wrong with
// each, if anything.
type fieldErrors []fieldError

type fieldError struct {
	field    string
	messages []string
}

// declare returns the field's place, after those that have one already.
func (e *fieldErrors) declare(field string) int {
	for i := range *e {
		if (*e)[i].field == field {
			return i
		}
	}
	*e = append(*e, fieldError{field: field})
	return len(*e) - 1
}

// err returns the messages as an *apiError, {"field":["message",…],…}, nil
// without any.
func (e fieldErrors) err() error {
	var json []byte
	for _, field := range e {
		if len(field.messages) == 0 {
			continue
		}
		json = appendString(append(json, ','), field.field)
		separator := ":["
		for _, message := range field.messages {
			json = appendString(append(json, separator...), message)
			separator = ","
		}
		json = append(json, ']')
	}
	if json == nil {
		return nil
	}
	json[0] = '{' // for the first comma
	return &apiError{status: http.StatusBadRequest, body: append(json, '}')}
}
