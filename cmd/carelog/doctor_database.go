package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/eventstore"
)

// database checks PostgreSQL, that of DATABASE_URL or the private one, and what is
// in it.
func (c *checkup) database(ctx context.Context) {
	const check = "postgres"
	if c.wrong("DATABASE_URL", "DB_") || c.config.DatabaseURL == "" && (c.config.DataDir == "" || c.wrong("CARELOG_DATA_DIR", "--data-dir", "CARELOG_PG_BIN", "--pg-bin")) {
		c.fail(check, "mend the settings first", "it cannot be told which database is meant")
		return
	}
	if c.config.DatabaseURL != "" {
		c.onDatabase(ctx, c.config.DatabaseURL)
		return
	}
	made, err := dataVersion(filepath.Join(c.config.DataDir, "postgres", "data"))
	switch {
	case err != nil:
		c.fail(check, "run carelog as the owner of the data directory, or as root", "%v", err)
		return
	case made == 0:
		c.programs()
		c.warn(check, "`carelog serve` makes one; if there is one elsewhere, set CARELOG_DATA_DIR or DATABASE_URL",
			"there is no database in %s yet", c.config.DataDir)
		return
	}
	err = withPrivateDatabase(ctx, c.config, slog.New(slog.DiscardHandler), func(ctx context.Context, url string) error {
		c.onDatabase(ctx, url)
		return nil
	})
	if err != nil {
		c.fail(check, "", "%v", err)
	}
}

// programs checks that a private PostgreSQL can be made.
func (c *checkup) programs() {
	found, err := findPostgres(c.config.PostgresBin, 0)
	if err != nil {
		c.fail("programs", "", "%v", err)
		return
	}
	c.ok("programs", "PostgreSQL %v", found)
}

// onDatabase checks a server and the database at url.
func (c *checkup) onDatabase(ctx context.Context, url string) {
	const check = "postgres"
	config, err := poolConfig(url, "carelog doctor", 2)
	if err != nil {
		c.fail(check, "", "%v", err)
		return
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `set default_transaction_read_only = on`) // nothing is changed, whatever is asked
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		c.fail(check, "", "%v", err)
		return
	}
	defer pool.Close()
	if err := pool.Ping(ctx); err != nil {
		c.fail(check, "see that it runs and lets this user in, and that DATABASE_URL is right", "it cannot be reached: %v", err)
		return
	}
	for _, one := range []struct {
		name string
		run  func(context.Context, *pgxpool.Pool) error
	}{
		{check, c.server}, {"durability", c.durability}, {"connections", c.connections}, {"clock", c.clock},
		{"schema", c.schema}, {"log", c.theLog}, {"projections", c.readTables},
	} {
		if err := one.run(ctx, pool); err != nil {
			c.fail(one.name, "", "it cannot be checked: %v", err)
		}
	}
}

// server checks the version, whether it can be written to, and who is there.
func (c *checkup) server(ctx context.Context, pool *pgxpool.Pool) error {
	const check = "postgres"
	var version, name string
	var number, standbys int
	var bytes int64
	var recovering, readOnly bool
	err := pool.QueryRow(ctx, `
		select current_setting('server_version'), current_setting('server_version_num')::int, current_database(), pg_database_size(current_database()),
		    pg_is_in_recovery(), (select count(*) from pg_stat_replication),
		    (select reset_val = 'on' from pg_settings where name = 'default_transaction_read_only')`).
		Scan(&version, &number, &name, &bytes, &recovering, &standbys, &readOnly)
	if err != nil {
		return err
	}
	switch {
	case number < oldestPostgres*10_000:
		c.fail(check, fmt.Sprintf("upgrade it: %d is the oldest that will do", oldestPostgres), "version %s is too old", version)
	case recovering:
		c.fail(check, "let DATABASE_URL name the primary", "version %s is a standby, and can only be read", version)
	case readOnly:
		c.fail(check, "reset default_transaction_read_only of the server, the role or the database", "version %s lets this user read only", version)
	default:
		c.ok(check, "version %s, database %s of %s, %d standbys", version, name, size(uint64(bytes)), standbys)
	}
	served, err := isServed(ctx, pool)
	if err != nil {
		return err
	}
	if served {
		c.ok("server", "a carelog serves on this database")
	} else {
		c.ok("server", "no carelog serves on this database now")
	}
	return nil
}

