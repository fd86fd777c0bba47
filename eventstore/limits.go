package eventstore

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
)

// Bounds of one Append. A removal that ends 10,000 mappings fits ten times over.
// An event must fit into one message of the bus, which NATS takes up to 1 MiB,
// with its metadata escaped.
const (
	maxEvents      = 100_000
	maxEventBytes  = 256 << 10 // of data, metadata and tags
	maxAppendBytes = 64 << 20  // of all events
	maxTags        = 64        // of an event
	maxNameBytes   = 255       // of a tag or a type
)

// validate answers how many bytes the events have, or what is wrong with them
// that the database would not say, or only to the whole group.
func validate(evs []events.Event, conditions []events.AppendCondition) (bytes int, err error) {
	if len(evs) == 0 {
		return 0, errors.New("no events given")
	}
	if len(evs) > maxEvents {
		return 0, fmt.Errorf("%d events given, at most %d go into one append", len(evs), maxEvents)
	}
	for _, e := range evs {
		if e.ID == uuid.Nil || !isName(string(e.Type)) || e.SchemaVersion < 1 || e.SchemaVersion > math.MaxInt32 {
			return 0, fmt.Errorf("event %s of type %q, schema version %d, lacks an id, a type or a version", e.ID, e.Type, e.SchemaVersion)
		}
		if len(e.Tags) > maxTags {
			return 0, fmt.Errorf("event %s has %d tags, at most %d are taken", e.ID, len(e.Tags), maxTags)
		}
		size := len(e.Data) + len(e.Metadata)
		for i, tag := range e.Tags {
			if !isName(string(tag)) {
				return 0, fmt.Errorf("event %s has a tag that is empty, over %d bytes, no UTF-8, or holds a control character", e.ID, maxNameBytes)
			}
			if slices.Contains(e.Tags[:i], tag) {
				return 0, fmt.Errorf("event %s has the tag %q twice", e.ID, tag)
			}
			size += len(tag)
		}
		if size > maxEventBytes {
			return 0, fmt.Errorf("event %s has %d bytes, at most %d are taken", e.ID, size, maxEventBytes)
		}
		bytes += size
	}
	if bytes > maxAppendBytes {
		return 0, fmt.Errorf("the events have %d bytes, at most %d go into one append", bytes, maxAppendBytes)
	}
	for _, condition := range conditions {
		if err := validateQuery(condition.FailIfMatch); err != nil {
			return 0, err
		}
	}
	return bytes, nil
}

func validateQuery(query events.Query) error {
	for _, item := range query {
		for _, tag := range item.Tags {
			if !isName(string(tag)) {
				return fmt.Errorf("the condition has a tag that is empty, over %d bytes, no UTF-8, or holds a control character", maxNameBytes)
			}
		}
		for _, t := range item.Types {
			if !isName(string(t)) {
				return fmt.Errorf("the condition has a type that is empty, over %d bytes, no UTF-8, or holds a control character", maxNameBytes)
			}
		}
	}
	return query.Validate()
}

// isName tells whether a tag or type can be stored and found again.
func isName(s string) bool {
	return s != "" && len(s) <= maxNameBytes && utf8.ValidString(s) && !strings.ContainsFunc(s, isControl)
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
