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
	wanted := events.QueryItem{Types: f.Types, Tags: f.Tags}
	if !wanted.Matches(e.Type, e.Tags) {
		return false
	}
	return f.Viewer.All || e.Type.Entity() == events.Doctor || slices.Contains(e.Tags, events.OwnerTag(f.Viewer.User))
}

// selections are parts of the log that have no event in common and hold all that the
// filter lets through; some hold more.
func (f Filter) selections() []events.Selection {
	tags := events.NarrowFirst(f.Tags)
	if f.Viewer.All {
		if len(tags) > 0 {
			return []events.Selection{{Query: events.Query{{Types: f.Types, Tags: tags}}}}
		}
		return f.ofTypes()
	}
	var all []events.Selection
	doctors := f.typesOf(events.Doctor)
	if len(f.Types) == 0 || len(doctors) < len(f.Types) {
		own := append(slices.Clip(tags), events.OwnerTag(f.Viewer.User))
		all = append(all, events.Selection{Query: events.Query{{Types: f.Types, Tags: own}}})
	}
	if len(f.Types) > 0 && len(doctors) == 0 {
		return all
	}
	if len(tags) == 0 {
		return append(all, events.Selection{Kind: events.Doctor, Types: doctors})
	}
	if len(doctors) == 0 {
		doctors = []events.Type{events.DoctorRegisteredType, events.DoctorAmendedType, events.DoctorRemovedType}
	}
	return append(all, events.Selection{Query: events.Query{{Types: doctors, Tags: tags}}})
}

// ofTypes are the selections of the types, kind by kind. Events that are not about a
// record are only found by looking at the whole log.
func (f Filter) ofTypes() []events.Selection {
	var all []events.Selection
	found := 0
	for _, kind := range []events.Kind{events.User, events.Patient, events.Doctor, events.Mapping} {
		if types := f.typesOf(kind); len(types) > 0 {
			all = append(all, events.Selection{Kind: kind, Types: types})
			found += len(types)
		}
	}
	if found < len(f.Types) || len(f.Types) == 0 {
		return []events.Selection{{}}
	}
	return all
}

// typesOf are those of the types that are of a kind.
func (f Filter) typesOf(kind events.Kind) []events.Type {
	var types []events.Type
	for _, t := range f.Types {
		if t.Entity() == kind {
			types = append(types, t)
		}
	}
	return types
}
