package eventstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/carelog/carelog/events"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrationsTable is where the migrations are recorded that a database has had.
const migrationsTable = "migrations"

// notTheOwner are the SQLSTATEs that a role meets that may not migrate: insufficient
// privilege, and no schema and no table where it may not look.
var notTheOwner = []string{"42501", "3F000", "42P01"}

// Migrate brings the database to the schema of this program: the log, the
// accounts and the read tables. Each migration runs in a transaction of its own,
// so one that is interrupted leaves nothing behind and the next start goes on
// there. An advisory lock makes processes that start together take turns.
//
// It only goes forward. A database that a newer program has migrated is left as
// it is, and is no error: during an upgrade both work on it. So a migration may
// only add what older programs can do without. Where that is not enough they are
// stopped by other means: by the type or schema version of an event, and by the
// schema version of a projection. [SchemaVersions] tells whether it is so.
func Migrate(ctx context.Context, config *pgx.ConnConfig) error {
	db := stdlib.OpenDB(*config)
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // tries once a second, for 5 minutes
	if err != nil {
		return fmt.Errorf("prepare the migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithTableName(migrationsTable))
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	_, err = provider.Up(ctx)
	switch {
	case err == nil:
		return nil
	case passes(err), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone): // the last two: the connection was lost
		return fmt.Errorf("%w: migrate the database: %w", events.ErrUnavailable, err)
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && slices.Contains(notTheOwner, refused.Code) {
		return fmt.Errorf("migrate the database: %w: this role may not do that: run `carelog migrate` with DATABASE_URL of the database's owner", err)
	}
	return fmt.Errorf("migrate the database: %w", err) // in full: no data is at hand yet
}

// SchemaVersions answers the number of the last migration that the database has
// had, 0 when it has had none, and that of the last one of this program. It
// changes nothing.
func SchemaVersions(ctx context.Context, db *pgxpool.Pool) (database, program int64, err error) {
	entries, err := migrations.ReadDir("migrations")
	if err != nil {
		return 0, 0, fmt.Errorf("read the embedded migrations: %w", err)
	}
	last := entries[len(entries)-1].Name() // they are sorted
	if program, err = goose.NumericComponent(last); err != nil {
		return 0, 0, fmt.Errorf("read the embedded migrations: %w", err)
	}
	var migrated bool
	err = db.QueryRow(ctx, `select to_regclass($1) is not null`, migrationsTable).Scan(&migrated)
	if err == nil && migrated {
		err = db.QueryRow(ctx, `select coalesce(max(version_id), 0) from `+migrationsTable+` where is_applied`).Scan(&database)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read which migrations the database has had: %w", classify(err))
	}
	return database, program, nil
}
