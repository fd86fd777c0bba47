// Package history answers from the log itself what the read tables do not keep:
// every event about a record, with old values and new ones ([Reader.History]), and
// how records were at any position of the log (asof.go).
//
// # Guarantees
//
// The log never changes, so an answer about a position that is not beyond its
// head is the same for ever. It is what the read tables held when they stood at that
// position: a test asks the API after every write of a random history, and again as of then.
//
// A patient, and the mappings of a patient, are their user's alone, also after the
// removal: the events about them carry the owner's tag, and a [Viewer] who may not see
// everything selects by it. Doctors are everybody's, and of the mappings of a
// doctor a user sees those of own patients.
//
// # What it costs
//
// An answer takes as long as there are events that it is made of, some 5 µs each,
// and memory for the records, not for the events. The list of all doctors reads
// the events about doctors and, in the index alone, one entry for each event
// about a mapping. A page of a history reads the events about the record itself
// that were before the page, too: what they made is the old value of what follows.
//
// # Why not
//
//   - Tables with periods of validity, or snapshots from time to time: they would
//     cost every write for what is asked for rarely.
//   - Old values in the events: an amendment says what changed to what, which is all
//     that a decision or a projection needs; two sources of one truth can differ.
package history
