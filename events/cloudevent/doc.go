// Package cloudevent writes recorded events as what other systems get of them, over
// NATS and HTTP, and reads it: CloudEvents 1.0, JSON format, structured mode. It is
// the contract with subscribers, and the one place that knows it.
//
// # The document
//
//	specversion      "1.0"
//	id               the event id, a UUIDv7
//	source           "/carelog/logs/" + the log's id
//	type             "carelog." + event type + ".v" + schema version: "carelog.patient.registered.v1"
//	subject          the record it is about: "patient/42"; absent for none
//	time             when it was recorded, RFC 3339, UTC, six decimals; never to be ordered by
//	datacontenttype  "application/json"
//	dataschema       "urn:carelog:schema:" + event type + ":v" + schema version: the $id of its JSON Schema
//	data             the event's data, byte for byte as the log has it
//
// and these extension attributes, all strings, those without a value absent:
//
//	position         decimal; a string since integers of CloudEvents have 32 bits
//	tags             separated by spaces; in a tag, % is %25 and a space %20
//	actor            who acted: "user/3", or "tool/carelog users" for an operator's tool
//	operator         who ran the tool: a user of the operating system
//	correlationid    shared by all events that one request caused
//	causationid      the id of the event that this one follows from
//	requestid        the HTTP request, as in the answer's X-Request-Id and in the server's log
//	traceparent      the request's place in a trace: its span where Carelog traces it, else what the client
//	                 told (W3C Trace Context; CloudEvents' Distributed Tracing extension)
//
// # What subscribers can rely on
//
//   - Order: positions are 1, 2, 3 … without a gap, in the order of commit. HTTP delivers
//     in this order, and NATS to a consumer that needs no acknowledgements, or has one event
//     unacknowledged at a time (max_ack_pending 1, which Carelog sets where a consumer
//     does not say). With more, after a crash newer events come first: then handle only
//     the one after the last position and refuse the others (nak), and do without a filter, which
//     hides gaps.
//   - At least once: an event may come twice. What is at or below the last position
//     that was handled is dropped; no other deduplication is needed. source and id
//     together are unique, too.
//   - A position means nothing without source: after a restore or an import the log has
//     another id. Who sees another source than before has to start over, from
//     position 0.
//   - A log that loses its last events and keeps its id, as by a failover to a standby
//     that did not have them yet, gives their positions to other events. Who
//     resumes, or finds its consumer gone, asks the HTTP feed with after and after_id, position and id of
//     the last event: 409 says that it was lost, and to start over. An open stream of
//     Server-Sent Events ends with the reason went_back.
//   - Types are never renamed, and a published version never changes its schema. A
//     new version is a new type here (".v2"), with all fields needed to handle it without
//     the old one. What a subscriber does not know it must not fail on.
//   - The NATS stream is bounded by age and size, and may be purged: what it no longer
//     holds is in the log, and the HTTP feed reads that from the first event on.
//   - An event that is removed from the log for good will be told by a patient.erased
//     event; who has kept a copy of that patient's data must then delete it.
//
// The document holds personal data, as the log does.
package cloudevent
