package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/bus"
	"github.com/carelog/carelog/events/cloudevent"
)

// version is a published version of an event type.
type version struct {
	of     events.Type
	number int
}

func (v version) String() string { return versioned(v.of, v.number) }

// ways is what the AsyncAPI document says about how events are got, before the contract.
const ways = "What happened in Carelog, for other systems, as a subscriber sees it. An event is the same CloudEvent whichever way it is got:\n\n" +
	"  - Over NATS, from the JetStream stream `" + bus.StreamName + "`. Its subjects are entity and action: `" + bus.SubjectPrefix + ".patient.registered`, " +
	"`" + bus.SubjectPrefix + ".patient.*` for all about patients, `" + bus.AllSubjects + "` for all. A subscriber reads by a consumer of its own.\n" +
	"  - Over HTTP, from the feed: a page of JSON, lines of JSON, or Server-Sent Events. It has every event from the first on.\n\n" +
	"The JSON Schemas are in this document and, one by one, at `/api/events/schemas/`.\n\n"

func ref(parts ...string) object { return object{{"$ref", "#/" + strings.Join(parts, "/")}} }

// asyncAPI is the AsyncAPI 3.0 document of all published versions, oldest first, and
// their schemas and that of the envelope by the name of their file.
func asyncAPI(contract string, versions []version, schemas map[string]json.RawMessage) object {
	onNATS, fed := messagesOnNATS(versions), messageInFeed(versions)
	channels, operations := object{}, object{}
	for _, v := range versions {
		name := string(v.of)
		channel, there := onNATS[v.of]
		if !there {
			continue // with an earlier version
		}
		delete(onNATS, v.of)
		channels = append(channels, member{name, object{
			{"address", bus.SubjectPrefix + "." + name},
			{"servers", []object{ref("servers", "nats")}},
			{"messages", channel},
		}})
		operations = append(operations, member{name, object{{"action", "receive"}, {"channel", ref("channels", name)}}})
	}
	channels = append(channels, member{"feed", object{
		{"address", "/api/events/"},
		{"description", feedWords},
		{"servers", []object{ref("servers", "http")}},
		{"messages", object{{"event", ref("components", "messages", "event")}}},
	}})
	operations = append(operations, member{"feed", object{
		{"action", "receive"},
		{"channel", ref("channels", "feed")},
		{"bindings", object{{"http", object{{"method", "GET"}, {"query", feedQuery}, {"bindingVersion", "0.3.0"}}}}},
	}})
	return object{
		{"asyncapi", "3.0.0"},
		{"id", "urn:carelog:events"},
		{"info", object{{"title", "Carelog events"}, {"version", "1.0.0"}, {"description", ways + contract}}},
		{"defaultContentType", cloudevent.ContentType},
		{"servers", servers},
		{"channels", channels},
		{"operations", operations},
		{"components", object{
			{"messages", append(messages(versions), fed)},
			{"schemas", append(componentSchemas(schemas), member{"headers", headers})},
			{"securitySchemes", securitySchemes},
		}},
	}
}

var servers = object{
	{"nats", object{
		{"host", "{host}:{port}"},
		{"protocol", "nats"},
		{"description", "NATS with JetStream, where the installation lets subscribers in."},
		{"variables", object{{"host", object{{"default", "127.0.0.1"}}}, {"port", object{{"default", "4222"}}}}},
		{"security", []object{ref("components", "securitySchemes", "natsUser")}},
	}},
	{"http", object{
		{"host", "{host}:{port}"},
		{"protocol", "http"},
		{"description", "Carelog's REST API; https where the installation has it."},
		{"variables", object{{"host", object{{"default", "127.0.0.1"}}}, {"port", object{{"default", "8000"}}}}},
		{"security", []object{ref("components", "securitySchemes", "accessToken"), ref("components", "securitySchemes", "ticket")}},
	}},
}

var securitySchemes = object{
	{"natsUser", object{
		{"type", "userPassword"},
		{"description", "A user of the NATS server who may read the stream, and neither publish nor delete."},
	}},
	{"accessToken", object{
		{"type", "http"}, {"scheme", "bearer"}, {"bearerFormat", "JWT"},
		{"description", "The access token from POST /api/auth/login/. Which events are shown depends on its user."},
	}},
	{"ticket", object{
		{"type", "httpApiKey"}, {"name", "ticket"}, {"in", "query"},
		{"description", "For the EventSource of browsers, which sends no token: a ticket from POST /api/events/ticket/, good once and for Server-Sent Events alone."},
	}},
}

