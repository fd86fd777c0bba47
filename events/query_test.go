package events

import (
	"slices"
	"testing"
)

// TestNarrowFirst: the order that tags come in otherwise stays.
func TestNarrowFirst(t *testing.T) {
	given := []Tag{"owner:3", "doctor:7", "patient:1", "mapping:5", "user-email:x"}
	want := []Tag{"mapping:5", "user-email:x", "patient:1", "doctor:7", "owner:3"}
	if got := NarrowFirst(given); !slices.Equal(got, want) || given[0] != "owner:3" {
		t.Errorf("%v, of %v", got, given)
	}
}

func TestSelectionMatches(t *testing.T) {
	e := Event{Type: PatientAmendedType, Tags: []Tag{PatientTag(1), OwnerTag(2)}}
	user, operator := Actor{UserID: 2}, Actor{Tool: "carelog users", Operator: "root"}
	ofPatient := Query{{Tags: []Tag{DoctorTag(1)}}, {Types: []Type{PatientAmendedType}, Tags: []Tag{PatientTag(1)}}}
	for _, test := range []struct {
		selected Selection
		actor    Actor
		want     bool
	}{
		{Selection{}, user, true},
		{Selection{After: 5, Until: 6}, user, true},
		{Selection{Query: ofPatient}, user, true},
		{Selection{Query: ofPatient[:1]}, user, false},
		{Selection{Query: ofPatient, Actor: Actor{UserID: 3}}, user, false},
		{Selection{Kind: Patient}, user, true},
		{Selection{Kind: Mapping}, user, false},
		{Selection{Kind: Patient, Actor: user}, user, true},
		{Selection{Actor: user}, operator, false},
		{Selection{Actor: operator}, operator, true},
		{Selection{Actor: Actor{Tool: "carelog users"}}, operator, true},
		{Selection{Actor: Actor{Tool: "carelog users", Operator: "jane"}}, operator, false},
		{Selection{Actor: Actor{Operator: "root"}}, user, false},
	} {
		if got := test.selected.Matches(e, test.actor); got != test.want {
			t.Errorf("%+v of %+v: %v", test.selected, test.actor, got)
		}
	}
}
