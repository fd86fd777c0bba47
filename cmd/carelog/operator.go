package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/projections"
)

// operator is what the commands of an operator work with: the database of the
// running servers, or the same when none runs. It has all of a server but the
// API, the bus and the work of applying events, which it only does when nobody
// else does ([operator.await]).
type operator struct {
	config      Config
	logger      *slog.Logger
	pool        *pgxpool.Pool
	registry    *events.Registry
	store       *eventstore.Store
	accounts    *accountKeeper
	commands    *commands.Service
	queries     *projections.Queries
	projections projections.Config // for a runner and a lease
	progress    *projections.Progress
	stuckAfter  time.Duration // without any progress, await gives up; tests change it
}

// addOperatorSettings adds the flags that say where the database is.
func addOperatorSettings(flags *pflag.FlagSet) {
	for _, s := range settings {
		if s.flag == "data-dir" || s.flag == "pg-bin" {
			addSetting(flags, s)
		}
	}
}

// operatorConfig is the configuration of an operator's command, whose warnings are
// told.
func operatorConfig(cmd *cobra.Command) (Config, error) {
	config, warnings, err := loadOperatorConfig(readEnvironment(cmd.Flags(), "."))
	for _, warning := range warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "carelog: %s\n", warning)
	}
	config.LogLevel = max(config.LogLevel, slog.LevelWarn) // what goes well the command tells itself
	return config, err
}

// untilSignal returns a context that the first signal ends; a second one ends the
// program at once. Stop must be called.
func untilSignal(ctx context.Context) (until context.Context, stop func()) {
	until, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(until, stop)
	return until, stop
}

// operate runs the work of an operator's command, with the configuration that
// `carelog serve` would have. A signal ends the work's context.
func operate(cmd *cobra.Command, work func(context.Context, *operator) error) error {
	config, err := operatorConfig(cmd)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	// A reader who closes the pipe must not end the program either: there may be a
	// PostgreSQL to stop.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	cmd.SetOut(pipeOutput{cmd.OutOrStdout()})
	err = withOperator(ctx, config, newLogger(config, cmd.ErrOrStderr()), work)
	mistake, ok := errors.AsType[*momentError](err)
	switch {
	case errors.Is(err, errReaderGone):
		return nil
	case ok:
		return &usageError{mistake, cmd.CommandPath()}
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("stopped by a signal: %w", err)
	}
	return err
}

// withOperator does the work on the database of the configuration. That is
// migrated when no server works on it; else, and when a newer program has
// migrated it, it must have the schema of this program.
func withOperator(ctx context.Context, config Config, logger *slog.Logger, work func(context.Context, *operator) error) error {
	onDatabase := func(ctx context.Context, url string) error {
		o := &operator{config: config, logger: logger, registry: events.NewRegistry(), stuckAfter: 10 * time.Second}
		return o.do(ctx, url, work)
	}
	if config.DatabaseURL == "" {
		return withPrivateDatabase(ctx, config, logger, onDatabase)
	}
	return onDatabase(ctx, config.DatabaseURL)
}

// operatorConns is how many connections a command has at most, besides those of
// the appender and of the progress.
const operatorConns = 4

func (o *operator) do(ctx context.Context, url string, work func(context.Context, *operator) error) error {
	database, err := poolConfig(url, "carelog operator", operatorConns)
	if err != nil {
		return err
	}
	if o.pool, err = pgxpool.NewWithConfig(ctx, database); err != nil {
		return fmt.Errorf("make the database pool: %w", err)
	}
	defer o.pool.Close()
	if err := o.prepare(ctx, database); err != nil {
		return err
	}
	o.store, err = eventstore.Open(ctx, eventstore.Config{
		Pool: o.pool, Appender: database.ConnConfig, Shared: true, Logger: o.logger,
	})
	if err != nil {
		return err
	}
	o.accounts = newAccountKeeper(o.pool, o.config.HashConcurrency, nil)
	o.commands = &commands.Service{
		Log: o.store, TagKey: o.store.TagKey(), Registry: o.registry, Credentials: o.accounts.credentials,
		Now: time.Now, NewID: commands.NewEventID,
	}
	o.queries = projections.NewQueries(o.pool)
	o.projections = projections.Config{
		Conn: database.ConnConfig, Pool: o.pool, Log: o.store, LogID: o.store.LogID(), Registry: o.registry,
		Shared: true, Wait: awaitStep, Silence: awaitSilence, Logger: o.logger,
	}
	o.progress = projections.NewProgress(o.projections)

	parts, partsCtx := errgroup.WithContext(ctx)
	partsCtx, stop := context.WithCancel(partsCtx)
	parts.Go(func() error { return o.store.Run(partsCtx) })
	parts.Go(func() error { return o.progress.Run(partsCtx) })
	parts.Go(func() error {
		defer stop()
		return work(partsCtx, o)
	})
	return parts.Wait()
}

// prepare makes sure that the database has the schema of this program. Under a
// running server it is left alone: that one may be an older program. A database
// that has never been a server's is refused: it may be somebody else's, named by
// mistake.
func (o *operator) prepare(ctx context.Context, database *pgxpool.Config) error {
	present, want, err := eventstore.SchemaVersions(ctx, o.pool)
	switch {
	case err != nil:
		return err
	case present == 0:
		return errors.New("this database holds no log of Carelog: see that DATABASE_URL is right; `carelog serve` makes a new log")
	case present > want:
		return fmt.Errorf("the database has schema version %d of a newer carelog, and this one knows %d: run the newer one", present, want)
	case present == want:
		return nil
	}
	serving, err := isServed(ctx, o.pool)
	switch {
	case err != nil:
		return err
	case serving:
		return fmt.Errorf("the database has schema version %d of the older carelog that runs on it, and this one needs %d: "+
			"restart the server with this one, or run the older one", present, want)
	}
	return eventstore.Migrate(ctx, migrationConfig(database.ConnConfig))
}

// How an operator's command waits for the read tables.
const (
	awaitStep    = 500 * time.Millisecond // between looks at what goes on
	awaitSilence = 20 * time.Millisecond  // before the log is read: no bus is there
)

// await returns when the read tables contain the position. Whoever holds the
// lease of the projections applies the events; when nobody does, this command
// takes the lease and applies the log itself. It fails when that is stopped at an
// event, or makes no progress for a while; what is stored takes effect later then.
func (o *operator) await(ctx context.Context, position events.Position) error {
	ctx, stop := context.WithCancel(ctx)
	applied := make(chan error, 1)
	go func() {
		runner := projections.NewRunner(o.projections, o.progress)
		applied <- projections.NewLease(o.projections).Run(ctx, runner.Run)
	}()
	defer func() {
		stop()
		<-applied // nil
	}()
	checkpoint, moved := o.progress.Checkpoint(), time.Now()
	for {
		err := o.progress.Wait(ctx, position)
		if !errors.Is(err, projections.ErrPending) {
			return err
		}
		if now := o.progress.Checkpoint(); now > checkpoint {
			checkpoint, moved = now, time.Now()
			continue
		}
		reason := o.progress.Live()
		if _, stopped := errors.AsType[*projections.StoppedError](reason); !stopped && time.Since(moved) < o.stuckAfter {
			continue
		}
		if reason == nil {
			reason = errors.New("the process that applies events makes no progress")
		}
		return fmt.Errorf("event %d is stored, but not effective yet: the read tables stand at event %d: %w", position, checkpoint, reason)
	}
}

// operatorName is the user of the operating system who runs this command.
func operatorName() string {
	if current, err := user.Current(); err == nil {
		return current.Username
	}
	return "user id " + strconv.Itoa(syscall.Getuid())
}
