// Package eventstore keeps the log: every change of Carelog, once, in order, in
// Postgres. The log is the truth; the NATS stream and the read tables are made
// of it and may be lost.
//
// # What is guaranteed
//
//   - An append is all or nothing, and durable when it is answered.
//   - It happens only if its conditions hold, each of them: no event that matches
//     a query exists after a position, and the log reaches up to there. Races between
//     any number of processes are decided by the database.
//   - Positions are 1, 2, 3 … without gaps and in the order of commit: a reader
//     that has seen position n never finds a new event at or below n. So a
//     reader needs nothing but "position > what I have".
//   - recorded_at is the database's clock, read under the lock; it never runs
//     backwards along positions.
//   - No answer is wrong when a connection is lost during a commit: the appender
//     ends the old session and asks for its event ids before it answers anyone.
//     An answer that does not come over a connection that seems to live is missed
//     after 2 seconds, and its outcome asked for in the same way.
//   - While the database is away nobody waits in vain: appends are refused, at
//     once when that lasts longer than half a second. Nothing but a caller's own
//     context, the end of the process, or a minute without a database leaves
//     somebody in doubt.
//
// # How
//
// All appends take one transaction-scoped advisory lock, as the transaction's
// own first statement, in READ COMMITTED; the next statement numbers from the
// head. Lock and head in one statement, or a higher isolation level, would read
// the head of a snapshot that is older than the lock. A bigserial without the
// lock would be faster and lose events: a reader passes a number that is not
// committed yet. Order by transaction ids can invert within one record and does
// not survive dump and restore.
//
// One lock is fast because of group commit: one appender for each process sends
// what waits as one transaction, in one round trip (append.go, queue.go). While
// a commit is under way the next group gathers, so groups grow with the load,
// with slow disks and with several processes. There is no timer. A member whose
// condition fails gets its conflict alone; one whose condition an earlier member
// may break waits for the next group; a group with a faulty event is divided
// until that one is refused alone. A group has 500 events and 4 MiB at most,
// unless one append has more.
//
// Every statement under the lock has a timeout. A holder that was stopped while
// it sent its group has none: whoever waits for the lock in vain for 5 seconds
// ends its session.
//
// The condition is checked by index probes of event_tags. They are scalar
// subqueries on purpose: as an EXISTS, the generic plan that Postgres caches on
// an empty log was a scan of all tags, and appends crawled until the first
// ANALYZE. A test appends 20,000 events to a fresh log.
//
// The tests hold all this against a real Postgres: a checker replays the log and
// compares it with every answer, after races of many stores, killed sessions and
// faults of the network. Stores without the lock, with the lock in the statement
// that needs it, under a higher isolation level, or numbered by a sequence are
// found out by the same tests.
//
// The relay (relay.go) hands every event to a Publisher, in order, resuming
// after the last one that arrived. What this process committed is handed over in
// memory; everything else is read from the log.
//
// # Export and import
//
// [Store.Rows] answers all that the log holds of events, for those who write it into
// files (package archive). An [Importer] makes a log of that: in one transaction under
// the append lock, into a log that has no event yet, so there is never half of one. It
// gets an id of its own, and the tag key of the old one, without which its tags would
// find nothing. What an import adds is the one event log.imported at its end.
//
// # What is not here
//
// Nothing about what events mean, no bus, no read tables. The migrations of the
// whole database are here, because they have one order.
//
// For production a role without UPDATE and DELETE on events, event_tags and log
// is enough for this package.
package eventstore
