package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/accounts"
	"github.com/carelog/carelog/projections"
)

// onDatabase does the work on the database of the configuration, which is made where
// it is a private one and not there.
func (i *importer) onDatabase(ctx context.Context, work func(ctx context.Context, url string) error) error {
	if i.config.DatabaseURL != "" {
		return work(ctx, i.config.DatabaseURL)
	}
	dir := filepath.Join(i.config.DataDir, "postgres")
	server := newPostgres(postgresOptions{Dir: dir, BinDir: i.config.PostgresBin, StopTimeout: i.config.ShutdownTimeout, Logger: i.logger})
	return whileRunning(ctx, server, work)
}

// errServed: what the import would do to the log, a server would not know.
var errServed = errors.New("a carelog server runs on this database: import into an empty one of its own")

// fill imports into the database, and keeps servers away meanwhile.
func (i *importer) fill(ctx context.Context, url string, done *imported) error {
	database, err := poolConfig(url, "carelog operator", operatorConns)
	if err != nil {
		return err
	}
	alone := presence{config: database.ConnConfig, logger: i.logger}
	if err := alone.try(ctx); errors.Is(err, errNotAlone) {
		return errServed
	} else if err != nil {
		return err
	}
	defer alone.leave()
	if err := i.migrate(ctx, database); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, database.ConnConfig)
	if err != nil {
		return fmt.Errorf("%w: connect: %w", events.ErrUnavailable, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return i.fillLog(ctx, tx, done) })
	if err != nil {
		return err
	}
	done.LogTime = time.Since(i.began).Seconds()
	began := time.Now()
	if err := i.fillTables(ctx, url, done); err != nil {
		return fmt.Errorf("the log is imported, but the read tables are not filled; `carelog serve` does it, or `carelog projections rebuild`: %w", err)
	}
	done.TableTime = time.Since(began).Seconds()
	return nil
}

// migrate brings the database to the schema of this program.
func (i *importer) migrate(ctx context.Context, database *pgxpool.Config) error {
	pool, err := pgxpool.NewWithConfig(ctx, database)
	if err != nil {
		return fmt.Errorf("make the database pool: %w", err)
	}
	defer pool.Close()
	present, want, err := eventstore.SchemaVersions(ctx, pool)
	switch {
	case err != nil:
		return err
	case present > want:
		return fmt.Errorf("the database has schema version %d of a newer carelog, and this one knows %d: run the newer one", present, want)
	}
	return eventstore.Migrate(ctx, migrationConfig(database.ConnConfig))
}

// fillLog is all that the import does to the log and to what belongs to it, in one
// transaction.
func (i *importer) fillLog(ctx context.Context, tx pgx.Tx, done *imported) error {
	progress := newProgress(i.stderr, "events")
	defer progress.end()
	log, err := eventstore.NewImporter(ctx, tx, func(p events.Position) { progress.show(int64(p), i.checked.Events) })
	if errors.Is(err, eventstore.ErrNotEmpty) {
		return fmt.Errorf("%w: import into a new one", err)
	}
	if err != nil {
		return err
	}
	if err := log.Copy(ctx, i.checked.Rows()); err != nil {
		return err
	}
	if err := log.Index(ctx); err != nil {
		return err
	}
	if i.accountsFile != "" {
		if done.Accounts, err = i.fillAccounts(ctx, tx); err != nil {
			return err
		}
	}
	e, err := i.event(done.Accounts)
	if err != nil {
		return err
	}
	if done.Log, done.Position, err = log.Finish(ctx, events.TagKey(i.checked.TagKey), e); err != nil {
		return err
	}
	return projections.Forget(ctx, tx)
}

func (i *importer) fillAccounts(ctx context.Context, tx pgx.Tx) (accounts.Counts, error) {
	file, err := os.Open(i.accountsFile)
	if err != nil {
		return accounts.Counts{}, err
	}
	defer file.Close()
	counts, err := accounts.ReadFrom(ctx, tx, file, i.checked.Log.String())
	if err != nil {
		return counts, fmt.Errorf("%s: %w", i.accountsFile, err)
	}
	return counts, nil
}

// fillTables makes the read tables of the log, and gathers what plans are made by.
func (i *importer) fillTables(ctx context.Context, url string, done *imported) error {
	o := &operator{config: i.config, logger: i.logger, registry: events.NewRegistry(), stuckAfter: 10 * time.Second}
	return o.do(ctx, url, func(ctx context.Context, o *operator) error {
		progress := newFillProgress(i.stderr)
		defer progress.end()
		return projections.Rebuild(ctx, o.projections, progress.show)
	})
}
