package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore/accounts"
	"github.com/carelog/carelog/eventstore/archive"
)

func newExportCommand() *cobra.Command {
	var part logPart
	var accountsFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "export <directory> [--accounts file]",
		Short: "Write the log, or a part of it, into compressed files",
		Long: `Write the log into a directory, as compressed lines of JSON in files of 100,000
events, with a manifest of counts and hashes: all of it, for ` + "`carelog import`" + `, or
those events that the flags select. It reads the log of the running server, and
just as well when none runs. It changes nothing, and so leaves no event.

Run again with the same arguments it goes on where it was interrupted, and adds
what has happened since an export was whole.

Passwords are not in the log. --accounts writes them, as hashes, and the state of
refresh tokens to a file of their own that only you can read; without a directory
it writes nothing else. Whoever has the file can try passwords against it.

` + partHelp + `

Exit status: 0 done, 1 an error, 2 a mistake in the command line or in the
configuration, 5 the export that is to be gone on with is damaged.`,
		Args: checked(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			selected, err := part.selection(events.NewRegistry())
			if err == nil {
				err = checkExport(args, accountsFile)
			}
			if err != nil {
				return &usageError{err, cmd.CommandPath()}
			}
			return operate(cmd, func(ctx context.Context, o *operator) error {
				if err := part.resolve(ctx, o, &selected); err != nil {
					return err
				}
				var done exported
				var err error
				began := time.Now()
				if len(args) == 1 {
					if done, err = o.export(ctx, args[0], selected, cmd.ErrOrStderr()); err != nil {
						return err
					}
				}
				if accountsFile != "" { // after the log, so that the users of the log have theirs
					if done.Accounts, err = o.exportAccounts(ctx, accountsFile); err != nil {
						return err
					}
					done.AccountsFile = accountsFile
				}
				done.Seconds = time.Since(began).Seconds()
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(done)
				}
				return done.print(cmd.OutOrStdout())
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&accountsFile, "accounts", "", "write the hashes of passwords and the state of tokens to this `file`")
	part.addFlags(cmd)
	flags.BoolVar(&asJSON, "json", false, "print what was done as JSON")
	addOperatorSettings(flags)
	return cmd
}

// checkExport refuses an export of nothing, and one of passwords among events.
func checkExport(args []string, accountsFile string) error {
	if len(args) == 0 {
		if accountsFile == "" {
			return errors.New("name a directory, or a file with --accounts")
		}
		return nil
	}
	if accountsFile == "" {
		return nil
	}
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	file, err := filepath.Abs(accountsFile)
	if err == nil && isInside(filepath.Dir(file), dir) {
		err = errors.New("--accounts: name a file outside of the export's directory: who gets the events need not get the passwords")
	}
	return err
}

// isInside tells of two absolute paths whether the first is the second or lies below
// it, links followed as far as there is something.
func isInside(path, dir string) bool {
	path, dir = resolved(path), resolved(dir)
	return path == dir || strings.HasPrefix(path, dir+string(filepath.Separator))
}

func resolved(path string) string {
	if whole, err := filepath.EvalSymlinks(path); err == nil {
		return whole
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(resolved(parent), filepath.Base(path))
	}
	return path
}

// exported tells what an export has done.
type exported struct {
	Directory    string           `json:"directory,omitempty"`
	Log          *uuid.UUID       `json:"log,omitempty"`
	Selected     bool             `json:"selected"` // only a part of the log
	Events       int64            `json:"events"`   // in the export
	Added        int64            `json:"added"`    // of these, by this run
	First        events.Position  `json:"first"`
	Last         events.Position  `json:"last"`
	Through      events.Position  `json:"through"` // the position of the log that was looked at last
	Segments     int              `json:"segments"`
	Bytes        int64            `json:"bytes"`
	Manifest     string           `json:"manifest_sha256,omitempty"`
	AccountsFile string           `json:"accounts_file,omitempty"`
	Accounts     *accounts.Counts `json:"accounts,omitempty"`
	Seconds      float64          `json:"seconds"`
}

func (e exported) print(w io.Writer) (err error) {
	if e.Directory != "" {
		what := "the log"
		if e.Selected {
			what = "the selected events of the log"
		}
		if e.Added == 0 && e.Manifest == "" {
			_, err = fmt.Fprintf(w, "%s holds %s up to position %d already: %d events\n", e.Directory, what, e.Through, e.Events)
		} else {
			_, err = fmt.Fprintf(w, "%s holds %s up to position %d: %d events, %d of them new, in %d files of %.1f MB, written in %.1f s\n",
				e.Directory, what, e.Through, e.Events, e.Added, e.Segments, float64(e.Bytes)/1e6, e.Seconds)
		}
	}
	if e.Accounts != nil && err == nil {
		_, err = fmt.Fprintf(w, "%s holds the passwords of %d users, as hashes, and the state of %d refresh tokens\n",
			e.AccountsFile, e.Accounts.Credentials, e.Accounts.RefreshFamilies+e.Accounts.RefreshTokens)
	}
	return err
}

// export writes the part of the log that is there now.
func (o *operator) export(ctx context.Context, dir string, selected events.Selection, stderr io.Writer) (_ exported, err error) {
	head, err := o.store.Head(ctx)
	if err != nil {
		return exported{}, err
	}
	w, err := archive.OpenWriter(archive.WriterConfig{
		Dir: dir, Log: o.store.LogID(), TagKey: o.store.TagKey(), Selection: selected, Program: version(), Now: time.Now,
	})
	if err != nil {
		return exported{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if w.Through() > head {
		return exported{}, fmt.Errorf("%s holds events up to position %d, and the log ends at %d: the database was put back to an older state; "+
			"give the log a new id, and name another directory", dir, w.Through(), head)
	}
	end := head
	if selected.Until != 0 {
		end = selected.Until
	}
	done := exported{Directory: dir, Selected: w.Manifest().Selection != nil, Added: -w.Manifest().Events}
	if !w.Whole() || w.Through() < end {
		if err := o.exportRows(ctx, w, selected, end, stderr); err != nil {
			if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
				err = fmt.Errorf("%w: make room, and run the same command again: it goes on after position %d", err, w.Through())
			}
			return exported{}, err
		}
		if done.Manifest, err = w.Finish(end); err != nil {
			return exported{}, err
		}
	}
	m := w.Manifest()
	done.Log, done.Events, done.Added = &m.Log, m.Events, done.Added+m.Events
	done.First, done.Last, done.Through, done.Segments, done.Bytes = m.First, m.Last, m.Through, len(m.Segments), m.Bytes
	return done, nil
}

// exportRows adds what is missing up to the end.
func (o *operator) exportRows(ctx context.Context, w *archive.Writer, selected events.Selection, end events.Position, stderr io.Writer) error {
	selected.After, selected.Until = max(selected.After, w.Through()), end
	if selected.After >= end {
		return nil
	}
	progress, began := newProgress(stderr, "events"), selected.After
	defer progress.end()
	for r, err := range o.store.Rows(ctx, selected) {
		if err != nil {
			return err
		}
		if err := w.Add(r); err != nil {
			return err
		}
		if r.Position%1000 == 0 {
			progress.show(int64(r.Position-began), int64(end-began))
		}
	}
	return nil
}