const feedWords = `Events in order of position, as the Accept header asks: a page (application/json) {"results": [event, ...], "next": position, "next_id": id of the event there, "head": position, "source": the log, "all": whether the user sees all events}, ` +
	`one event a line (application/x-ndjson), or Server-Sent Events (text/event-stream) whose id is the position and that go on with what happens; ` +
	`the header Last-Event-ID resumes them. The last one, named end, has {"reason", "detail"}.`

var feedQuery = object{
	{"type", "object"},
	{"properties", object{
		{"after", object{{"type", "integer"}, {"minimum", 0}, {"description", "The position to begin behind; without it the first event is the first of the log."}}},
		{"after_id", object{{"type", "string"}, {"format", "uuid"}, {"description", "The id of the event at that position: 409 when the log has another there, or none."}}},
		{"types", object{{"type", "string"}, {"description", "Any of these event types, separated by commas, like patient.registered; without it all."}}},
		{"tags", object{{"type", "string"}, {"description", "All of these tags, separated by commas, like patient:42."}}},
		{"limit", object{{"type", "integer"}, {"minimum", 1}, {"description", "How many events at most, in a page up to 1000; without it a page has 100, and lines have all. Server-Sent Events have no limit: 400."}}},
	}},
}

// headers of a message in NATS.
var headers = object{
	{"type", "object"},
	{"description", "For those who do not want to open the payload."},
	{"properties", object{
		{bus.HeaderPosition, object{{"type", "string"}, {"pattern", "^[1-9][0-9]*$"}, {"description", "The event's position."}}},
		{bus.HeaderLog, object{{"type", "string"}, {"format", "uuid"}, {"description", "The log's id."}}},
		{bus.HeaderSubject, object{{"type", "string"}, {"description", "The record that the event is about, like patient/42; absent for none."}}},
		{bus.HeaderGroupEnd, object{{"type", "string"}, {"pattern", "^[1-9][0-9]*$"}, {"description", "The position of the last event that was recorded in the same transaction; absent when unknown."}}},
		{bus.HeaderContentType, object{{"type", "string"}, {"const", cloudevent.ContentType}}},
		{bus.HeaderUUID, object{{"type", "string"}, {"format", "uuid"}, {"description", "The event id."}}},
	}},
	{"required", []string{bus.HeaderPosition, bus.HeaderLog, bus.HeaderContentType, bus.HeaderUUID}},
}

// messagesOnNATS are, for each type, the messages of its subject: one for each version.
func messagesOnNATS(versions []version) map[events.Type]object {
	channels := map[events.Type]object{}
	for _, v := range versions {
		channels[v.of] = append(channels[v.of], member{v.String(), ref("components", "messages", v.String())})
	}
	return channels
}

func messages(versions []version) object {
	var all object
	for _, v := range versions {
		all = append(all, member{v.String(), object{
			{"name", cloudevent.TypeOf(v.of, v.number)},
			{"title", v.String()},
			{"contentType", cloudevent.ContentType},
			{"headers", ref("components", "schemas", "headers")},
			{"payload", payloadOf(v)},
		}})
	}
	return all
}

// payloadOf is the envelope around the data of one version.
func payloadOf(v version) object {
	return object{
		{"allOf", []object{ref("components", "schemas", "cloudevent")}},
		{"properties", object{
			{"type", object{{"const", cloudevent.TypeOf(v.of, v.number)}}},
			{"dataschema", object{{"const", cloudevent.SchemaOf(v.of, v.number)}}},
			{"data", ref("components", "schemas", v.String())},
		}},
	}
}

// messageInFeed is any event, without the headers of NATS.
func messageInFeed(versions []version) member {
	var any []object
	for _, v := range versions {
		any = append(any, ref("components", "messages", v.String(), "payload"))
	}
	return member{"event", object{
		{"title", "Any event"},
		{"contentType", cloudevent.ContentType},
		{"payload", object{{"oneOf", any}}},
	}}
}

func componentSchemas(schemas map[string]json.RawMessage) object {
	var all object
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		all = append(all, member{strings.TrimSuffix(name, ".json"), schemas[name]})
	}
	return all
}
