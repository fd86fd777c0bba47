// Package httpapi is Carelog's REST API: routes, authentication, fields, JSON.
//
// # How a request travels
//
// Every request passes, in this order:
//
//	connections.go       how many there may be
//	request.go           gives it an id; what is known of it (trace.go: its span), and at the end
//	                     accesslog.go writes its line (log.go: other lines have the id, too; metrics.go counts it)
//	recover.go           turns a panic into a 500
//	security_headers.go  headers that every answer carries
//	limits.go            413, 414; the deadline that everything after it lives under
//	cors.go              answers preflights, where origins are allowed at all
//	routes.go            the one table of routes: 404, then the checks below
//	negotiation.go       406
//	auth.go, tokens.go   401 (keys.go: what they are signed with; verified.go remembers what was good; ticket.go: of a stream without a header)
//	account.go           403: who has a role
//	admission.go         503: how many are served at once
//	position.go          what reads and writes wait for
//	idempotency.go       400: what the client knows a change by
//	patient.go, ...      the handler, one file per noun (account.go: users, for those with a role;
//	                     history.go, asof.go: what was; events.go, then eventpage.go or eventstream.go: what is followed;
//	                     documents.go: how the API and events look; docs.go: the API page;
//	                     health.go, scrape.go: /livez, /readyz, /metrics)
//	etag.go              304, 412: what the client believes about the record
//	page.go              which part of a list it asks for
//	body.go, form.go     413, 415, 400: what the body says (room.go: how much all bodies may take)
//	throttle.go          429: login and registration, by account and client_address.go
//	errors.go            the one table from error to status, when there was one
//	write.go             JSON, to the byte (outgoing.go: bit by bit)
//
// The checks of a route come in the order of the reference application:
// Accept 406, authentication 401, role 403, method 405, existence 404, media type 415,
// JSON 400, fields 400, and before a password is hashed 429. So a request without
// credentials is told nothing else, and a record that is not there hides what is
// wrong with the body. A 503 because of too many requests comes after the 405,
// before anything of the request's record or body is looked at; for changes that
// could not even wait, before the 404 of routes. Of what Carelog adds, a header
// that cannot be read gets its 400 before existence, and a precondition that fails
// its 412 right after.
//
// # Reads
//
// A read of the tables is one query, and that query checks the state of the user in the same
// SQL statement, and that the password was not changed since the token was
// issued: one snapshot answers all. A token alone is checked without a database.
// A user who registered a moment ago may not be in the read tables yet; then the
// log is asked, and the read tables are waited for ([asUser]). Histories, what was at
// a moment (as_of) and events are read from the log; there the user is checked
// first, by a query of its own.
//
// # Writes
//
// Whether the user may act is checked by the append itself, for all but the first
// change with a token (standing.go): what ends that right is an event, so the
// command appends on the condition that there was none since the user was last
// seen to have it. What is refused before that, or changes nothing, asks; and so
// does a change after the database has gone back to an earlier state, as by a
// failover that lost commits.
//
// A write reads its body into a command, hands it to [Commands], and answers
// from what the command decided, never from the read tables. But it answers
// only when the read tables contain the position that the decision was taken
// on, be it yes or no ([api.settle]): whoever reads after the answer sees what
// the answer said, so the API is linearizable although the read tables are
// filled asynchronously. When the wait runs out, a change that is stored is
// answered with its 2xx and "Carelog-Projected: pending", since it will not be
// undone, and a refusal with 503, since it could not be seen to be true.
//
// Whether a precondition (If-Match) holds is decided with the command, and so is
// whether a request was carried out before (Idempotency-Key): both are races
// that only the log can settle. If-None-Match counts for reads of single
// records, and preconditions by date are not offered.
//
// # More than can be served
//
// Nothing here grows without a bound, however many ask:
//
//   - requests that are served, by kind, and those that wait to be, and for how
//     long ([admission]); so the database, its connections and the appender have
//     no more before them than that
//   - connections, of which the quiet ones make room for others ([connections])
//   - streams of events: 64 begin at once, others wait longer than other requests do,
//     since browsers that are refused do not try again; 2048 are open
//   - large bodies and long answers in memory, while their clients are slow
//     ([room]); headers, by [NewServer]
//   - passwords that are hashed ([ErrBusy]), and what is remembered of tokens and
//     of attempts to log in
//
// Refusing is not for nothing: it costs a third of what a change costs. A server
// that is offered twice what its CPUs can do carries out somewhat less than it
// could. What does not ask for a place is answered without a database, or by
// statements that all who ask share: /livez, /readyz, /metrics, OPTIONS, and whether a
// token's user may act.
//
// # What this package does not know
//
// It imports commands, projections (with history and feed) and events, and neither the database nor the
// bus. What it needs of accounts (passwords, refresh tokens) it declares as
// [Accounts]; the program joins the two.
package httpapi
