package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/httpapi"
)

func newSetPasswordCommand() *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{
		Use:   "set-password <id | e-mail address>",
		Short: "Give a user another password, and end all tokens of before",
		Long: `Give a user another password. It is asked for on the terminal, or read from the
standard input; never given on the command line, which others can see. All tokens
that were issued to the user before are refused from the next request on, those
for refreshing as well.

Should the command be interrupted, run it again: the new password may be in force
already, and tokens of before not ended yet.`,
		Args:              checked(oneUser),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			// First of all, so that nothing waits for who types.
			password, err := readPassword(cmd, stdin)
			if err != nil {
				return err
			}
			return operate(cmd, func(ctx context.Context, o *operator) error {
				user, err := o.findUser(ctx, args[0])
				if err != nil {
					return err
				}
				if err := o.setPassword(ctx, user, password); err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "user %d has a new password, and no token of before is valid\n", user.ID)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&stdin, "stdin", false, "read the password from the first line of the standard input")
	return cmd
}

// setPassword returns when the new password, and nothing else, lets the user in.
func (o *operator) setPassword(ctx context.Context, user commands.User, password string) error {
	err := commands.CheckPassword(password, user.Name, user.Email)
	if weak, ok := errors.AsType[*commands.PasswordError](err); ok {
		return passwordRefused(weak.Message)
	} else if err != nil {
		return err
	}
	hash, err := o.accounts.hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	position, err := o.commands.ChangePassword(ctx, usersCaller(), commands.ChangePassword{UserID: user.ID, PasswordHash: hash})
	if err != nil {
		return err
	}
	return o.await(ctx, position)
}

func passwordRefused(reason string) error { return fmt.Errorf("the password is refused: %s", reason) }

// readPassword reads a password that the API would take at a login.
func readPassword(cmd *cobra.Command, stdin bool) (password string, err error) {
	terminal, isFile := cmd.InOrStdin().(*os.File)
	switch {
	case stdin:
		password, err = readLine(cmd.InOrStdin())
	case !isFile || !term.IsTerminal(int(terminal.Fd())):
		return "", &usageError{errors.New("the standard input is no terminal to ask on: give --stdin to read the password from it"), cmd.CommandPath()}
	default:
		password, err = askPassword(cmd.Context(), int(terminal.Fd()), cmd.ErrOrStderr())
	}
	switch {
	case err != nil:
		return "", err
	case len(password) > httpapi.MaxPassword:
		return "", passwordRefused(fmt.Sprintf("Ensure this field has no more than %d bytes.", httpapi.MaxPassword))
	case !utf8.ValidString(password):
		return "", passwordRefused("It is not UTF-8 text.")
	case strings.ContainsRune(password, 0):
		return "", passwordRefused("Null characters are not allowed.")
	case strings.TrimSpace(password) == "":
		return "", passwordRefused("This field may not be blank.")
	}
	return password, nil
}

// readLine reads the first line, without its end. What is longer than any
// password is cut there.
func readLine(from io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(from, 2*httpapi.MaxPassword)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// askPassword asks for a password, twice, on a terminal that does not show it.
func askPassword(ctx context.Context, terminal int, prompts io.Writer) (string, error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	state, err := term.GetState(terminal)
	if err != nil {
		return "", fmt.Errorf("ask for the password: %w", err)
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(prompts, prompt)
		defer fmt.Fprintln(prompts) // the Enter was not shown either
		typed := make(chan string, 1)
		go func() {
			text, _ := term.ReadPassword(terminal) // an error is the end of the input
			typed <- string(text)
		}()
		select {
		case text := <-typed:
			return text, nil
		case <-ctx.Done(): // the program ends now, and the terminal must show again what is typed
			return "", errors.Join(errors.New("stopped by a signal"), term.Restore(terminal, state))
		}
	}
	first, err := ask("New password: ")
	if err != nil {
		return "", err
	}
	second, err := ask("Once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords are not the same")
	}
	return first, nil
}
