package main

import (
	"encoding/json"

	"github.com/carelog/carelog/events/cloudevent"
)

const uuidPattern = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`

// envelope is the schema of the CloudEvent around every event's data. The attributes
// are explained in package cloudevent.
func envelope(example json.RawMessage) object {
	text := func(description, pattern string) object {
		return object{{"type", "string"}, {"pattern", pattern}, {"description", description}}
	}
	free := func(description string) object {
		return object{{"type", "string"}, {"minLength", 1}, {"description", description}}
	}
	constant := func(value string) object { return object{{"type", "string"}, {"const", value}} }
	return object{
		{"$schema", dialect},
		{"$id", cloudevent.EnvelopeSchema},
		{"title", "cloudevent"},
		{"description", "A recorded event as subscribers get it: a CloudEvent 1.0 in JSON, structured mode. What data holds is told by the schema that dataschema names."},
		{"type", "object"},
		{"properties", object{
			{"specversion", constant("1.0")},
			{"id", text("The event id, a UUIDv7; unique.", `^`+uuidPattern+`$`).with("format", "uuid")},
			{"source", text("Names the log by its id. A position means nothing without it: who sees another source than before starts over, from position 0.", `^/carelog/logs/`+uuidPattern+`$`)},
			{"type", text("carelog. + event type + .v + schema version.", `^carelog\..+\.v[1-9][0-9]*$`)},
			{"subject", text("The record that the event is about, like patient/42; absent for none.", `^[^/]+/.`)},
			{"time", text("When it was recorded, in UTC with six decimals; never to be ordered by.", `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$`).with("format", "date-time")},
			{"datacontenttype", constant("application/json")},
			{"dataschema", text("The $id of the schema of data.", `^urn:carelog:schema:.+:v[1-9][0-9]*$`)},
			{"position", text("The place in the log: 1, 2, 3 and so on without a gap, in decimal. What is at or below the last position that was handled is a duplicate.", `^[1-9][0-9]*$`)},
			{"tags", text("What the event can be selected by, separated by spaces; in a tag, % is written %25 and a space %20.", `^[^ ]+( [^ ]+)*$`)},
			{"actor", text("Who acted: user/3, or tool/carelog users for an operator's tool.", `^user/[1-9][0-9]*$|^tool/.`)},
			{"operator", free("Who ran the tool: a user of the operating system.")},
			{"correlationid", free("Shared by all events that one request caused.")},
			{"causationid", free("The id of the event that this one follows from.")},
			{"requestid", free("The HTTP request, as in the answer's X-Request-Id and in the server's log.")},
			{"traceparent", free("The trace that the request belonged to (W3C Trace Context).")},
			{"data", object{{"type", "object"}, {"description", "What happened, as the log has it."}}},
		}},
		{"required", []string{"specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "position", "data"}},
		{"examples", []json.RawMessage{example}},
	}
}
