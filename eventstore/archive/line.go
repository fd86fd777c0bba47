package archive

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
)

const timeLayout = "2006-01-02T15:04:05.000000Z"

// appendLine appends the line of a row, with its line break. It is written by hand:
// encoding/json would take four times as long, and write the documents in another way
// than they are stored.
func appendLine(b []byte, r eventstore.Row) []byte {
	b = append(b, `{"position":`...)
	b = strconv.AppendInt(b, int64(r.Position), 10)
	b = append(b, `,"id":"`...)
	b = append(b, r.ID.String()...)
	b = append(b, `","type":`...)
	b = appendString(b, string(r.Type))
	b = append(b, `,"schema_version":`...)
	b = strconv.AppendInt(b, int64(r.SchemaVersion), 10)
	b = append(b, `,"tags":[`...)
	for i, tag := range r.Tags {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, string(tag))
	}
	b = append(b, ']')
	b = appendDocument(b, "data", r.Data)
	b = appendDocument(b, "metadata", r.Metadata)
	b = append(b, `,"salt":"`...)
	b = base64.StdEncoding.AppendEncode(b, r.Salt)
	b = append(b, `","recorded_at":"`...)
	b = r.RecordedAt.UTC().AppendFormat(b, timeLayout)
	return append(b, '"', '}', '\n')
}

const whiteSpace = " \t\r\n" // of JSON

// appendDocument appends a JSON document such that a reader finds the same bytes.
func appendDocument(b []byte, name string, document []byte) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	if text := string(document); strings.ContainsAny(text, "\r\n") || text != strings.Trim(text, whiteSpace) {
		b = append(b, `_text":`...)
		return appendString(b, text)
	}
	b = append(b, '"', ':')
	return append(b, document...)
}

// appendString appends a JSON string. The text is valid UTF-8: the database stores
// nothing else.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// line is what is read of one.
type line struct {
	Position      int64           `json:"position"`
	ID            string          `json:"id"`
	Type          events.Type     `json:"type"`
	SchemaVersion int             `json:"schema_version"`
	Tags          []events.Tag    `json:"tags"`
	Data          json.RawMessage `json:"data"`
	DataText      *string         `json:"data_text"`
	Metadata      json.RawMessage `json:"metadata"`
	MetadataText  *string         `json:"metadata_text"`
	Salt          []byte          `json:"salt"`
	RecordedAt    time.Time       `json:"recorded_at"`
}

var errNoEvent = errors.New("no event")

// parseLine is the inverse of appendLine. The row may share memory with the text.
func parseLine(text []byte) (eventstore.Row, error) {
	if r, ok := scanLine(text); ok {
		return r, nil
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return eventstore.Row{}, errNoEvent // what is wrong with it might quote it
	}
	if l.DataText != nil {
		l.Data = json.RawMessage(*l.DataText)
	}
	if l.MetadataText != nil {
		l.Metadata = json.RawMessage(*l.MetadataText)
	}
	id, err := uuid.Parse(l.ID)
	if err != nil || l.Position < 1 || l.Type == "" || l.SchemaVersion < 1 || len(l.Data) == 0 || len(l.Metadata) == 0 || l.RecordedAt.IsZero() {
		return eventstore.Row{}, errNoEvent
	}
	var r eventstore.Row
	r.Event = events.Event{ID: id, Type: l.Type, SchemaVersion: l.SchemaVersion, Tags: l.Tags, Data: l.Data, Metadata: l.Metadata}
	r.Position, r.RecordedAt, r.Salt = events.Position(l.Position), l.RecordedAt.UTC(), l.Salt
	return r, nil
}
