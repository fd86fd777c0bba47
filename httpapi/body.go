package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"unicode/utf8"
)

// What a request body may have at most. Everything is kept in memory.
const (
	maxBody       = 1 << 20 // bytes
	maxFormFields = 1000    // fields and files of a form; Django's DATA_UPLOAD_MAX_NUMBER_FIELDS
)

// body is a decoded request body: the members of an object, or a value of
// another kind, which no handler wants.
type body struct {
	kind    kind
	members []member
}

// get returns the value of the last member of that name.
func (b body) get(name string) (v value, ok bool) {
	for i := len(b.members) - 1; i >= 0; i-- {
		if b.members[i].name == name {
			return b.members[i].value, true
		}
	}
	return value{}, false
}

// readBody reads and decodes the body: JSON, or a form in either encoding, whose
// fields are taken for text. An empty body is an empty object, whatever its type.
//
// The error is an *apiError: 413 for more than [maxBody] bytes, 415 for another
// media type, 400 for what cannot be decoded, or what [admission.enter] fails with.
func readBody(r *http.Request) (body, error) {
	text, err := takeBody(r)
	if err != nil {
		return body{}, err
	}
	if text == "" {
		return body{kind: kindObject}, nil
	}

	contentType := r.Header.Get("Content-Type")
	mediaType, _, hasParameters := strings.Cut(contentType, ";")
	var parameters map[string]string
	if hasParameters {
		_, parameters, _ = mime.ParseMediaType(contentType) // malformed ones count as absent
	}
	decode := decoderFor(parameters["charset"])

	switch strings.ToLower(strings.TrimSpace(mediaType)) {
	case "application/json":
		v, members, err := parseJSON(decode(text))
		if err != nil {
			return body{}, newDetail(http.StatusBadRequest, "JSON parse error - "+err.Error())
		}
		return body{v.kind, members}, nil
	case "application/x-www-form-urlencoded":
		return parseForm(text, decode)
	case "multipart/form-data":
		return parseMultipart(text, parameters["boundary"], decode)
	default:
		return body{}, newDetail(http.StatusUnsupportedMediaType, `Unsupported media type "`+contentType+`" in request.`)
	}
}

// takeBody reads the body, and takes the request's place when it is there, be it
// bad: what follows may ask the database.
func takeBody(r *http.Request) (string, error) {
	ctx := r.Context()
	known := requestOf(ctx)
	came := awaitBody(ctx)
	defer came()
	var read bytes.Buffer
	from := http.MaxBytesReader(nil, r.Body, maxBody)
	read.Grow(int(min(max(r.ContentLength, 0), smallBody)) + bytes.MinRead)
	_, err := read.ReadFrom(io.LimitReader(from, smallBody))
	if err == nil && read.Len() == smallBody {
		size := maxBody
		if r.ContentLength >= 0 {
			size = int(r.ContentLength)
		}
		if err := known.keep(r.Context(), size); err != nil {
			return "", err
		}
		read.Grow(size - smallBody + bytes.MinRead)
		_, err = read.ReadFrom(from)
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return "", bodyTooLarge
	}
	if !came() {
		return "", overloaded // nobody hears it
	}
	if err := known.enter(ctx); err != nil {
		return "", err
	}
	if err != nil {
		return "", newDetail(http.StatusBadRequest, "The request body could not be read.")
	}
	return read.String(), nil
}

// isUnread tells of an error that it is the answer whatever there is in the
// database, which is not to be asked.
func isUnread(err error) bool {
	return errors.Is(err, bodyTooLarge) || answerTo(err).status == http.StatusServiceUnavailable
}

// decoderFor returns what turns a charset into UTF-8. Besides UTF-8 itself there
// is Latin-1; any other is taken for UTF-8.
func decoderFor(charset string) func(string) string {
	switch strings.ToLower(charset) {
	case "latin-1", "latin1", "iso-8859-1":
		return decodeLatin1
	default:
		return func(s string) string { return s }
	}
}

// decodeLatin1 makes a character of every byte.
func decodeLatin1(s string) string {
	decoded := make([]byte, 0, len(s)+len(s)/8)
	for i := range len(s) {
		decoded = utf8.AppendRune(decoded, rune(s[i]))
	}
	return string(decoded)
}

var errTooManyFields = newDetail(http.StatusBadRequest, "The form has more than 1000 fields.")

// parseForm decodes application/x-www-form-urlencoded. As in the reference
// nothing is malformed: a percent sign that begins no escape sequence stands for
// itself, and bytes that are not UTF-8 become U+FFFD.
func parseForm(text string, decode func(string) string) (body, error) {
	if strings.Count(text, "&") >= maxFormFields {
		return body{}, errTooManyFields
	}
	b := body{kind: kindObject}
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		name, v, _ := strings.Cut(pair, "=")
		b.members = append(b.members, member{
			formText(unescapeForm(name), decode),
			value{kindString, formText(unescapeForm(v), decode)},
		})
	}
	return b, nil
}

func formText(s string, decode func(string) string) string {
	return strings.ToValidUTF8(decode(s), "\uFFFD")
}

func unescapeForm(s string) string {
	if !strings.ContainsAny(s, "+%") {
		return s
	}
	unescaped := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s):
			high, ok1 := unhex(s[i+1])
			low, ok2 := unhex(s[i+2])
			if ok1 && ok2 {
				c = high<<4 | low
				i += 2
			}
		}
		unescaped = append(unescaped, c)
	}
	return string(unescaped)
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	default:
		return 0, false
	}
}

// parseMultipart decodes multipart/form-data. A file is kept by its name only,
// for the field it was sent as to refuse it; files come after text, so that they
// count where both have one name, as in the reference.
func parseMultipart(text, boundary string, decode func(string) string) (body, error) {
	if boundary == "" {
		return body{}, malformedMultipart("Invalid boundary in multipart: None")
	}
	b := body{kind: kindObject}
	var files []member
	reader := multipart.NewReader(strings.NewReader(text), boundary)
	for parts := 0; ; parts++ {
		part, err := reader.NextRawPart()
		if err == io.EOF {
			b.members = append(b.members, files...)
			return b, nil
		}
		if err != nil {
			return body{}, malformedMultipart(err.Error())
		}
		if parts == maxFormFields {
			return body{}, errTooManyFields
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return body{}, malformedMultipart(err.Error())
		}
		name := formText(part.FormName(), decode)
		switch file := part.FileName(); {
		case name == "":
		case file != "":
			files = append(files, member{name, value{kindFile, formText(file, decode)}})
		default:
			b.members = append(b.members, member{name, value{kindString, formText(string(content), decode)}})
		}
	}
}

func malformedMultipart(reason string) error {
	return newDetail(http.StatusBadRequest, "Multipart form parse error - "+reason)
}
