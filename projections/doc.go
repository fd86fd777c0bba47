// Package projections turns the log into tables that reads are answered from,
// applies events to them, and tells when they contain what was written.
//
// # Reading
//
// [Queries] answers each read by one SQL statement, so from one snapshot, which
// also tells whether the user who asks is known and active, and whether the
// password was changed since the [Session] began. Those who ask for single records
// at the same time share a statement (shared.go): 32 readers at a time take 9 µs
// each instead of 24 on 2 cores that run PostgreSQL as well (BenchmarkPatient).
//
// The log alone is authoritative, and the tables can be made again out of it at
// any time. Commands decide by them all the same, since they save reading long
// histories: [Records] answers how records are together with the position of the
// log at which they are so, and a command checks with the log, by the condition of
// its append or by reading on from there, that nothing has changed that since. So
// the tables may be behind. They may not be wrong for their position: an altered
// row would not only be read, but also be decided on, and [Verify] and [Rebuild]
// are the remedy. Projections that do not all stand at one position, as while one
// is new, tell nothing, and the whole history is read from the log.
//
// What the tables do not keep, package history reads from the log, and package feed
// hands on what is new.
//
// # Applying
//
// A [Projection] folds the events of a batch into the final state of the rows
// they touch and writes those with a few statements, each for many rows: first
// deletes, then updates, then inserts. Constraints that could be violated between
// two of these statements are deferred to the end of the transaction. However the
// log is cut into batches, the same rows result. The removal of a patient or
// doctor ends the mappings with it, in the same transaction: no half cascade can
// be read, whatever batch the mapping.removed events are in.
//
// Rows are found by their key even where the planner takes a table for empty,
// because it was analysed before it was filled: no index but the primary key
// holds an id, and updates look up the places of their rows before they join
// them, which leaves no choice. A test fills tables after they were analysed.
//
// The [Runner] runs one transaction for each batch, in one round trip. It holds
// the rows of all projections and moves the checkpoint of each by compare-and-set,
// as its first statement. Hence:
//   - tables and checkpoint never differ, whatever crashes when;
//   - of two runners that apply the same events one fails, and changes nothing;
//   - an event at or below the checkpoint was applied, so it is dropped. There is
//     no other deduplication, and no acknowledgement of the bus counts as
//     progress.
//
// The transaction is committed with synchronous_commit on. A row that an answer
// was given for would else be missing after a crash of the database, until it is
// applied again.
//
// Events come from whoever calls [Runner.Apply], which is the subscription to the
// bus. When the bus delivers nothing for 250 ms while the log is ahead, the runner
// reads the log itself, until it has caught up: a bus that is down costs latency,
// not availability. [Runner.Applied] counts both; in normal running nothing comes
// from the log.
//
// # An event that cannot be applied
//
// stops the runner, loudly: skipping it would answer wrong reads for ever. When a
// batch fails for another reason than the connection, its events are applied one
// by one, so that the one at fault is known and all before it are applied. The log
// of the program, the checkpoint rows and [Progress.Live] tell position, type and
// reason; of errors only SQLSTATE and constraint are told, since their texts quote
// data. Running the runner again tries the event again. For an event type that this
// program does not know, Run ends, so that the lease is free for a newer process.
//
// # One runner
//
// The [Lease], a session advisory lock on a connection of its own, picks the
// process that runs it; the others stand by. The lease keeps processes out of each
// other's way, but correctness does not rest on it: a holder that hangs and wakes
// up finds the checkpoints moved ([ErrMoved]).
//
// # Waiting
//
// [Progress] is how a request waits until the read tables contain what it wrote.
// It is woken by this process's runner or, through LISTEN, by that of another;
// a poll of the checkpoints makes up for lost notifications. The wait ends with
// [ErrPending] after 5 seconds: the event is durable and will be applied.
//
// # Rebuilding
//
// [Rebuild] makes tables like the live ones in a schema of their own, fills them
// by the same Apply, and puts them in the place of the live ones: when they have
// caught up, one transaction locks the checkpoints, so that no runner moves,
// applies the last events, locks the tables, and exchanges them. So the new tables
// stand exactly where the old ones stood, and whoever waits for a position, joins
// one rebuilt table with others, or holds a prepared statement, notices nothing.
// It is one transaction, so wherever a rebuild is killed, the old tables serve or
// the new ones do.
//
// That a statement sees the new tables whole rests on read committed, where a
// snapshot is taken after the locks are had. In a transaction with an older
// snapshot they look half filled: that is so for a dump which begins during the
// switch. The log in it is whole.
//
// A projection whose schema version has grown is rebuilt by the newer program,
// while an older one serves. From the switch on the older one applies nothing
// more: it compares the schema version together with the position.
//
// [Verify] fills temporary tables in the same way, and compares them with the
// live ones in one snapshot, which shows rows and checkpoints of one moment and
// holds nobody up.
//
// # Why not
//
//   - Emptying the live tables and filling them again, in one transaction or with
//     one TRUNCATE: readers would wait for all of it, or see nothing.
//   - COPY, or indexes made afterwards, for filling: amendments and removals
//     need the rows that are there, and it is fast enough (BenchmarkRebuild).
//   - A subscription for each projection: the reads of one request could then
//     show one of two tables ahead of the other, and each batch would cost several
//     transactions.
//   - Foreign keys and upserts: they would hide a log that is wrong, or repeat what
//     it has decided. An id that is registered twice must stop the runner.
//   - Statements with schema names: tables are found by search_path, so that new
//     ones can be filled beside those that serve.
package projections
