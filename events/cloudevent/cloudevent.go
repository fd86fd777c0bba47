package cloudevent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
)

// ContentType is that of a document: CloudEvents 1.0, JSON format, structured mode.
const ContentType = "application/cloudevents+json"

const (
	sourcePrefix = "/carelog/logs/"
	typePrefix   = "carelog."
	schemaPrefix = "urn:carelog:schema:"
	timeLayout   = "2006-01-02T15:04:05.000000Z"
)

// Event is what a document tells.
type Event struct {
	Log      uuid.UUID
	Recorded events.Recorded // without Metadata: what documents have of it follows
	Metadata events.Metadata // without the fingerprint, which is for the log alone
}

// document is read of a CloudEvent. See doc.go for the attributes.
type document struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Position        string          `json:"position"`
	Tags            string          `json:"tags"`
	Actor           string          `json:"actor"`
	Operator        string          `json:"operator"`
	CorrelationID   string          `json:"correlationid"`
	CausationID     string          `json:"causationid"`
	RequestID       string          `json:"requestid"`
	TraceParent     string          `json:"traceparent"`
	Data            json.RawMessage `json:"data"`
}

// Source is the attribute of the events of a log.
func Source(log uuid.UUID) string { return sourcePrefix + log.String() }

// LogOf is the log that a source names.
func LogOf(source string) (uuid.UUID, error) {
	id, ours := strings.CutPrefix(source, sourcePrefix)
	log, err := uuid.Parse(id)
	if err != nil || !ours {
		return uuid.Nil, fmt.Errorf("the source of events is not %s<log id>", sourcePrefix)
	}
	return log, nil
}

// Append appends the document of a recorded event of the log to b. Data and
// metadata are taken to be valid JSON, which the database's column types assert.
func Append(b []byte, log uuid.UUID, e events.Recorded) []byte {
	m, known := scanMetadata(e.Metadata)
	if !known {
		m, _ = e.DecodeMetadata() // what cannot be read is left out
	}
	b = append(b, `{"specversion":"1.0","id":"`...)
	b = append(b, e.ID.String()...)
	b = append(b, `","source":"`+sourcePrefix...)
	b = append(b, log.String()...)
	b = append(b, `","type":"`+typePrefix...)
	b = appendVersioned(b, e, ".v")
	if subject := e.Subject(); subject != "" {
		b = appendAttribute(b, "subject", subject)
	}
	b = append(b, `","time":"`...)
	b = e.RecordedAt.UTC().AppendFormat(b, timeLayout)
	b = append(b, `","datacontenttype":"application/json","dataschema":"`+schemaPrefix...)
	b = appendVersioned(b, e, ":v")
	b = append(b, `","position":"`...)
	b = strconv.AppendInt(b, int64(e.Position), 10)
	for i, tag := range e.Tags {
		if i == 0 {
			b = append(b, `","tags":"`...)
		} else {
			b = append(b, ' ')
		}
		b = appendEscaped(b, escapeTag(string(tag)))
	}
	switch {
	case m.Actor.UserID != 0:
		b = append(b, `","actor":"`+userPrefix...)
		b = strconv.AppendInt(b, m.Actor.UserID, 10)
	case m.Actor.Tool != "":
		b = appendAttribute(b, "actor", toolPrefix+m.Actor.Tool)
	}
	for _, attribute := range [...]struct{ name, value string }{
		{"operator", m.Actor.Operator},
		{"correlationid", m.CorrelationID},
		{"causationid", m.CausationID},
		{"requestid", m.RequestID},
		{"traceparent", m.TraceParent},
	} {
		if attribute.value != "" {
			b = appendAttribute(b, attribute.name, attribute.value)
		}
	}
	b = append(b, '"')
	if len(e.Data) > 0 {
		b = append(b, `,"data":`...)
		b = append(b, e.Data...)
	}
	return append(b, '}')
}

// How an actor is written.
const (
	userPrefix = "user/"
	toolPrefix = "tool/"
)

