package commands

import (
	"slices"

	"github.com/carelog/carelog/events"
)

// IfMatch is what the sender of a command believes about the record: that its
// last event is one of these positions. The zero value claims nothing.
type IfMatch struct {
	Given     bool              // without positions: nothing matches
	Positions []events.Position // in any order
}

// Check answers ErrPreconditionFailed unless the record's last event is at a
// position that matches.
func (m IfMatch) Check(last events.Position) error {
	if m.Given && !slices.Contains(m.Positions, last) {
		return ErrPreconditionFailed
	}
	return nil
}
