package projections

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Projection makes read tables out of events. It has no state of its own.
type Projection interface {
	// Name is the key of its checkpoint.
	Name() string

	// SchemaVersion is that of its tables. It grows when tables that were filled
	// by an older program must be filled anew.
	SchemaVersion() int

	// Tables are the names of its tables, without a schema. Each has a primary
	// key, which holds no personal data.
	Tables() []string

	// Apply queues what the events change in the tables. The batch is run as one
	// transaction, together with the checkpoints and the other projections, in
	// one round trip. Tables are named without a schema, and only its own.
	//
	// The events follow each other in the log. Applied in any split into
	// batches, they must leave the same rows. Types that it does not know are
	// not its business.
	Apply(batch *pgx.Batch, evs []Applied) error
}

// Applied is an event on its way into the read tables, decoded once for all
// projections.
type Applied struct {
	Position events.Position
	ID       uuid.UUID
	Payload  events.Payload
}

// All returns every projection of this program, in the order in which queries
// name their tables: a rebuild, which locks them in this order, then never waits
// for a reader who waits for it.
func All() []Projection {
	return []Projection{users{}, mappings{}, patients{}, doctors{}}
}

// Named returns the projections with these names, all of them where there are no
// names, in the order of [All].
func Named(names ...string) ([]Projection, error) {
	var named []Projection
	var known []string
	for _, p := range All() {
		known = append(known, p.Name())
		if len(names) == 0 || slices.Contains(names, p.Name()) {
			named = append(named, p)
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no projection %q: there are %s", name, strings.Join(known, ", "))
		}
	}
	return named, nil
}

// changes collects what a batch does to the records of one kind, in the order
// of events. C is the net change to one record.
type changes[C any] struct {
	list   []*C
	latest map[int64]*C
}

// begin adds a change to the record with this id that later ones do not merge
// with earlier ones: its registration.
func (c *changes[C]) begin(id int64, change *C) {
	if c.latest == nil {
		c.latest = map[int64]*C{}
	}
	c.list = append(c.list, change)
	c.latest[id] = change
}

// of returns the change to the record with this id, to merge more into it.
func (c *changes[C]) of(id int64) *C {
	if change, known := c.latest[id]; known {
		return change
	}
	change := new(C)
	c.begin(id, change)
	return change
}

// merge sets a field to its new value, where there is one.
func merge[V any](field **V, value *V) {
	if value != nil {
		*field = value
	}
}