// appendAttribute ends the string before and begins the next one.
func appendAttribute(b []byte, name, value string) []byte {
	b = append(b, `","`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	return appendEscaped(b, value)
}

func appendVersioned(b []byte, e events.Recorded, separator string) []byte {
	b = appendEscaped(b, string(e.Type))
	b = append(b, separator...)
	return strconv.AppendInt(b, int64(e.SchemaVersion), 10)
}

// Parse is the inverse of [Append], whoever has written the document. The event's
// data may share memory with doc.
func Parse(doc []byte) (Event, error) {
	var d document
	if !d.scan(doc) {
		d = document{}
		if err := json.Unmarshal(doc, &d); err != nil {
			return Event{}, fmt.Errorf("not a CloudEvent in JSON: %w", err)
		}
	}
	return d.event()
}

// scan reads a document that is laid out exactly as Append does: no
// space between members, plain strings only, data last. It reports false for
// any other, which may be a CloudEvent all the same. It takes a third of the
// time that encoding/json does (go test -bench Decode).
func (d *document) scan(doc []byte) bool {
	rest, ok := bytes.CutPrefix(doc, []byte("{"))
	for ok {
		var name, value []byte
		if name, rest, ok = scanString(rest); !ok || len(rest) == 0 || rest[0] != ':' {
			return false
		}
		rest = rest[1:]
		if string(name) == "data" {
			d.Data, ok = bytes.CutSuffix(rest, []byte("}"))
			return ok && json.Valid(d.Data)
		}
		if value, rest, ok = scanString(rest); !ok || len(rest) == 0 {
			return false
		}
		switch string(name) {
		case "specversion":
			d.SpecVersion = string(value)
		case "id":
			d.ID = string(value)
		case "source":
			d.Source = string(value)
		case "type":
			d.Type = string(value)
		case "time":
			d.Time = string(value)
		case "datacontenttype":
			d.DataContentType = string(value)
		case "position":
			d.Position = string(value)
		case "tags":
			d.Tags = string(value)
		case "actor":
			d.Actor = string(value)
		case "operator":
			d.Operator = string(value)
		case "correlationid":
			d.CorrelationID = string(value)
		case "causationid":
			d.CausationID = string(value)
		case "requestid":
			d.RequestID = string(value)
		case "traceparent":
			d.TraceParent = string(value)
		}
		if len(rest) == 1 && rest[0] == '}' {
			return true
		}
		rest, ok = bytes.CutPrefix(rest, []byte(","))
	}
	return false
}

// scanMetadata reads the metadata of what a user did as it is stored. It reports
// false for any other. (A third of what encoding/json takes, on the way of every event.)
func scanMetadata(text []byte) (m events.Metadata, ok bool) {
	rest, ok := bytes.CutPrefix(text, []byte(`{"actor":{"user_id":`))
	if !ok {
		return m, false
	}
	for len(rest) > 0 && '0' <= rest[0] && rest[0] <= '9' && m.Actor.UserID < 1<<59 {
		m.Actor.UserID = 10*m.Actor.UserID + int64(rest[0]-'0')
		rest = rest[1:]
	}
	if rest, ok = bytes.CutPrefix(rest, []byte("}")); !ok {
		return m, false
	}
	for {
		if string(rest) == "}" {
			return m, true
		}
		if rest, ok = bytes.CutPrefix(rest, []byte(",")); !ok {
			return m, false
		}
		var name, value []byte
		if name, rest, ok = scanString(rest); !ok || len(rest) == 0 || rest[0] != ':' {
			return m, false
		}
		if value, rest, ok = scanString(rest[1:]); !ok {
			return m, false
		}
		switch string(name) {
		case "correlation_id":
			m.CorrelationID = string(value)
		case "causation_id":
			m.CausationID = string(value)
		case "request_id":
			m.RequestID = string(value)
		case "traceparent":
			m.TraceParent = string(value)
		}
	}
}

// scanString reads a JSON string that holds no escapes but \" and \\.
func scanString(b []byte) (value, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	b = b[1:]
	escaped := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			value, rest = b[:i], b[i+1:]
			if escaped {
				value = unescape(value)
			}
			return value, rest, true
		case c == '\\':
			if i+1 == len(b) || b[i+1] != '"' && b[i+1] != '\\' {
				return nil, nil, false
			}
			escaped = true
			i++
		case c < ' ':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

func unescape(b []byte) []byte {
	plain := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' {
			i++
		}
		plain = append(plain, b[i])
	}
	return plain
}

