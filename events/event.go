package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Position is the place of an event in the log: 1 for the first, then without
// gaps in the order of commit. 0 stands for "before the first event".
type Position int64

// Type names what happened, as "entity.action" in the past tense.
type Type string

// Entity is the kind of record the event is about: the part before the dot.
func (t Type) Entity() Kind {
	entity, _, _ := strings.Cut(string(t), ".")
	return Kind(entity)
}

// Kind is a kind of record; each draws its ids from a sequence of its own.
type Kind string

// The kinds of records there are.
const (
	User    Kind = "user"
	Patient Kind = "patient"
	Doctor  Kind = "doctor"
	Mapping Kind = "mapping"
)

// Event is something that happened, ready to be appended.
type Event struct {
	ID            uuid.UUID // UUIDv7, unique in the log
	Type          Type
	SchemaVersion int // of Data, 1 or more
	Tags          []Tag
	Data          json.RawMessage // the payload; kept byte for byte
	Metadata      json.RawMessage // a Metadata; kept byte for byte
}

// Subject names the record an event is about, for instance "patient/42". It is
// taken from the tag of the event's own entity and empty without one.
func (e Event) Subject() string {
	entity, id := e.subject()
	if id == "" {
		return ""
	}
	return entity + "/" + id
}

// About answers the kind and the id of the record an event is about, 0 without one.
func (e Event) About() (Kind, int64) {
	entity, text := e.subject()
	id, _ := strconv.ParseInt(text, 10, 64)
	return Kind(entity), id
}

func (e Event) subject() (entity, id string) {
	entity = string(e.Type.Entity())
	for _, tag := range e.Tags {
		if id, ok := strings.CutPrefix(string(tag), entity+":"); ok {
			return entity, id
		}
	}
	return entity, ""
}

// Recorded is an event as the log holds it.
type Recorded struct {
	Event
	Position   Position
	RecordedAt time.Time // the database's clock; never before that of the previous event

	// GroupEnd is the last position that was committed in the same transaction,
	// where the reader knows it, else 0. Who applies events in batches can wait
	// for it instead of for a timer.
	GroupEnd Position

	// TraceParent is that of Metadata, from a reader that knows it without them, else
	// empty.
	TraceParent string
}

// Metadata tells who caused an event, and in the course of what.
type Metadata struct {
	Actor         Actor  `json:"actor"`
	CorrelationID string `json:"correlation_id,omitempty"` // shared by all that one request caused
	CausationID   string `json:"causation_id,omitempty"`   // the event id that this one follows from
	RequestID     string `json:"request_id,omitempty"`     // the HTTP request, as in the server's log
	TraceParent   string `json:"traceparent,omitempty"`    // the request's place in a trace (W3C Trace Context): its span, where that is traced, else what it told

	// Fingerprint tells what a request with an idempotency key asked for, so that
	// another one under the same key is noticed. It is a keyed hash, on the event
	// that has the tag of the key.
	Fingerprint string `json:"fingerprint,omitempty"`
}

// DecodeMetadata answers the event's metadata.
func (e Event) DecodeMetadata() (Metadata, error) {
	var m Metadata
	if err := json.Unmarshal(e.Metadata, &m); err != nil {
		return m, fmt.Errorf("decode the metadata of event %s: %w", e.ID, err)
	}
	return m, nil
}

// Actor is who acts: a user, or a tool run by an operator.
type Actor struct {
	UserID   int64  `json:"user_id,omitempty"`
	Tool     string `json:"tool,omitempty"`     // like "carelog users"
	Operator string `json:"operator,omitempty"` // the tool's user in the operating system
}

// Errors that the log answers with, whatever stores it.
var (
	// ErrConflict: an event that matches the append condition was there; nothing
	// was appended. Read again, decide again.
	ErrConflict = errors.New("the log has moved on: an event matches the append condition")

	// ErrFuture: the log is asked about a time that has not come yet.
	ErrFuture = errors.New("this time has not come yet")

	// ErrUnavailable: the log cannot be reached now. What was to be appended
	// is not there, unless the error also is an ErrOutcomeUnknown.
	ErrUnavailable = errors.New("the event log cannot be reached")

	// ErrOutcomeUnknown: the connection was lost during a commit and it could
	// not be found out in time whether the events are there.
	ErrOutcomeUnknown = errors.New("it is unknown whether the events were stored")
)

// UnknownTypeError is answered for an event of a type, or of a schema version,
// that this program does not know: a newer program wrote it.
type UnknownTypeError struct {
	Type          Type
	SchemaVersion int
}

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("event type %q, schema version %d, is unknown to this program: run a newer carelog", e.Type, e.SchemaVersion)
}
