package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
)

func newUsersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "users",
		Short: "List users, disable and enable them, grant and revoke roles, set passwords",
		Long: `List users, disable and enable them, grant and revoke roles, set passwords.

The commands work on the database of the running server, and just as well when
none runs. What they change is in the log, with the name of who ran the command,
and is effective when they return: for the next request to any server.

Exit status: 0 done, 1 an error, 2 a mistake in the command line or in the
configuration, 3 there is no such user.`,
		Args: checked(noCommand),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addOperatorSettings(cmd.PersistentFlags())
	cmd.AddCommand(newListUsersCommand(), newDisableUserCommand(), newEnableUserCommand(), newGrantRoleCommand(), newRevokeRoleCommand(), newSetPasswordCommand())
	return cmd
}

func newListUsersCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "list",
		Short:             "List all users, in order of id",
		Args:              checked(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write := writeUserTable
			if asJSON {
				write = writeUserLines
			}
			return operate(cmd, func(ctx context.Context, o *operator) error {
				if err := o.awaitHead(ctx); err != nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "carelog: the list may be out of date: %v\n", err)
				}
				return listUsers(ctx, o.queries, func(users []projections.User) error { return write(cmd.OutOrStdout(), users) })
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object for each user, on a line of its own")
	return cmd
}

// awaitHead returns when the read tables contain the whole log.
func (o *operator) awaitHead(ctx context.Context) error {
	head, err := o.store.Head(ctx)
	if err != nil {
		return err
	}
	return o.await(ctx, head)
}

// listUsers hands all users on, a page at a time; without any it is one empty
// page.
func listUsers(ctx context.Context, queries *projections.Queries, write func([]projections.User) error) error {
	const page = 1000
	for after := int64(0); ; {
		users, err := queries.Users(ctx, after, page)
		if err != nil {
			return err
		}
		if err := write(users); err != nil || len(users) < page {
			return err
		}
		after = users[page-1].ID
	}
}

func writeUserTable(w io.Writer, users []projections.User) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tE-MAIL\tNAME\tSTATE\tROLES\tREGISTERED")
	for _, u := range users {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", u.ID, printable(u.Email), printable(u.Name), stateOf(u), cmp.Or(joinRoles(u.Roles), "-"), u.RegisteredAt.UTC().Format(time.RFC3339))
	}
	return table.Flush()
}

func writeUserLines(w io.Writer, users []projections.User) error {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	for _, u := range users {
		err := lines.Encode(struct {
			ID           int64         `json:"id"`
			Email        string        `json:"email"`
			Name         string        `json:"name"`
			State        string        `json:"state"`
			Roles        []events.Role `json:"roles"`
			RegisteredAt time.Time     `json:"registered_at"`
		}{u.ID, u.Email, u.Name, stateOf(u), u.Roles, u.RegisteredAt.UTC()})
		if err != nil {
			return err
		}
	}
	return nil
}

func stateOf(u projections.User) string {
	if u.Active {
		return "active"
	}
	return "disabled"
}

func newDisableUserCommand() *cobra.Command {
	return newUserStateCommand(&cobra.Command{
		Use:   "disable <id | e-mail address>",
		Short: "Keep a user out, from the next request on",
		Long: `Keep a user out: every request with a token of the user is answered 401, and so is
every login. The user's records stay.`,
	}, "disabled", func(o *operator) changeUserState { return o.commands.DisableUser })
}

func newEnableUserCommand() *cobra.Command {
	return newUserStateCommand(&cobra.Command{
		Use:   "enable <id | e-mail address>",
		Short: "Let a disabled user in again",
		Long:  `Let a disabled user in again, with the same password, and with tokens that have not expired.`,
	}, "enabled", func(o *operator) changeUserState { return o.commands.EnableUser })
}

// changeUserState is a command that tells whether it changed anything.
type changeUserState func(context.Context, commands.Caller, int64) (bool, events.Position, error)

func newUserStateCommand(cmd *cobra.Command, state string, change func(*operator) changeUserState) *cobra.Command {
	cmd.Args = checked(oneUser)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return operate(cmd, func(ctx context.Context, o *operator) error {
			user, err := o.findUser(ctx, args[0])
			if err != nil {
				return err
			}
			changed, position, err := change(o)(ctx, usersCaller(), user.ID)
			if err != nil {
				return err
			}
			if err := o.await(ctx, position); err != nil {
				return err
			}
			text := "user %d is %s\n"
			if !changed {
				text = "user %d was %s already\n"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), text, user.ID, state)
			return err
		})
	}
	return cmd
}

// oneUser wants one argument, which may name a user.
func oneUser(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("name one user, by id or e-mail address")
	}
	if _, err := strconv.ParseInt(args[0], 10, 64); err != nil && !strings.Contains(args[0], "@") {
		return fmt.Errorf("%q is neither a user's id nor an e-mail address", args[0])
	}
	return nil
}

// findUser looks a user up in the log, by id or by the exact e-mail address. It
// fails with a *notFoundError.
func (o *operator) findUser(ctx context.Context, name string) (commands.User, error) {
	id, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		id, _, err = o.commands.UserByEmail(ctx, name)
	}
	var user commands.User
	if err == nil {
		user, _, err = o.commands.User(ctx, id)
	}
	if errors.Is(err, commands.ErrNotFound) {
		return commands.User{}, &notFoundError{"there is no user with this id or e-mail address: `carelog users list` shows all"}
	}
	return user, err
}

func usersCaller() commands.Caller {
	return commands.Caller{Tool: "carelog users", Operator: operatorName()}
}
