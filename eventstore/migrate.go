package eventstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/carelog/carelog/events"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the database to the schema of this program: the log, the
// accounts and the read tables. Each migration runs in a transaction of its own,
// so one that is interrupted leaves nothing behind, and an advisory lock makes
// processes that start together take turns. It only goes forward. A database
// that a newer program has migrated is left as it is.
func Migrate(ctx context.Context, config *pgx.ConnConfig) error {
	db := stdlib.OpenDB(*config)
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // seconds, tries
	if err != nil {
		return fmt.Errorf("prepare the migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithTableName("migrations"))
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	_, err = provider.Up(ctx)
	switch {
	case err == nil:
		return nil
	case passes(err):
		return fmt.Errorf("%w: migrate the database: %w", events.ErrUnavailable, err)
	}
	return fmt.Errorf("migrate the database: %w", err) // in full: no data is at hand yet
}
