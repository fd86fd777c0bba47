package feed

import (
	"slices"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections/history"
)

// Filter says which events somebody wants and may see.
type Filter struct {
	Viewer history.Viewer
	Types  []events.Type // any of them; none: all
	Tags   []events.Tag  // all of them
}

// Matches tells whether the filter lets an event through. Who does not see everything
// sees what is about own patients and their mappings, and about doctors.
func (f Filter) Matches(e events.Recorded) bool {
	if len(f.Types) > 0 && !slices.Contains(f.Types, e.Type) {
		return false
	}
	for _, tag := range f.Tags {
		if !slices.Contains(e.Tags, tag) {
			return false
		}
	}
	return f.Viewer.All || e.Type.Entity() == events.Doctor || slices.Contains(e.Tags, events.OwnerTag(f.Viewer.User))
}

// selections are parts of the log that have no event in common and hold all that the
// filter lets through, and others.
func (f Filter) selections() []events.Selection {
	switch {
	case f.Viewer.All && len(f.Tags) > 0:
		return []events.Selection{{Query: events.Query{{Types: f.Types, Tags: f.Tags}}}}
	case f.Viewer.All:
		return []events.Selection{{Kind: f.kind()}}
	}
	own := events.Selection{Query: events.Query{{Types: f.Types, Tags: append(slices.Clip(f.Tags), events.OwnerTag(f.Viewer.User))}}}
	doctors := events.Selection{Kind: events.Doctor}
	if len(f.Tags) > 0 {
		doctors = events.Selection{Query: events.Query{{
			Types: []events.Type{events.DoctorRegisteredType, events.DoctorAmendedType, events.DoctorRemovedType}, Tags: f.Tags,
		}}}
	}
	return []events.Selection{own, doctors}
}

// kind is that of all types, if they have one.
func (f Filter) kind() events.Kind {
	for _, t := range f.Types {
		if t.Entity() != f.Types[0].Entity() {
			return ""
		}
	}
	if len(f.Types) == 0 {
		return ""
	}
	return f.Types[0].Entity()
}
