package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/bcrypt"
)

// subscriber is another system that may follow events over NATS.
type subscriber struct {
	Name string // of its user, its account and its durable consumer
	Hash string // bcrypt, of its password
}

// subscriberName can stand in a subject and in the configuration of a NATS server.
var subscriberName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

var subscriberHash = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

const subscriberMend = "make it with `carelog subscribers add <name>`"

// readSubscribers reads a file of lines like those of htpasswd -B: a name, a
// colon, a hash; it answers them by name. Empty lines and those that begin with # say nothing. Errors do not quote
// lines: one could hold a password.
func readSubscribers(path string) (subscribers []subscriber, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the subscribers: %w: %s", err, subscriberMend)
	}
	if err != nil {
		return nil, fmt.Errorf("read the subscribers: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		switch {
		case checkSubscriberName(name) != nil:
			return nil, fmt.Errorf("%s, line %d: does not begin with a name and a colon: %s", path, number, subscriberMend)
		case !subscriberHash.MatchString(hash):
			return nil, fmt.Errorf("%s, line %d: %s has no bcrypt hash of its password: %s", path, number, name, subscriberMend)
		case slices.ContainsFunc(subscribers, func(s subscriber) bool { return s.Name == name }):
			return nil, fmt.Errorf("%s, line %d: %s is there twice: remove one of the lines", path, number, name)
		}
		subscribers = append(subscribers, subscriber{name, hash})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the subscribers: %w", err)
	}
	slices.SortFunc(subscribers, func(a, b subscriber) int { return strings.Compare(a.Name, b.Name) })
	return subscribers, nil
}

// otherSubscribers waits until the file names others than those of now, or has other
// passwords for them, and answers what it has then; those of now when ctx ends. It looks
// twice, as a file may be half written. One that cannot be used changes nothing, and is
// told once.
func otherSubscribers(ctx context.Context, path string, now []subscriber, log *slog.Logger) []subscriber {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	looks := make(chan look)
	go func() { // by itself: a file on a network may hang, and a pipe does
		for ctx.Err() == nil {
			pause(ctx, time.Second)
			var l look
			l.found, l.err = readSubscribersAgain(path)
			select {
			case looks <- l:
			case <-ctx.Done():
			}
		}
	}()
	before, told := now, ""
	for {
		var l look
		select {
		case l = <-looks:
		case <-ctx.Done():
			return now
		}
		if l.err != nil {
			if told != l.err.Error() {
				told = l.err.Error()
				log.Warn("the file of subscribers cannot be used, those of before may still connect", "error", l.err)
			}
			continue
		}
		told = ""
		if slices.Equal(l.found, before) && !slices.Equal(l.found, now) {
			log.Info("the file names other subscribers: the NATS server starts again", "file", path, "subscribers", len(l.found))
			return l.found
		}
		before = l.found
	}
}

// look is what was found in a file of subscribers.
type look struct {
	found []subscriber
	err   error
}

// readSubscribersAgain reads a file that was read before. What is no file, as a pipe, had
// its lines once.
func readSubscribersAgain(path string) ([]subscriber, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: a change is seen at the next start", path)
	}
	return readSubscribers(path)
}

func checkSubscriberName(name string) error {
	if !subscriberName.MatchString(name) || name == "carelog" {
		return errors.New("a subscriber's name has small letters, digits and -, begins with a letter, has at most 32 characters and is not carelog")
	}
	return nil
}

// newSubscriber makes up a password. It has 130 random bits, so its hash
// need not be slow.
func newSubscriber(name string) (s subscriber, password string, err error) {
	password = rand.Text()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	return subscriber{name, string(hash)}, password, err
}

func newSubscribersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "subscribers",
		Short: "Let other systems follow events over NATS",
		Long: `Let other systems follow events over NATS.

Who may is in a file of your choice, a line for each subscriber with its name and
a hash of its password. CARELOG_NATS_SUBSCRIBERS tells the server where it is. Remove
a line to keep a subscriber out. The server sees a change within three seconds, and starts
the NATS server inside it again, to which all others connect again by themselves. NATS
servers of your own are told by ` + "`carelog subscribers accounts`" + `.`,
		Args: checked(noCommand),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var path string
	cmd.PersistentFlags().StringVar(&path, "file", "subscribers", "the `file`")
	cmd.AddCommand(
		&cobra.Command{
			Use:               "add <name>",
			Short:             "Add a subscriber to the file, and print the password that it gets",
			Args:              checked(cobra.ExactArgs(1)),
			ValidArgsFunction: cobra.NoFileCompletions,
			RunE: func(cmd *cobra.Command, args []string) error {
				return addSubscriber(cmd.OutOrStdout(), path, args[0])
			},
		},
		&cobra.Command{
			Use:   "accounts",
			Short: "Print what a NATS server of yours must know about the file",
			Long: `Print what a NATS server of yours must know about the file: the accounts that
deploy/nats/node.conf includes. Carelog's own password is not in it; the NATS
server takes it from its environment, as NATS_CARELOG_PASSWORD.`,
			Args:              checked(cobra.NoArgs),
			ValidArgsFunction: cobra.NoFileCompletions,
			RunE: func(cmd *cobra.Command, _ []string) error {
				subscribers, err := readSubscribers(path)
				if err != nil {
					return err
				}
				text, err := natsAccounts("$NATS_CARELOG_PASSWORD", subscribers, nil)
				if err != nil {
					return err
				}
				_, err = io.WriteString(cmd.OutOrStdout(), text)
				return err
			},
		},
	)
	return cmd
}

// addSubscriber adds a line to the file, which is made when it is not there, and
// prints the password that is nowhere else.
func addSubscriber(out io.Writer, path, name string) error {
	if err := checkSubscriberName(name); err != nil {
		return err
	}
	there, err := readSubscribers(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if slices.ContainsFunc(there, func(s subscriber) bool { return s.Name == name }) {
		return fmt.Errorf("%s is in %s already: remove its line to give it another password", name, path)
	}
	added, password, err := newSubscriber(name)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ended := len(text) == 0 || bytes.HasSuffix(text, []byte("\n"))
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if !ended {
		_, err = fmt.Fprintln(file)
	}
	if err == nil {
		_, err = fmt.Fprintf(file, "%s:%s\n", added.Name, added.Hash)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("add a line to %s: %w", path, err)
	}
	_, err = fmt.Fprintln(out, password)
	return err
}
