// Package feed gives events to those who follow the log over HTTP: what there was,
// and then what happens, in order and without a gap.
//
// [Hub.Read] reads what a [Filter] lets through from the log. [Hub.Follow] hands out
// new events as they are committed: while somebody follows, one goroutine reads them
// from the log, once for all, as soon as the read tables contain them, which is
// known in every process ([projections.Progress]). It keeps the last few thousand;
// each follower has no more than a position in them, so a follower who is slow holds
// nobody up and costs no memory. One who falls behind what is kept is told so and goes:
// with the position of the last event that was sent nothing is missed.
//
// # A log that goes back
//
// A failover that loses commits gives the positions of lost events to others, and the log
// may have grown past them before this process sees it. So an event is known by its [Place],
// position and id: [Hub.Check] looks whether the log still has it, the hub compares its
// last one whenever it reads on, and the one that a follower has got with its own. Whoever
// has got an event that is lost gets [ErrWentBack], and nothing more.
//
// # What it costs
//
// An event is read and written as JSON once, and filtered for each follower. To find
// what is a user's own in a long log costs as many events as are the user's, and
// a look at one index entry for each event about a doctor; near the end of the log
// all events are read and filtered.
package feed
