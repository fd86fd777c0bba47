package commands

import (
	"context"

	"github.com/carelog/carelog/events"
)

// Standing is the right of a caller to act. Whatever ends it is an event, so who
// was once seen to have it need not be looked up again for a change: that is
// appended on the condition that nothing has ended it since, which the log checks
// together with all else. Where a command appends nothing, or meets a conflict,
// it looks again. (Looking each time would cost every change a round trip to the
// database.)
type Standing interface {
	// Seen is the position up to which the log says that the caller may act.
	Seen() events.Position

	// Check looks again, and fails with the reason why the caller may not act.
	Check(context.Context) error
}

// standing is the condition that the caller may still act.
func (c Caller) standing() events.AppendCondition {
	if c.Standing == nil {
		return events.AppendCondition{}
	}
	ends := []events.Type{events.UserDisabledType, events.UserPasswordChangedType}
	if c.Role != "" {
		ends = append(ends, events.UserRoleRevokedType)
	}
	return events.AppendCondition{
		FailIfMatch: events.Query{{
			Types: ends,
			Tags:  []events.Tag{events.UserTag(c.UserID)},
		}},
		After: c.Standing.Seen(),
	}
}

// check makes sure that the caller may act, where that has to be asked.
func (c Caller) check(ctx context.Context) error {
	if c.Standing == nil {
		return nil
	}
	return c.Standing.Check(ctx)
}
