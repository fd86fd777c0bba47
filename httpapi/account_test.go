package httpapi

import (
	"testing"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

const (
	userJSON  = `{"id":1,"name":"John Doe","email":"john@example.com","active":true,"roles":[],"registered_at":"2026-11-23T02:35:36.958725Z"}`
	noRight   = `{"detail":"You do not have permission to perform this action."}`
	amended   = `{"id":2,"name":"John Doe","email":"john@example.com","active":false,"roles":["auditor"],"registered_at":"2026-11-23T02:35:36.958725Z"}`
	userAgain = `{"id":2,"name":"John Doe","email":"john@example.com","active":true,"roles":[],"registered_at":"2026-11-23T02:35:36.958725Z"}`
)

// TestWhoMaySeeAccounts: the order of checks is that of the reference: 401, then 403,
// then 405 and 404.
func TestWhoMaySeeAccounts(t *testing.T) {
	type statuses map[string]int // by role
	for _, c := range []struct {
		request string
		want    statuses
	}{
		{"GET /api/users/", statuses{"": 403, "auditor": 200, "admin": 200, "nobody": 401}},
		{"POST /api/users/", statuses{"": 403, "auditor": 405, "admin": 405, "nobody": 401}},
		{"OPTIONS /api/users/", statuses{"": 403, "auditor": 200, "admin": 200, "nobody": 401}},
		{"GET /api/users/1/", statuses{"": 200, "auditor": 200, "admin": 200, "nobody": 401}},
		{"GET /api/users/2/", statuses{"": 403, "auditor": 200, "admin": 200, "nobody": 401}},
		{"GET /api/users/9/", statuses{"": 403, "auditor": 404, "admin": 404, "nobody": 401}},
		{"GET /api/users/x/", statuses{"": 404, "auditor": 404, "admin": 404, "nobody": 404}},
		{"PATCH /api/users/2/", statuses{"": 403, "auditor": 403, "admin": 200, "nobody": 401}},
		{"PATCH /api/users/1/", statuses{"": 403, "auditor": 403, "admin": 200, "nobody": 401}},
		{"DELETE /api/users/2/", statuses{"": 403, "auditor": 405, "admin": 405, "nobody": 401}},
		{"GET /api/users/2/history/", statuses{"": 403, "admin": 403, "nobody": 401}},
	} {
		for role, want := range c.want {
			w := newWorld(t)
			if role != "" && role != "nobody" {
				w.queries.roles = map[int64][]events.Role{1: {events.Role(role)}}
			}
			method, path, _ := cut(c.request)
			var headers []string
			if role == "nobody" {
				headers = append(headers, nobody)
			}
			body := ""
			if method == "PATCH" {
				body = "{}"
			}
			got := w.do(method, path, body, headers...)
			if got.Code != want || want == 403 && got.Body.String() != noRight {
				t.Errorf("%s as %q: %d %s, want %d", c.request, role, got.Code, got.Body, want)
			}
		}
	}
	w := newWorld(t)
	expect(t, w.do("GET", "/api/users/1/", ""), 200, userJSON)
	w.queries.roles = map[int64][]events.Role{1: {events.Admin}}
	expect(t, w.do("GET", "/api/users/?limit=1&offset=1", ""), 200, `{"count":2,"next":null,"previous":"http://example.com/api/users/?limit=1","results":[`+userAgain+`]}`)
	w.queries.users[1] = projections.ErrInactiveUser
	if got := w.do("GET", "/api/users/1/", ""); got.Code != 401 {
		t.Errorf("a disabled user: %d", got.Code)
	}
}

func cut(request string) (method, path string, ok bool) {
	for i := range request {
		if request[i] == ' ' {
			return request[:i], request[i+1:], true
		}
	}
	return "", "", false
}

func TestAmendingAUser(t *testing.T) {
	yes, no := true, false
	for body, want := range map[string]commands.AmendUser{
		`{}`:                {ID: 2},
		`{"active":false}`:  {ID: 2, Active: &no},
		`{"active":"true"}`: {ID: 2, Active: &yes},
		`{"roles":[]}`:      {ID: 2, Roles: &[]events.Role{}},
		`{"roles":["admin","auditor"],"active":true}`: {ID: 2, Active: &yes, Roles: &[]events.Role{"admin", "auditor"}},
	} {
		w := newWorld(t)
		w.queries.roles = map[int64][]events.Role{1: {events.Admin}}
		expect(t, w.do("PATCH", "/api/users/2/", body), 200, amended) // as the command has decided
		got, _ := w.commands.got.(commands.AmendUser)
		if got.ID != want.ID || !same(got.Active, want.Active) || (got.Roles == nil) != (want.Roles == nil) || got.Roles != nil && len(*got.Roles) != len(*want.Roles) {
			t.Errorf("%s: %+v", body, got)
		}
		if w.commands.seen == 0 || w.commands.caller.Role != events.Admin {
			t.Errorf("%s: the admin's right to act is not checked by the append", body)
		}
	}
	for body, want := range map[string]string{
		`{"active":1}`:            `{"active":["Must be a valid boolean."]}`,
		`{"active":"maybe"}`:      `{"active":["Must be a valid boolean."]}`,
		`{"active":null}`:         `{"active":["This field may not be null."]}`,
		`{"roles":"admin"}`:       `{"roles":["Expected a list of items but got type \"str\"."]}`,
		`{"roles":[1]}`:           `{"roles":["Not a valid string."]}`,
		`{"roles":["superuser"]}`: `{"roles":["\"superuser\" is not a valid choice."]}`,
	} {
		w := newWorld(t)
		w.queries.roles = map[int64][]events.Role{1: {events.Admin}}
		expect(t, w.do("PATCH", "/api/users/2/", body), 400, want)
	}
	for _, body := range []string{`{"active":false}`, `{"roles":[]}`, `{"roles":["auditor"]}`} {
		w := newWorld(t)
		w.queries.roles = map[int64][]events.Role{1: {events.Admin}}
		if got := w.do("PATCH", "/api/users/1/", body); got.Code != 400 || w.commands.got != nil {
			t.Errorf("an admin with %s: %d %s", body, got.Code, got.Body)
		}
	}
}

func same(a, b *bool) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
