// Package commands holds the decisions of Carelog: may this happen, and what
// events follow from it.
//
// Every command goes the same way (see execute.go): read the events that a query
// selects, fold them into the little state that the decision needs, decide, and
// append on the condition that nothing came in between that would have changed
// the decision. A conflict starts over; who met one takes a turn (see turns.go). The deciding parts are
// pure functions from history and command to events or a refusal; their tests
// are tables of given, when and then, without a database.
//
// The six rules, and where each is decided:
//
//  1. a user's e-mail address is unique                       user.go
//  2. a doctor's e-mail address is unique                     doctor.go
//  3. a patient and a doctor are mapped at most once          mapping.go
//  4. a mapping needs a living patient of one's own and a
//     living doctor                                           mapping.go
//  5. removing a patient or doctor ends their mappings        patient.go, doctor.go
//  6. changes of one record follow each other                 patient.go, doctor.go
//
// A condition names only the types of events that would change the decision or
// the answer, so clients that work side by side do not collide: two mappings of
// one popular doctor do not touch each other.
//
// Two things that a client may add to a change are decided in the same way. A
// precondition (precondition.go) rests on the position of the record's last
// event. An idempotency key (idempotency.go) is a tag on the first event: a
// command whose query finds that event was carried out before, and answers as it
// did then, since the answer to every command is built from the history up to
// its own events.
//
// Every method answers the position that its decision was taken on: that of its
// last event, or, for a refusal and where nothing changed, the head of the log
// that it read. Whoever waits until the read tables contain that position answers
// linearizably.
package commands
