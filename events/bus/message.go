package bus

import (
	"fmt"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/cloudevent"
)

const (
	// SubjectPrefix begins the NATS subject of every event; entity and action
	// follow: "carelog.events.patient.registered".
	SubjectPrefix = "carelog.events"

	// AllSubjects is the NATS subject filter, and so the Watermill topic, that
	// selects every event.
	AllSubjects = SubjectPrefix + ".>"
)

// Headers of a message, in NATS and as Watermill metadata.
const (
	HeaderPosition    = "Carelog-Position"        // decimal, 1 or more
	HeaderGroupEnd    = "Carelog-Group-End"       // the last position of the same append transaction; absent when unknown
	HeaderLog         = "Carelog-Log"             // the id of the log
	HeaderSubject     = "Carelog-Subject"         // the record the event is about, "patient/42"
	HeaderContentType = "Content-Type"            // application/cloudevents+json
	HeaderUUID        = "_watermill_message_uuid" // Watermill's message UUID: the event id. The name is that of watermill-nats
)

// subjectKey is the metadata key by which a Watermill message asks for a NATS
// subject other than the topic it is published to, so that one Publish can
// carry a chain of events of several types. It is not sent.
const subjectKey = "nats-subject"

// Encode returns the Watermill message that carries a recorded event of the
// log: a CloudEvent as payload, and what a reader needs without decoding it as
// metadata.
func Encode(log uuid.UUID, e events.Recorded) *message.Message {
	msg := message.NewMessage(e.ID.String(), payload(log, e))
	msg.Metadata[subjectKey] = SubjectPrefix + "." + string(e.Type)
	setHeaders(log, e, func(name, value string) { msg.Metadata[name] = value })
	return msg
}

// payload is the CloudEvent, in one allocation.
func payload(log uuid.UUID, e events.Recorded) []byte {
	return cloudevent.Append(make([]byte, 0, 700+len(e.Data)+2*len(e.Metadata)), log, e)
}

// setHeaders sets the headers of an event's message, but for HeaderUUID.
func setHeaders(log uuid.UUID, e events.Recorded, set func(name, value string)) {
	set(HeaderPosition, strconv.FormatInt(int64(e.Position), 10))
	set(HeaderLog, log.String())
	set(HeaderContentType, cloudevent.ContentType)
	if e.GroupEnd != 0 {
		set(HeaderGroupEnd, strconv.FormatInt(int64(e.GroupEnd), 10))
	}
	if subject := e.Subject(); subject != "" {
		set(HeaderSubject, subject)
	}
}

// decode is the inverse of [Encode]: it answers the log the event belongs to and
// the event, equal to the one that was encoded but for the time zone (UTC) of
// RecordedAt, which counts whole microseconds, and the metadata, of which the
// traceparent alone is left. The event may share memory with the payload.
func decode(payload []byte, groupEnd string) (uuid.UUID, events.Recorded, error) {
	e, err := cloudevent.Parse(payload)
	if err != nil {
		return uuid.Nil, events.Recorded{}, fmt.Errorf("decode a message: %w", err)
	}
	e.Recorded.GroupEnd = parsePosition(groupEnd)
	e.Recorded.TraceParent = e.Metadata.TraceParent
	return e.Log, e.Recorded, nil
}

// parsePosition is 0 for what is not a position of an event.
func parsePosition(s string) events.Position {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0
	}
	return events.Position(n)
}

// natsMessage turns a Watermill message into one for NATS.
func natsMessage(topic string, msg *message.Message) *nats.Msg {
	out := &nats.Msg{Subject: topic, Data: msg.Payload, Header: make(nats.Header, len(msg.Metadata)+2)}
	values := make([]string, 0, len(msg.Metadata)+1) // one allocation for all one-element slices
	set := func(key, value string) {
		values = append(values, value)
		out.Header[key] = values[len(values)-1 : len(values) : len(values)]
	}
	for key, value := range msg.Metadata {
		if key == subjectKey {
			out.Subject = value
			continue
		}
		set(key, value)
	}
	set(HeaderUUID, msg.UUID)
	return out
}

// watermillMessage is the inverse of natsMessage. Of several values under one
// header the first counts.
func watermillMessage(in jetstream.Msg) *message.Message {
	header := in.Headers()
	msg := message.NewMessage(header.Get(HeaderUUID), in.Data())
	for key, values := range header {
		if key != HeaderUUID && key != jetstream.ExpectedLastSeqHeader && len(values) > 0 {
			msg.Metadata[key] = values[0]
		}
	}
	return msg
}
