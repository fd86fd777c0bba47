package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore/accounts"
	"github.com/carelog/carelog/eventstore/archive"
)

func newImportCommand() *cobra.Command {
	var accountsFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "import <directory> [--accounts file]",
		Short: "Fill an empty database with the log of an export",
		Long: `Fill an empty database with the whole log that ` + "`carelog export`" + ` has written: the
same events at the same positions, with the same ids and times. A database that is
not there yet is made, in the data directory; that of DATABASE_URL must be there, and
its role must own it. No server may run on it meanwhile.

All files are checked before anything is changed. Then either all of the log is
there or nothing, wherever this is interrupted, and it can be run again. The log gets
an id of its own, so that nobody mistakes it for the one it was made of, and one
more event, log.imported, with your name. At last the read tables are filled; where
that is interrupted, the server does it when it starts.

Without --accounts no user can log in until ` + "`carelog users set-password`" + `.

Exit status: 0 done, 1 an error, among them that the database is not empty, 2 a
mistake in the command line or in the configuration, 3 there is no export, 5 the
export is damaged, not whole, only a part of a log, or of a newer carelog.`,
		Args: checked(oneDirectory),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := operatorConfig(cmd)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			i := importer{config: config, logger: newLogger(config, cmd.ErrOrStderr()), accountsFile: accountsFile, stderr: cmd.ErrOrStderr()}
			done, err := i.run(ctx, args[0])
			switch {
			case err != nil && ctx.Err() != nil:
				return fmt.Errorf("stopped by a signal: %w", err)
			case err != nil:
				return err
			case asJSON:
				return json.NewEncoder(cmd.OutOrStdout()).Encode(done)
			}
			return done.print(cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&accountsFile, "accounts", "", "take the hashes of passwords and the state of tokens from this `file`")
	flags.BoolVar(&asJSON, "json", false, "print what was done as JSON")
	addOperatorSettings(flags)
	return cmd
}

func oneDirectory(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("name the directory of an export")
	}
	return nil
}

// imported tells what an import has done.
type imported struct {
	Directory string          `json:"directory"`
	SourceLog uuid.UUID       `json:"source_log"`
	Log       uuid.UUID       `json:"log"`
	Events    int64           `json:"events"`
	Position  events.Position `json:"position"` // of log.imported
	Accounts  accounts.Counts `json:"accounts"`
	LogTime   float64         `json:"log_seconds"`         // for checking and storing
	TableTime float64         `json:"read_tables_seconds"` // for filling the read tables
}

func (i imported) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "imported %d events of the log %s in %.1f s, as the log %s, which ends with log.imported at position %d\n"+
		"filled the read tables in %.1f s\n", i.Events, i.SourceLog, i.LogTime, i.Log, i.Position, i.TableTime)
	if err == nil && i.Accounts != (accounts.Counts{}) {
		_, err = fmt.Fprintf(w, "%d users have their passwords\n", i.Accounts.Credentials)
	} else if err == nil {
		_, err = fmt.Fprintln(w, "no user has a password: `carelog users set-password` sets one")
	}
	return err
}

// importer imports one export.
type importer struct {
	config       Config
	logger       *slog.Logger
	accountsFile string
	stderr       io.Writer
	began        time.Time
	checked      *archive.Export
}

// run checks the export before a database is looked for, or made.
func (i *importer) run(ctx context.Context, dir string) (imported, error) {
	i.began = time.Now()
	export, err := archive.Open(dir)
	if errors.Is(err, archive.ErrNoExport) {
		return imported{}, &notFoundError{err.Error()}
	}
	if err != nil {
		return imported{}, err
	}
	if export.Selection != nil {
		return imported{}, errPartial
	}
	if err := checkTypes(export, events.NewRegistry()); err != nil {
		return imported{}, err
	}
	if i.accountsFile != "" {
		if err := checkAccounts(i.accountsFile, export); err != nil {
			return imported{}, err
		}
	}
	if err := export.Check(); err != nil {
		return imported{}, err
	}
	i.checked = export
	done := imported{Directory: dir, SourceLog: export.Log, Events: export.Events}
	err = i.onDatabase(ctx, func(ctx context.Context, url string) error { return i.fill(ctx, url, &done) })
	return done, err
}

var errPartial = errors.New("this is the export of a part of a log, and only that of a whole one can be imported: export without a selection")

// checkTypes refuses events that this program would stop at.
func checkTypes(export *archive.Export, registry *events.Registry) error {
	for key := range export.Types {
		t, v, err := archive.ParseType(key)
		if err != nil {
			return &archive.DamagedError{File: "manifest.json", What: "names a type of events that cannot be one"}
		}
		if v > registry.Version(t) {
			return &unknownExportError{&events.UnknownTypeError{Type: t, SchemaVersion: v}}
		}
	}
	return nil
}

// checkAccounts reads the file of accounts to its end.
func checkAccounts(path string, export *archive.Export) error {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return &notFoundError{"--accounts: there is no file " + path}
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := accounts.Check(file, export.Log.String()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// event is the log.imported of the export.
func (i *importer) event(counts accounts.Counts) (events.Event, error) {
	payload := events.LogImported{
		SourceLog: i.checked.Log.String(), Head: i.checked.Last, Events: i.checked.Events, Manifest: i.checked.Hash, Accounts: counts.Credentials,
	}
	t, v, data, err := events.NewRegistry().Encode(payload)
	if err != nil {
		return events.Event{}, err
	}
	metadata, err := json.Marshal(events.Metadata{Actor: events.Actor{Tool: "carelog import", Operator: operatorName()}})
	if err != nil {
		return events.Event{}, err
	}
	id, err := commands.NewEventID()
	return events.Event{ID: id, Type: t, SchemaVersion: v, Data: data, Metadata: metadata}, err
}

// isDamaged tells whether an export, or a file of accounts, is at fault.
func isDamaged(err error) bool {
	_, damaged := errors.AsType[*archive.DamagedError](err)
	_, newer := errors.AsType[*archive.VersionError](err)
	_, unknown := errors.AsType[*unknownExportError](err)
	return damaged || newer || unknown || errors.Is(err, archive.ErrUnfinished) || errors.Is(err, errPartial) ||
		errors.Is(err, accounts.ErrDamaged) || errors.Is(err, accounts.ErrNoAccounts) || errors.Is(err, accounts.ErrOtherLog)
}

// unknownExportError is an export with events of a newer program.
type unknownExportError struct{ cause error }

func (e *unknownExportError) Error() string {
	return "the export cannot be imported: " + e.cause.Error()
}
func (e *unknownExportError) Unwrap() error { return e.cause }
