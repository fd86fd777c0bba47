package client

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
)

// Checkpoint is how far somebody has come: the last event that was handled. The zero
// Checkpoint is before the first event. A position alone would not do: in another log, or
// in one that was put back to an earlier state, it is that of another event.
type Checkpoint struct {
	Log      uuid.UUID
	Position events.Position
	ID       uuid.UUID // of the event
}

// String is how a Checkpoint is stored: log, position and event id, with slashes between;
// nothing for the zero Checkpoint.
func (c Checkpoint) String() string {
	if c == (Checkpoint{}) {
		return ""
	}
	return fmt.Sprintf("%s/%d/%s", c.Log, c.Position, c.ID)
}

// ParseCheckpoint reads what [Checkpoint.String] has written; space around it does not
// matter.
func ParseCheckpoint(text string) (c Checkpoint, err error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return c, nil
	}
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return c, fmt.Errorf("read a checkpoint: %q is not log/position/id", text)
	}
	c.Log, err = uuid.Parse(parts[0])
	if err == nil {
		var position int64
		position, err = strconv.ParseInt(parts[1], 10, 64)
		c.Position = events.Position(position)
	}
	if err == nil {
		c.ID, err = uuid.Parse(parts[2])
	}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read a checkpoint: %q: %w", text, err)
	}
	return c, nil
}

// check tells whether it is that of an event.
func (c Checkpoint) check() error {
	if c.Position <= 0 || c.Log == uuid.Nil || c.ID == uuid.Nil {
		return errors.New("a checkpoint has the log, the position and the id of an event")
	}
	return nil
}
