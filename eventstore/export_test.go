package eventstore

import (
	"fmt"
	"maps"
	"runtime"
	"strings"

	"github.com/carelog/carelog/events"
)

// LockStatement takes the append lock.
var LockStatement = fmt.Sprintf("select pg_advisory_xact_lock(%d)", appendLock)

// AwaitWaiting waits until so many appends wait for the next group.
func (s *Store) AwaitWaiting(n int) {
	for waiting := -1; waiting < n; runtime.Gosched() {
		s.appends.mu.Lock()
		waiting = len(s.appends.waiting)
		s.appends.mu.Unlock()
	}
}

// AwaitDrawing waits until so many wait for the next drawing of ids.
func (s *Store) AwaitDrawing(kind events.Kind, n int) {
	d := s.draws[kind]
	for waiting := -1; waiting < n; runtime.Gosched() {
		d.mu.Lock()
		waiting = len(d.waiting)
		d.mu.Unlock()
	}
}

// The methods below take a part of the guarantees away from a store that does
// not run yet. The suite must find out.

// DropLock lets stores append at the same time.
func (s *Store) DropLock() { s.transaction.lock = `select $1::bigint` }

// NumberBySequence numbers without the lock, as a bigserial column does.
func (s *Store) NumberBySequence(sequence string) {
	s.DropLock()
	s.replaceInInsert("head.position + row_number() over (order by given.ordinal) as position",
		fmt.Sprintf("nextval('%s') as position", sequence))
}

// MergeStatements takes the lock in the statement that needs it.
func (s *Store) MergeStatements() {
	s.DropLock()
	s.replaceInInsert("with head as materialized (",
		"with locked as materialized ("+LockStatement+"), head as materialized (")
	s.replaceInInsert("from events\n), failed", "from events, locked\n), failed")
}

// TrustPositions believes that the log reaches as far as a condition says.
func (s *Store) TrustPositions() {
	s.replaceInInsert("when probe.after > (select position from head)", "when false")
}

// RaiseIsolation gives both statements the snapshot of the first.
func (s *Store) RaiseIsolation() {
	s.transaction.settings = maps.Clone(s.transaction.settings)
	s.transaction.settings["default_transaction_isolation"] = "repeatable read"
}

func (s *Store) replaceInInsert(old, replacement string) {
	if strings.Count(s.transaction.insert, old) != 1 {
		panic("append.sql does not hold once: " + old)
	}
	s.transaction.insert = strings.Replace(s.transaction.insert, old, replacement, 1)
}

// HasSpareIDs tells whether ids were drawn ahead that may still be given out.
func (s *Store) HasSpareIDs(kind events.Kind) bool {
	d := s.draws[kind]
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hasSpare()
}

// AwaitOldIDs waits until the last drawing of ids is long ago.
func (s *Store) AwaitOldIDs(kind events.Kind) {
	d := s.draws[kind]
	for old := false; !old; runtime.Gosched() {
		d.mu.Lock()
		old = !d.justDrawn()
		d.mu.Unlock()
	}
}
