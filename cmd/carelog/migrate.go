package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
)

func newMigrateCommand() *cobra.Command {
	m := &migrator{}
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database to the schema of this program, and serve nothing",
		Long: `Bring the database of DATABASE_URL to the schema of this program, and serve nothing.
` + "`carelog serve`" + ` does the same when it starts. This is for those who let the owner of the
database migrate it, and serve with a role that may only add to the log:

  DATABASE_URL=postgres://owner… carelog migrate --grant carelog_app
  DATABASE_URL=postgres://carelog_app… carelog serve

Servers may run meanwhile, also older ones. Those who migrate at the same time take
turns. A database that a newer carelog has migrated is left as it is.

Exit status: 0 the database has the schema of this program, or a newer one, 1 an
error, 2 a mistake in the command line or in the configuration.`,
		Args:              checked(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := operatorConfig(cmd)
			if err != nil {
				return err
			}
			m.logger = newLogger(config, cmd.ErrOrStderr())
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			work := func(ctx context.Context, url string) error { return m.run(ctx, url, cmd.OutOrStdout()) }
			if config.DatabaseURL == "" {
				return withPrivateDatabase(ctx, config, m.logger, work)
			}
			return work(ctx, config.DatabaseURL)
		},
	}
	cmd.Flags().StringVar(&m.role, "grant", "", "`role` that is granted what a server needs, and no more")
	cmd.Flags().DurationVar(&m.wait, "wait", 0, "`duration` to wait for a database that cannot be reached (default not at all)")
	completeFlag(cmd, "grant")
	completeFlag(cmd, "wait")
	addOperatorSettings(cmd.Flags())
	return cmd
}

type migrator struct {
	role   string // "" grants nothing
	wait   time.Duration
	logger *slog.Logger
}

// run migrates the database at url, as soon as it can be reached.
func (m *migrator) run(ctx context.Context, url string, out io.Writer) error {
	var done string
	err := untilReached(ctx, m.logger, "waiting for the database", time.Now().Add(m.wait), func() (err error) {
		done, err = m.migrate(ctx, url)
		return err
	})
	if err == nil {
		_, err = fmt.Fprintln(out, done)
	}
	return err
}

// migrate answers what was done.
func (m *migrator) migrate(ctx context.Context, url string) (done string, err error) {
	config, err := poolConfig(url, "carelog migrate", 1)
	if err != nil {
		return "", err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return "", fmt.Errorf("make the database pool: %w", err)
	}
	defer pool.Close()
	before, known, err := eventstore.SchemaVersions(ctx, pool)
	if err != nil {
		return "", err
	}
	owner := migrationConfig(config.ConnConfig)
	if err := eventstore.Migrate(ctx, owner); err != nil {
		return "", err
	}
	switch {
	case before > known:
		done = fmt.Sprintf("the database has schema version %d of a newer carelog, and this one knows %d: nothing was migrated", before, known)
	case before == known:
		done = fmt.Sprintf("the database has schema version %d already", known)
	default:
		done = fmt.Sprintf("migrated the database from schema version %d to %d", before, known)
	}
	if m.role == "" {
		return done, nil
	}
	conn, err := pgx.ConnectConfig(ctx, owner)
	if err != nil {
		return "", fmt.Errorf("%w: connect: %w", events.ErrUnavailable, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := eventstore.Grant(ctx, conn, m.role); err != nil {
		return "", err
	}
	return done + "; role " + m.role + " can serve", nil
}
