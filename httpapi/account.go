package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

// Accounts of others are for those who have a role: auditors see them, admins change
// them. Everybody sees the own one.

var (
	forbidden  = newDetail(http.StatusForbidden, "You do not have permission to perform this action.")
	notOneself = newDetail(http.StatusBadRequest, "An admin cannot disable the own account, nor give up the own role: another admin can, or an operator.")
)

// permit lets the user of a request that has one of these roles through, and
// oneself where that is allowed.
func (a *api) permit(r *http.Request, orSelf bool, roles ...events.Role) error {
	user := userOf(r)
	account, err := a.whoAsks(r.Context(), user)
	switch {
	case err != nil:
		return err
	case orSelf && pathID(r) == user.User:
		return nil
	case slices.ContainsFunc(account.Roles, func(role events.Role) bool { return slices.Contains(roles, role) }):
		return nil
	}
	return forbidden
}

// listUsers answers GET /api/users/: all there are, in order of id.
func (a *api) listUsers(w http.ResponseWriter, r *http.Request) error {
	return serveList(a, w, r, a.queries.AllUsers, a.queries.UsersPage, appendUser)
}

// getUser answers GET /api/users/{id}/.
func (a *api) getUser(w http.ResponseWriter, r *http.Request) error {
	user, err := a.queries.User(r.Context(), userOf(r), pathID(r))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, func(dst []byte) []byte { return appendUser(dst, user) })
	return nil
}

// patchUser answers PATCH /api/users/{id}/ with {"active": bool, "roles": [...]}: for
// admins. What it changes is effective for the next request to any server.
func (a *api) patchUser(w http.ResponseWriter, r *http.Request) error {
	standing := &adminStanding{standing: requestOf(r.Context()).standing}
	if err := standing.Check(r.Context()); err != nil {
		return err
	}
	change, err := readUserChange(r)
	if err != nil {
		return err
	}
	if change.ID == userOf(r).User && (change.Active != nil && !*change.Active || change.Roles != nil && !slices.Contains(*change.Roles, events.Admin)) {
		return notOneself
	}
	caller := callerOf(r)
	caller.Role, caller.Standing = events.Admin, standing
	user, pos, err := a.commands.AmendUser(r.Context(), caller, change)
	if err := a.settle(r.Context(), w, pos, err); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, func(dst []byte) []byte {
		return appendUser(dst, projections.User{
			ID: user.ID, Name: user.Name, Email: user.Email, Active: !user.Disabled, Roles: user.Roles, RegisteredAt: user.RegisteredAt,
		})
	})
	return nil
}

// adminStanding is a [standing] with the role of an admin.
type adminStanding struct {
	*standing
	seen events.Position
}

// Seen implements [commands.Standing].
func (s *adminStanding) Seen() events.Position { return s.seen }

// Check implements [commands.Standing].
func (s *adminStanding) Check(ctx context.Context) error {
	position, err := s.api.checkUser(ctx, s.user) // before the role is looked at: up to there the log was taken into account
	if err != nil {
		return err
	}
	s.checked = true
	account, err := s.api.whoAsks(ctx, s.user)
	if err == nil && !slices.Contains(account.Roles, events.Admin) {
		err = forbidden
	}
	s.seen = position
	return err
}

// readUserChange reads what an admin changes.
func readUserChange(r *http.Request) (commands.AmendUser, error) {
	b, err := readBody(r)
	if err != nil {
		return commands.AmendUser{}, err
	}
	f := newForm(b, true)
	change := commands.AmendUser{ID: pathID(r), Active: f.boolean("active"), Roles: f.roles("roles")}
	return change, f.err()
}

// userHistory answers GET /api/users/{id}/history/: for auditors, and one's own.
func (a *api) userHistory(w http.ResponseWriter, r *http.Request) error {
	if err := a.permit(r, true, events.Auditor); err != nil {
		return err
	}
	return a.serveHistory(w, r, events.User)
}

// whoAsks answers who asks, with the roles of now.
func (a *api) whoAsks(ctx context.Context, user projections.Session) (projections.User, error) {
	return asUser(ctx, a, user, func() (projections.User, error) { return a.queries.Account(ctx, user) })
}

func appendUser(dst []byte, u projections.User) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, u.ID, 10)
	dst = append(dst, `,"name":`...)
	dst = appendString(dst, u.Name)
	dst = append(dst, `,"email":`...)
	dst = appendString(dst, u.Email)
	dst = append(dst, `,"active":`...)
	dst = strconv.AppendBool(dst, u.Active)
	dst = append(dst, `,"roles":`...)
	dst = appendList(dst, u.Roles, func(dst []byte, role events.Role) []byte { return appendString(dst, string(role)) })
	dst = append(dst, `,"registered_at":`...)
	return append(appendTime(dst, u.RegisteredAt), '}')
}
