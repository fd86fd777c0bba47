package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
)

const aboutRoles = `

  auditor  sees every history and every event, of all users' records
  admin    manages accounts over the API; sees no more of records than every user`

func newGrantRoleCommand() *cobra.Command {
	return newUserRoleCommand(&cobra.Command{
		Use:   "grant <id | e-mail address> <role>",
		Short: "Give a user a role, from the next request on",
		Long:  "Give a user a role, from the next request on:" + aboutRoles,
	}, "has role %s", "had role %s already", func(o *operator) changeUserRole { return o.commands.GrantRole })
}

func newRevokeRoleCommand() *cobra.Command {
	return newUserRoleCommand(&cobra.Command{
		Use:   "revoke <id | e-mail address> <role>",
		Short: "Take a role from a user, from the next request on",
		Long:  "Take a role from a user, from the next request on:" + aboutRoles,
	}, "has not role %s", "did not have role %s", func(o *operator) changeUserRole { return o.commands.RevokeRole })
}

// changeUserRole is a command that tells whether it changed anything.
type changeUserRole func(context.Context, commands.Caller, int64, events.Role) (bool, events.Position, error)

func newUserRoleCommand(cmd *cobra.Command, done, was string, change func(*operator) changeUserRole) *cobra.Command {
	cmd.Args = checked(userAndRole)
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return []cobra.Completion{string(events.Admin), string(events.Auditor)}, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return operate(cmd, func(ctx context.Context, o *operator) error {
			user, err := o.findUser(ctx, args[0])
			if err != nil {
				return err
			}
			changed, position, err := change(o)(ctx, usersCaller(), user.ID, events.Role(args[1]))
			if err != nil {
				return err
			}
			if err := o.await(ctx, position); err != nil {
				return err
			}
			text := done
			if !changed {
				text = was
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "user %d "+text+"\n", user.ID, args[1])
			return err
		})
	}
	return cmd
}

// userAndRole wants two arguments, which name a user and a role.
func userAndRole(cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return errors.New("name one user, by id or e-mail address, and one role")
	}
	if err := oneUser(cmd, args[:1]); err != nil {
		return err
	}
	if !slices.Contains(events.Roles(), events.Role(args[1])) {
		return fmt.Errorf("there is no role %q: roles are %s", args[1], joinRoles(events.Roles()))
	}
	return nil
}

func joinRoles(roles []events.Role) string {
	names := make([]string, len(roles))
	for i, role := range roles {
		names[i] = string(role)
	}
	return strings.Join(names, ", ")
}
