package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
)

// The entity tag of a patient or doctor is the position of the record's last
// event: "42". It is a strong one, for the record is written from its events
// alone, always in the same way.
//
// It comes with every answer that holds the record. RFC 9110, 9.3.4 would have
// none after a PUT unless the bytes that were sent are what is stored; but what
// is stored is in the answer, and the tag is of that.

var malformedIfMatch = newDetail(http.StatusBadRequest, "If-Match is not a list of entity tags.")

func entityTag(pos events.Position) string {
	return `"` + strconv.FormatInt(int64(pos), 10) + `"`
}

// writeRecord answers with a record whose last event is at the position.
func writeRecord(w http.ResponseWriter, status int, pos events.Position, fill func([]byte) []byte) {
	w.Header().Set("ETag", entityTag(pos))
	writeJSON(w, status, fill)
}

// writeUnlessKnown is writeRecord for an answer to GET or HEAD: 304 when
// If-None-Match says that the client has the record already.
func writeUnlessKnown(w http.ResponseWriter, r *http.Request, pos events.Position, fill func([]byte) []byte) {
	if lines := r.Header["If-None-Match"]; len(lines) > 0 && noneMatch(lines, entityTag(pos)) {
		w.Header().Set("ETag", entityTag(pos))
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeRecord(w, http.StatusOK, pos, fill)
}

// noneMatch tells of If-None-Match whether it covers the tag, by weak
// comparison (RFC 9110, 8.8.3.2). A header that cannot be read covers nothing:
// the whole record is a right answer always.
func noneMatch(lines []string, tag string) bool {
	tags, anything, ok := parseEntityTags(lines)
	return ok && (anything || slices.ContainsFunc(tags, func(t string) bool { return strings.TrimPrefix(t, "W/") == tag }))
}

// ifMatch reads the precondition of a change (RFC 9110, 13.1.1), by strong
// comparison: a weak tag matches nothing, and so does one that is not ours. "*"
// asks for a record that is there, as every change does. A header that cannot be
// read gets a 400: it must not be ignored, and a 412 would have the client read
// the record and try again in vain.
func ifMatch(r *http.Request) (commands.IfMatch, error) {
	lines := r.Header["If-Match"]
	if len(lines) == 0 {
		return commands.IfMatch{}, nil
	}
	tags, anything, ok := parseEntityTags(lines)
	if !ok {
		return commands.IfMatch{}, malformedIfMatch
	}
	if anything {
		return commands.IfMatch{}, nil
	}
	m := commands.IfMatch{Given: true}
	for _, tag := range tags {
		pos, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64)
		if err == nil && entityTag(events.Position(pos)) == tag {
			m.Positions = append(m.Positions, events.Position(pos))
		}
	}
	return m, nil
}

// parseEntityTags reads `*` or a list of entity tags, weak ones with their W/.
// Empty elements do not count (RFC 9110, 5.6.1.2); several lines are one list.
func parseEntityTags(lines []string) (tags []string, anything, ok bool) {
	rest := strings.Join(lines, ",")
	if strings.Trim(rest, " \t") == "*" {
		return nil, true, true
	}
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			return tags, false, len(tags) > 0
		}
		length := entityTagLen(rest)
		if length == 0 {
			return nil, false, false
		}
		tags = append(tags, rest[:length])
		rest = strings.TrimLeft(rest[length:], " \t")
		if rest != "" && rest[0] != ',' {
			return nil, false, false
		}
	}
}

// entityTagLen is the length of the entity tag that s begins with, else 0.
func entityTagLen(s string) int {
	weak := len(s) - len(strings.TrimPrefix(s, "W/"))
	if len(s) == weak || s[weak] != '"' {
		return 0
	}
	for i := weak + 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c <= ' ' || c == 0x7F:
			return 0
		}
	}
	return 0
}
