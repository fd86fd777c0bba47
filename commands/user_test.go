package commands

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/carelog/carelog/events"
)

func granted(id int64, role events.Role) draft {
	return draft{events.UserRoleGranted{UserID: id, Role: role}, []events.Tag{events.UserTag(id)}}
}

func revoked(id int64, role events.Role) draft {
	return draft{events.UserRoleRevoked{UserID: id, Role: role}, []events.Tag{events.UserTag(id)}}
}

// TestAmendingAUser: each difference is an event, and where there is none nothing
// is appended. The answer is the user as the events have left it.
func TestAmendingAUser(t *testing.T) {
	yes, no := true, false
	roles := func(roles ...events.Role) *[]events.Role { return &roles }
	for name, c := range map[string]struct {
		given   []draft
		command AmendUser
		then    []events.Payload
		want    User
		err     error
	}{
		"nothing is asked for": {nil, AmendUser{}, nil, User{}, nil},
		"is so already":        {[]draft{granted(2, events.Admin)}, AmendUser{Active: &yes, Roles: roles(events.Admin)}, nil, User{Roles: *roles(events.Admin)}, nil},
		"is disabled":          {nil, AmendUser{Active: &no}, []events.Payload{events.UserDisabled{UserID: 2}}, User{Disabled: true}, nil},
		"is enabled":           {[]draft{disabled(2)}, AmendUser{Active: &yes}, []events.Payload{events.UserEnabled{UserID: 2}}, User{}, nil},
		"gets all roles": {nil, AmendUser{Roles: roles(events.Auditor, events.Admin, events.Auditor)},
			[]events.Payload{events.UserRoleGranted{UserID: 2, Role: events.Admin}, events.UserRoleGranted{UserID: 2, Role: events.Auditor}},
			User{Roles: *roles(events.Admin, events.Auditor)}, nil},
		"changes roles and is disabled": {[]draft{granted(2, events.Admin)}, AmendUser{Active: &no, Roles: roles(events.Auditor)},
			[]events.Payload{events.UserDisabled{UserID: 2}, events.UserRoleRevoked{UserID: 2, Role: events.Admin}, events.UserRoleGranted{UserID: 2, Role: events.Auditor}},
			User{Disabled: true, Roles: *roles(events.Auditor)}, nil},
		"loses all roles": {[]draft{granted(2, events.Admin), granted(2, events.Auditor), revoked(2, events.Admin)}, AmendUser{Roles: roles()},
			[]events.Payload{events.UserRoleRevoked{UserID: 2, Role: events.Auditor}}, User{Roles: *roles()}, nil},
		"is not there": {nil, AmendUser{ID: 3, Active: &no}, nil, User{}, ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s, h := given(t, append([]draft{user(1, "a@x"), user(2, "b@x"), granted(1, events.Admin)}, c.given...)...)
			if c.command.ID == 0 {
				c.command.ID = 2
			}
			if c.err == nil {
				c.want.ID, c.want.Name, c.want.Email, c.want.RegisteredAt = 2, "John Doe", "b@x", noon
			}
			got, at, err := s.AmendUser(t.Context(), Caller{UserID: 1}, c.command)
			if want := events.Position(len(h.given) + len(c.then)); !errors.Is(err, c.err) || at != want {
				t.Errorf("at %d, %v, want %d, %v", at, err, want, c.err)
			}
			if len(got.Roles)+len(c.want.Roles) == 0 {
				got.Roles, c.want.Roles = nil, nil
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("answered %+v, want %+v", got, c.want)
			}
			var payloads []events.Payload
			for _, e := range h.appended {
				payload, err := registry.Decode(e)
				if err != nil || !slices.Equal(e.Tags, []events.Tag{"user:2"}) {
					t.Errorf("tags %v, %v", e.Tags, err)
				}
				payloads = append(payloads, payload)
			}
			if !slices.Equal(payloads, c.then) {
				t.Errorf("appended %+v, want %+v", payloads, c.then)
			}
			if len(c.then) > 0 && !h.condition.FailIfMatch.Matches(events.UserRoleRevokedType, []events.Tag{"user:2"}) {
				t.Error("a change of roles meanwhile is no conflict")
			}
		})
	}
}

// TestGrantingAndRevoking: what was done meanwhile by others stays.
func TestGrantingAndRevoking(t *testing.T) {
	s, h := given(t, user(2, "b@x"))
	step := func(what string, changed bool, at events.Position, err error, wantChanged bool, want ...events.Role) {
		t.Helper()
		h.keep()
		user, _, loadErr := s.User(t.Context(), 2)
		if err != nil || loadErr != nil || changed != wantChanged || !slices.Equal(user.Roles, want) || at != events.Position(len(h.given)) {
			t.Errorf("%s: changed %t at %d, roles %v, %v", what, changed, at, user.Roles, err)
		}
	}
	operator := Caller{Tool: "carelog users", Operator: "ann"}
	h.meanwhile = []draft{granted(2, events.Admin)}
	changed, at, err := s.GrantRole(t.Context(), operator, 2, events.Auditor)
	step("granted", changed, at, err, true, events.Admin, events.Auditor)
	changed, at, err = s.GrantRole(t.Context(), operator, 2, events.Auditor)
	step("granted again", changed, at, err, false, events.Admin, events.Auditor)
	h.meanwhile = []draft{revoked(2, events.Auditor)}
	changed, at, err = s.RevokeRole(t.Context(), operator, 2, events.Admin)
	step("revoked", changed, at, err, true)
	changed, at, err = s.RevokeRole(t.Context(), operator, 2, events.Admin)
	step("revoked again", changed, at, err, false)
	if _, _, err := s.GrantRole(t.Context(), operator, 3, events.Admin); !errors.Is(err, ErrNotFound) {
		t.Errorf("a user who is not there: %v", err)
	}
	last := h.given[len(h.given)-1]
	if got, want := string(last.Metadata), `{"actor":{"tool":"carelog users","operator":"ann"}}`; got != want {
		t.Errorf("metadata %s, want %s", got, want)
	}
}
