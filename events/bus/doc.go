// Package bus carries recorded events from the log to those who apply them, and to
// subscribers of other systems:
// Watermill over NATS JetStream. It is the one home of both in Carelog.
//
//	relay → Carrier → Publisher → NATS stream → Subscriber → Router → Feed → projections
//
// Where to look:
//
//	conn.go                          the connection, which comes and goes
//	message.go                       what an event looks like in NATS
//	carrier.go, publisher.go         how events get there; stream.go: what keeps them
//	subscriber.go, subscription.go,  how the projections of this process get them. This [Feed] is not
//	batch.go, feed.go                that of package projections/feed, which clients follow over HTTP
//	guard.go                         what subscribers of other systems may do, which read by themselves
//	look.go, replay.go               tools
//
// # Who is authoritative
//
// The log in Postgres. The NATS stream is a bounded carrier of it: it may be
// lost, wiped, purged or cut at any time, and NATS may be away for as long as it
// likes, without harm to any projection. So acknowledgements of JetStream, its
// sequences and its redelivery decide nothing here; positions do. They are
// gapless, so a duplicate, a gap or a reordering is seen at once. Progress is the
// projections' own checkpoint, moved in the transaction of their rows.
//
// # What is guaranteed
//
//   - [Feed] delivers events in order of position without a gap. What is not
//     behind the checkpoint is dropped, what is missing before an event is read
//     from the log and delivered first. "Position at or below the checkpoint" is
//     the only deduplication there is, so it does not end after some minutes.
//   - No error skips an event. A delivery that fails because the database is
//     away is tried again for ever, any other failure ends [Feed.Run] with it.
//   - Events of another log, messages that are no events, and positions that the
//     log does not have are never delivered; [Feed.Err] tells of them.
//   - [Carrier.Publish] that succeeds has put all of its events onto the NATS
//     stream, one behind the other with nothing between them. After a failure,
//     [Carrier.Resume] answers a position up to which nothing that it was given
//     is missing there.
//   - A second Carrier, such as that of a process which lost its lock and does not
//     know it yet, fails at the fence and leaves no duplicate and no gap.
//   - Whatever is lost comes back by itself: the connection, the server, the
//     consumer, the NATS stream. Only a NATS stream of another log needs a
//     human, and the error says what to do.
//
// # What is not
//
//   - When the feed is silent it may be because nothing happened or because the
//     NATS stream was wiped behind its back. Who needs to know compares with the head of
//     the log; the projections' runner does when it has heard nothing for a while.
//   - The NATS stream need not hold every event: it begins somewhere, and after
//     it was wiped it goes on from the projections' checkpoint, which two Carriers
//     on an empty NATS stream may know differently. It may hold an event twice,
//     after a foreign message stood in its place. Subscribers outside Carelog go
//     by position, like the feed.
//   - The NATS stream is not proof against a log that lost its own end (a restore
//     from a backup): such a log must get a new id.
//
// # The fence
//
// Events are published as a chain: each message names the sequence that the NATS
// stream must have reached before it (Nats-Expected-Last-Sequence), so each is
// stored at one certain sequence or not at all. The position that a publisher
// goes on behind and the sequence that it expects are read from one and the same
// message: pairs from two moments let a stale chain break into the middle of
// another's. Two publishers that reckon with the same pair store the same event
// at the same sequence, whoever comes first.
//
// The messages of a chain are sent at once and every one asks for a reply, as
// only that tells a foreign message in the place of one's own; asking for the last
// reply alone was not measurably cheaper (BenchmarkPublishChain, ten events: 0.1 ms
// with a server in the same process, mostly the server's). JetStream's atomic
// batches cost some 3.5 ms each, however small. There is no Nats-Msg-Id: the fence
// is exact, while the server's window of ids ends after some minutes, takes
// memory for each, and takes a purged id for a duplicate.
//
// # Subscribers of other systems
//
// Each has a NATS account to itself, into which it imports what it may ask of JetStream, as the
// domain "carelog": reading, and its own consumers. Permissions within one account
// do not do: an answer of JetStream goes to the subject that the request names for it, so whoever may
// ask anything at all could write to carelog.events. In accounts of their own they share no
// inboxes either. A [Guard] makes the consumers. A durable one has its subscriber's
// name, which the permissions of the others deny, also when the subscriber is one no more;
// what somebody made by that name before there was the subscriber is deleted. Names of
// others are random and cannot be listed.
//
// A subscriber reads all events: who must not see some of them has to follow by HTTP.
//
// # Batches
//
// One Watermill message carries a [Batch] of consecutive events: what has
// arrived, never waiting for more, except for the rest of an append group whose
// beginning is there. One acknowledgement is then one database transaction, while
// Watermill's contract is kept (nothing more before the acknowledgement) and with
// it order, Router, Retry and Recoverer. With batches of one and without the fence
// Publisher and Subscriber pass Watermill's own suite (pubsub/tests).
//
// The consumer is ordered: in the server's memory, without acknowledgements, begun at
// the checkpoint, made anew at every failure. A durable consumer's state
// would be a second truth beside the checkpoint, and after a crash it delivers new
// messages before unacknowledged old ones.
//
// # Replays
//
// [Replay] publishes events once more, for whoever wants to try or to fill something
// else. It does so in plain NATS and on subjects of its own with an id each time, never on
// those of the NATS stream: there a second copy would break the chain, and subscribers
// would take it for news. The header Carelog-Replay tells replayed events from new
// ones wherever they get to. It creates no NATS stream: who wants the events kept
// makes one over the subjects, and then each is acknowledged by it.
//
// # Why not watermill-nats
//
// Both subscribers of watermill-nats v2.1.3 wait for the acknowledgement of each
// single message, so a projection would pay a commit per event. Besides, they lose
// messages that are not acknowledged in time (pkg/nats acknowledges by itself), delete a
// durable consumer on closing, send on a closed channel when cancelled, panic on a
// header with two values, and fall silent when the consumer is deleted. Its
// publishers make one round trip per message and cannot put events of one call on
// subjects of their own. Its header for the message UUID is kept.
//
// # Wire format
//
// An event is one NATS message on the subject carelog.events.<entity>.<action>,
// for instance carelog.events.patient.registered. The record's id is no part of it,
// since the server keeps some 300 bytes in memory for every subject. The payload
// is the CloudEvent that package cloudevent writes. Headers, for those who do
// not want to open the payload:
//
//	Carelog-Position         the position
//	Carelog-Group-End        the last position of the same append transaction; absent when unknown
//	Carelog-Log              the log's id
//	Carelog-Subject          "patient/42"
//	Content-Type             "application/cloudevents+json"
//	_watermill_message_uuid  the event id
//
// The payload holds personal data, just as the log does; subjects, headers, this
// package's errors and what it logs do not.
package bus