func (d *document) event() (ev Event, err error) {
	if d.SpecVersion != "1.0" || d.DataContentType != "application/json" {
		return Event{}, errors.New("not a CloudEvent 1.0 with JSON data")
	}
	e := &ev.Recorded
	if e.ID, err = uuid.Parse(d.ID); err != nil {
		return Event{}, fmt.Errorf("id of a CloudEvent: %w", err)
	}
	if ev.Log, err = LogOf(d.Source); err != nil {
		return Event{}, err
	}
	if e.Type, e.SchemaVersion, err = parseType(d.Type); err != nil {
		return Event{}, err
	}
	if e.RecordedAt, err = time.Parse(time.RFC3339Nano, d.Time); err != nil {
		return Event{}, fmt.Errorf("time of a CloudEvent: %w", err)
	}
	e.RecordedAt = e.RecordedAt.UTC()
	if e.Position, err = parsePosition(d.Position); err != nil {
		return Event{}, err
	}
	if d.Tags != "" {
		e.Tags = make([]events.Tag, 0, strings.Count(d.Tags, " ")+1)
		for tag := range strings.SplitSeq(d.Tags, " ") {
			e.Tags = append(e.Tags, events.Tag(unescapeTag(tag)))
		}
	}
	e.Data = d.Data
	ev.Metadata = events.Metadata{
		Actor: events.Actor{Operator: d.Operator}, CorrelationID: d.CorrelationID, CausationID: d.CausationID,
		RequestID: d.RequestID, TraceParent: d.TraceParent,
	}
	if id, ok := strings.CutPrefix(d.Actor, userPrefix); ok {
		if ev.Metadata.Actor.UserID, err = strconv.ParseInt(id, 10, 64); err != nil {
			return Event{}, errors.New("the actor of a CloudEvent is no user")
		}
	}
	if tool, ok := strings.CutPrefix(d.Actor, toolPrefix); ok {
		ev.Metadata.Actor.Tool = tool
	}
	return ev, nil
}

// parseType takes "carelog.patient.registered.v1" apart.
func parseType(s string) (events.Type, int, error) {
	name, ours := strings.CutPrefix(s, typePrefix)
	i := strings.LastIndex(name, ".v")
	if !ours || i < 1 {
		return "", 0, fmt.Errorf("the type of a CloudEvent is not %s<type>.v<schema version>", typePrefix)
	}
	version, err := strconv.Atoi(name[i+2:])
	if err != nil || version < 1 {
		return "", 0, errors.New("the type of a CloudEvent does not end with a schema version")
	}
	return events.Type(name[:i]), version, nil
}

func parsePosition(s string) (events.Position, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, errors.New("the position of a CloudEvent is not a positive number")
	}
	return events.Position(n), nil
}

// Tags are joined with spaces, so a space inside one, which none has today,
// is written %20, and then a % must be %25.
var (
	tagEscaper   = strings.NewReplacer("%", "%25", " ", "%20")
	tagUnescaper = strings.NewReplacer("%25", "%", "%20", " ")
)

func escapeTag(tag string) string {
	if strings.ContainsAny(tag, "% ") {
		return tagEscaper.Replace(tag)
	}
	return tag
}

func unescapeTag(tag string) string {
	if strings.Contains(tag, "%") {
		return tagUnescaper.Replace(tag)
	}
	return tag
}

// appendEscaped appends the inside of a JSON string. What is not valid UTF-8
// stays as it is: neither a type nor a tag nor metadata ever is, the database
// stores none.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
