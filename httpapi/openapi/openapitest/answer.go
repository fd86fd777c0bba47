package openapitest

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// Answer is an answer and what it was to.
type Answer struct {
	Method, Path string // of the request
	Status       int
	Header       http.Header
	Body         []byte
	IsCut        bool // there may be more of the body
}

// everywhere are headers that no answer names: of HTTP itself, of its connection, and
// those that the description says every answer may carry.
var everywhere = []string{
	"Content-Length", "Content-Type", "Date", "Connection", "Transfer-Encoding",
	"Allow", "Cache-Control", "Vary", "Content-Security-Policy", "Referrer-Policy", "Strict-Transport-Security",
	"X-Content-Type-Options", "X-Frame-Options", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers",
}

// Check tells what is wrong with an answer.
func (d *Document) Check(a Answer) error {
	o := d.find(a.Method, a.Path)
	if err := o.check(a); err != nil {
		return fmt.Errorf("%s (%s %s) answered %d, which the OpenAPI document does not have so: %w", o.ID, o.Method, o.Path, a.Status, err)
	}
	return nil
}

// find is the operation of a request: one that is described, or what is said of every
// path, or of those that are none.
func (d *Document) find(method, path string) Operation {
	wanted := method
	if method == http.MethodHead {
		wanted = http.MethodGet
	}
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	var best *Operation
	for i, o := range d.operations {
		if o.Method == wanted && matches(o.segments, parts) && (best == nil || moreLiteral(o, *best)) {
			best = &d.operations[i]
		}
	}
	if best != nil {
		return *best
	}
	isPath := slices.ContainsFunc(d.operations, func(o Operation) bool { return matches(o.segments, parts) })
	switch {
	case !isPath:
		return d.everyPath.without("no path", method, http.StatusOK, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotAcceptable)
	case method == http.MethodOptions:
		return d.everyPath.without(d.everyPath.ID, method, http.StatusMethodNotAllowed)
	default:
		return d.everyPath.without("no method", method, http.StatusOK)
	}
}

func matches(segments []segment, parts []string) bool {
	return slices.EqualFunc(segments, parts, func(s segment, part string) bool {
		if !s.variable {
			return s.literal == part
		}
		return part != "" && (!s.digits || strings.Trim(part, "0123456789") == "")
	})
}

// moreLiteral: a path without a variable goes before one with.
func moreLiteral(a, b Operation) bool {
	for i := range a.segments {
		if a.segments[i].variable != b.segments[i].variable {
			return b.segments[i].variable
		}
	}
	return false
}

// without is the operation for another method, with some answers less.
func (o Operation) without(id, method string, statuses ...int) Operation {
	left := Operation{ID: id, Method: method, Path: o.Path, responses: map[int]*response{}}
	for status, r := range o.responses {
		if !slices.Contains(statuses, status) {
			left.responses[status] = r
		}
	}
	return left
}

func (o Operation) check(a Answer) error {
	r := o.responses[a.Status]
	if r == nil {
		return errors.New("there is no such status")
	}
	return errors.Join(r.checkHeaders(a.Header), r.checkBody(a))
}

func (r *response) checkHeaders(given http.Header) error {
	var wrong []error
	for name, values := range given {
		described, found := r.headers[name]
		switch {
		case found:
			if err := described.check(values); err != nil {
				wrong = append(wrong, fmt.Errorf("header %s: %w", name, err))
			}
		case !slices.Contains(everywhere, name):
			wrong = append(wrong, fmt.Errorf("header %s is not described", name))
		}
	}
	for name, described := range r.headers {
		if described.required && given.Get(name) == "" {
			wrong = append(wrong, fmt.Errorf("header %s is missing", name))
		}
	}
	return errors.Join(wrong...)
}

func (h header) check(values []string) error {
	if len(values) != 1 {
		return fmt.Errorf("it is there %d times", len(values))
	}
	var value any = values[0]
	if h.integer {
		n, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil {
			return err
		}
		value = n
	}
	return h.schema.Validate(value)
}

func (r *response) checkBody(a Answer) error {
	contentType := a.Header.Get("Content-Type")
	if contentType == "" && len(a.Body) == 0 {
		if len(r.content) > 0 && a.Method != http.MethodHead && !a.IsCut {
			return errors.New("it has no body")
		}
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("content type %q: %w", contentType, err)
	}
	m, found := r.content[mediaType]
	switch {
	case !found:
		return fmt.Errorf("content type %s is not described", mediaType)
	case a.Method == http.MethodHead && len(a.Body) > 0:
		return errors.New("HEAD has a body")
	case a.Method == http.MethodHead:
		return nil
	}
	return m.check(mediaType, a.Body, a.IsCut)
}

func (m media) check(mediaType string, body []byte, isCut bool) error {
	switch {
	case mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"):
		if isCut {
			return nil
		}
		return validJSON(m.schema, body)
	case mediaType == "application/x-ndjson":
		return m.checkItems(bytes.SplitAfter(body, []byte("\n")), "\n")
	case mediaType == "text/event-stream":
		return m.checkItems(bytes.SplitAfter(body, []byte("\n\n")), "\n\n")
	case mediaType == "application/yaml":
		var value any
		if err := yaml.Unmarshal(body, &value); err != nil {
			return fmt.Errorf("the body is not YAML: %w", err)
		}
		return m.schema.Validate(value)
	}
	return m.schema.Validate(string(body))
}

// checkItems checks those that are whole.
func (m media) checkItems(items [][]byte, end string) error {
	for _, item := range items {
		text, whole := bytes.CutSuffix(item, []byte(end))
		if !whole {
			return nil // cut, or nothing: what came after the last one
		}
		if end == "\n\n" {
			if text = serverSentData(text); text == nil {
				continue
			}
		}
		if err := validJSON(m.item, text); err != nil {
			return err
		}
	}
	return nil
}

// serverSentData is the data of a Server-Sent Event; nil when it has none.
func serverSentData(text []byte) []byte {
	var lines [][]byte
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			lines = append(lines, bytes.TrimPrefix(data, []byte(" ")))
		}
	}
	if lines == nil {
		return nil
	}
	return bytes.Join(lines, []byte("\n"))
}

func validJSON(schema *jsonschema.Schema, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("%w\nbody: %.1000s", err, text)
	}
	return nil
}
