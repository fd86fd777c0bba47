// Command carelog serves the Carelog API, and looks into its log and mends its
// tables from the command line. See `carelog --help`.
//
// It is where the parts are put together: program.go starts and stops all of a
// server, its own PostgreSQL and NATS included; pipeline.go is what lies between a
// command and the read tables (pipeline_parts.go makes its parts). No other package knows of them all. doc.go of each
// tells what it guarantees, and why it is as it is.
//
// # A change
//
// POST /api/patients/ goes through the files like this:
//
//  1. httpapi/routes.go finds the handler. On the way is the middleware: request
//     id and access log, panics, security headers, limits, CORS; then content
//     negotiation, auth.go, and a place among those that are served
//     (admission.go). Whether the user may still act is checked by the append of
//     step 4 (standing.go).
//  2. httpapi/patient.go reads the fields (body.go, json.go, form.go, fields.go)
//     and calls the command.
//  3. commands/patient.go decides what follows. execute.go gets what it needs to
//     know, draws an id (eventstore/ids.go), appends, and starts over on a
//     conflict. A new patient needs nothing. An amendment needs the record:
//     records.go takes it from the read tables (projections/records.go) with the
//     position that they contain, and the append fails if the log has something
//     newer about it. Refusals are decided on the events since then as well
//     (eventstore/read.go).
//  4. eventstore/append.go puts it into the queue (queue.go), and the appender
//     appends it together with whoever else is waiting, in one transaction
//     (append.sql).
//  5. eventstore/relay.go hands the committed events to events/bus/carrier.go,
//     which publishes them on the NATS stream.
//  6. events/bus/subscription.go takes them from there in batches (batch.go);
//     feed.go sees to it that they come in order and without gaps.
//  7. pipeline.go delivers them to projections/apply.go, which applies a batch
//     (projections/patient.go) and moves the checkpoints (checkpoint.go), in one
//     transaction.
//  8. projections/progress.go wakes the request that waits for its position in
//     httpapi/position.go, and httpapi/patient.go answers 201.
//
// # A query
//
// GET /api/patients/1/ goes httpapi/patient.go → projections/patient.go, one SQL
// statement (lookups.go), which those who ask at the same time share (shared.go).
// …/history/ and ?as_of= go httpapi/history.go or asof.go → projections/history →
// eventstore/read.go. GET /api/events/ goes httpapi/events.go → eventpage.go (a stream:
// eventstream.go) → projections/feed, and is written by events/cloudevent.
//
// # Everything else
//
// What a kind of record needs is in the files of its name in every layer. A login
// goes httpapi/user.go → commands/user.go, and by accounts.go to
// eventstore/accounts. A command of the command line is the file of its name here;
// those that work on the database stand on operator.go. config.go has the settings,
// certificate.go HTTPS, metrics.go and traces.go what is told of the process,
// notify.go what systemd is told. The files of an export are eventstore/archive. Systems
// that follow over NATS are let in by nats.go (nats_listen.go: at an address) with what
// nats_accounts.go allows to those that subscribers.go reads, and starts again when these
// change; their consumers are made by events/bus/guard.go.
package main
