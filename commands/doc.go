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
// # Long histories
//
// A record that was amended ten thousand times is as cheap to amend as a new one:
// what its events up to a position C have made of it stands in a row of the read
// tables, and C beside it ([Records], see records.go). The row is taken for one
// fact, the registration of the record as it is now; then the deciding parts need
// not know where a history comes from.
//
// That is safe although the tables are always a little behind:
//   - Rows and C are read in one snapshot, and they change in the same
//     transactions. So the rows are what a fold of the log up to C gives, exactly,
//     whether C is recent or not; and they stay that, whatever happens afterwards.
//   - Events are appended on the condition that nothing which would have changed
//     the decision, or the answer, was appended after C. The log checks that. If it
//     holds, the state at C is, for this decision, the state at the moment of the
//     append, as with a condition after the head: only the interval is longer. That
//     a condition leaves out what does not matter, as amendments when a patient is
//     removed, is as right over the longer interval.
//   - Without events there is no condition that could be checked. So a refusal,
//     and that nothing changes, is never taken from the rows as they are, which
//     may lack what was answered to somebody else already. The events after C are
//     read, up to the head, and it is decided on both together; that is the state
//     at the head, which is the position that is answered, as if all of the history
//     had been read. So it goes after a conflict, too.
//   - Where the event of an earlier request with the same idempotency key is, the
//     rows cannot tell. The log is searched for its tag, from the beginning, after
//     the rows were read, so up to some H that is not before C. What comes after C
//     the condition covers. When it is found, the whole history is read from the
//     log, and the answer is that of the first time.
//   - Where the tables do not stand at one position, or are not of this log and
//     program, or where nobody gives a service [Records], the history is read from
//     the log. UnmapDoctor, and whatever is about users, has short histories and
//     does so always; RegisterPatient needs none.
//
// It rests on the tables being what the log has made of them. A row that was
// altered by hand, or that a mistake of a projection has made, is decided on. The
// program compares tables with the log, and builds them anew, for that reason too.
//
// The tests compare every command, at every position that the tables may be at,
// with what comes of it by the log alone, and show that they find out when a
// condition begins after the head, when C is not that of the rows, or when the log
// is not asked.
//
// # Rules
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
// Besides, an id is one record's only. Ids are drawn once, but a database that went
// back to an earlier state, as a failover that loses commits makes it do, draws some
// again: a new record is appended on the condition that nothing has its tag.
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
// # Positions
//
// Every method answers the position that its decision was taken on: that of its
// last event, or, for a refusal and where nothing changed, the head of the log
// that it read. Whoever waits until the read tables contain that position answers
// linearizably.
package commands