// durability checks that what is committed stays.
func (c *checkup) durability(ctx context.Context, pool *pgxpool.Pool) error {
	const check = "durability"
	bad := false
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		var value string
		if err := pool.QueryRow(ctx, `select current_setting($1)`, name).Scan(&value); err != nil {
			return err
		}
		switch {
		case value != "off":
			continue
		case name == "synchronous_commit":
			c.warn(check, "alter system reset synchronous_commit; look at the settings of role and database, too",
				"%s is off: Carelog turns it on for the log, but not for the read tables", name)
		default:
			c.fail(check, fmt.Sprintf("set %s = on in postgresql.conf, and reload", name),
				"%s is off: a loss of power can destroy what was answered", name)
		}
		bad = true
	}
	if !bad {
		c.ok(check, "fsync, full_page_writes and synchronous_commit are on")
	}
	return nil
}

// pipelineConns is how many connections a server has beside those for requests.
const pipelineConns = 6

// connections checks that a server, or one more, finds connections.
func (c *checkup) connections(ctx context.Context, pool *pgxpool.Pool) error {
	const check = "connections"
	var most, reserved, used int
	err := pool.QueryRow(ctx, `
		select current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,
		    (select count(*) from pg_stat_activity where backend_type = 'client backend')`).Scan(&most, &reserved, &used)
	if err != nil {
		return err
	}
	needed, free := c.config.DatabaseConns+pipelineConns, max(0, most-reserved-used)
	text := fmt.Sprintf("%d of %d are used, and a server takes up to %d", used, most, needed)
	if free < needed {
		c.warn(check, "raise max_connections of PostgreSQL, or lower CARELOG_DB_MAX_CONNS", "%s", text)
		return nil
	}
	c.ok(check, "%s", text)
	return nil
}

// Differences of two clocks that are told.
const (
	clocksDiffer  = time.Second
	clocksMislead = time.Minute // an access token lives five
)

// clock compares the database's with this machine's.
func (c *checkup) clock(ctx context.Context, pool *pgxpool.Pool) error {
	var database time.Time
	began := time.Now()
	if err := pool.QueryRow(ctx, `select clock_timestamp()`).Scan(&database); err != nil {
		return err
	}
	took := time.Since(began)
	differ := database.Sub(began.Add(took / 2)).Abs()
	if differ <= took/2 { // as exact as this can be told
		differ = 0
	}
	c.tellClock(differ)
	return nil
}

func (c *checkup) tellClock(differ time.Duration) {
	const check, mend = "clock", "have both machines keep their time by NTP"
	text := fmt.Sprintf("the database's and this machine's differ by %v", differ.Round(time.Millisecond))
	switch {
	case differ > clocksMislead:
		c.fail(check, mend, "%s", text)
	case differ > clocksDiffer:
		c.warn(check, mend, "%s", text)
	default:
		c.ok(check, "%s", text)
	}
}

// schema compares the database with what this program needs.
func (c *checkup) schema(ctx context.Context, pool *pgxpool.Pool) error {
	const check = "schema"
	present, want, err := eventstore.SchemaVersions(ctx, pool)
	switch {
	case err != nil:
		return err
	case present == 0:
		c.warn(check, "see that it is the right one; `carelog serve` makes a new log", "this database holds no log of Carelog")
	case present < want:
		c.warn(check, "the next start of this carelog migrates it", "the database has version %d, and this program needs %d", present, want)
	case present > want:
		c.warn(check, "run the newer carelog", "the database has version %d of a newer carelog, and this one knows %d", present, want)
	default:
		c.ok(check, "version %d, as this program needs", present)
	}
	c.fits = present >= want
	return nil
}
