package projections

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Schemas of read tables. Programs name tables without them.
const (
	liveSchema    = "projections"         // the tables that serve
	rebuildSchema = "projections_rebuild" // those that a rebuild fills, to take their place
	verifySchema  = "pg_temp"             // those that a verification fills: temporary tables, which end with the session
)

// Stage is what a rebuild or a verification is doing.
type Stage string

// The stages there are. A rebuild fills and switches, a verification fills and
// compares.
const (
	Filling   Stage = "filling"
	Waiting   Stage = "waiting"   // to switch: readers hold the tables, it is tried again
	Switching Stage = "switching" // it is done when this transaction is committed
	Comparing Stage = "comparing"
)

// Step tells how far a rebuild or a verification is.
type Step struct {
	Stage    Stage
	Position events.Position // the tables are filled up to here
	Target   events.Position // and will be up to here; it grows while events are written
}

// shadow is the session in which tables are filled beside the live ones. It
// holds an advisory lock, so there is one on a database at a time.
type shadow struct {
	config Config
	conn   *pgx.Conn
	schema string
	report func(Step)
	plans  []tablePlan // of the tables of all projections

	positions []events.Position // what the tables of each projection contain
}

// shadowObject is the second key of the shadow's advisory lock.
const shadowObject int32 = 3

// shadowSettings are those in which the shadow's session differs from that of
// the runner.
var shadowSettings = map[string]string{
	"statement_timeout":                "0",   // comparing takes as long as it takes
	"synchronous_commit":               "off", // what is lost in a crash is begun again
	"client_connection_check_interval": "2s",  // so that the lock is free soon after this process was killed
}

// openShadow makes empty tables like the live ones in a schema. It fails with
// [ErrBusy] while somebody else does such work.
func openShadow(ctx context.Context, config Config, schema string, report func(Step)) (_ *shadow, err error) {
	config = config.withDefaults()
	if report == nil {
		report = func(Step) {}
	}
	conn, err := config.connect(ctx, "rebuild")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			disconnect(conn)
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(shadowSettings)) {
		if _, err := conn.Exec(ctx, `select set_config($1, $2, false)`, name, shadowSettings[name]); err != nil {
			return nil, fmt.Errorf("prepare the session: %w", classify(err))
		}
	}
	// Who was just killed may hold the lock for another moment.
	_, err = conn.Exec(ctx, fmt.Sprintf(`
		set lock_timeout = '2s';
		select pg_advisory_lock(%d, %d);
		reset lock_timeout`, leaseClass, shadowObject))
	switch {
	case sqlState(err) == lockNotAvailable:
		return nil, ErrBusy
	case err != nil:
		return nil, fmt.Errorf("lock out other rebuilds: %w", classify(err))
	}
	s := &shadow{
		config: config, conn: conn, schema: schema, report: report,
		positions: make([]events.Position, len(config.Projections)),
	}
	return s, s.create(ctx)
}

// lockNotAvailable is the SQLSTATE of a lock that was not had within
// lock_timeout.
const lockNotAvailable = "55P03"

// close ends the session, and with it the lock.
func (s *shadow) close() { disconnect(s.conn) }

// create makes the tables anew and has unqualified names mean them. No other
// schema is in the search path, so a projection that names a table which is not
// its own fails, and never reaches a live one.
func (s *shadow) create(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) (err error) {
		if s.plans, err = planTables(ctx, tx, s.tables()); err != nil {
			return err
		}
		var statements []string
		if s.schema == rebuildSchema {
			if err := actAsOwner(ctx, tx); err != nil {
				return err
			}
			statements = append(statements, `drop schema if exists `+s.schema+` cascade`, `create schema `+s.schema)
		}
		statements = append(statements, `set search_path = `+s.schema)
		for _, plan := range s.plans {
			statements = append(statements, plan.create...)
			if s.schema == rebuildSchema {
				statements = append(statements, plan.grants...)
			}
		}
		_, err = tx.Exec(ctx, strings.Join(statements, ";\n"))
		return err
	})
	switch {
	case err == nil:
		return nil
	case sqlState(err) == insufficientPrivilege:
		return ErrNotOwner
	}
	return fmt.Errorf("make empty tables beside the live ones: %w", classify(err))
}

// actAsOwner has the new tables belong to whom the live ones belong to.
func actAsOwner(ctx context.Context, tx pgx.Tx) error {
	var set string
	err := tx.QueryRow(ctx, `
		select format('set role %I', pg_get_userbyid(nspowner)) from pg_namespace
		where nspname = $1 and pg_get_userbyid(nspowner) <> current_user`, liveSchema).Scan(&set)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		_, err = tx.Exec(ctx, set)
	}
	return err
}

// lockLive locks the live tables until the transaction ends. It fails with
// [ErrAltered] when they are not any more what the new ones were made like.
func (s *shadow) lockLive(ctx context.Context, tx pgx.Tx, mode string) error {
	var live []string
	for _, table := range s.tables() {
		live = append(live, pgx.Identifier{liveSchema, table}.Sanitize())
	}
	if _, err := tx.Exec(ctx, `lock table `+strings.Join(live, ", ")+` in `+mode+` mode`); err != nil {
		return err
	}
	plans, err := planTables(ctx, tx, s.tables())
	if err != nil {
		return err
	}
	if !slices.EqualFunc(plans, s.plans, tablePlan.equal) {
		return ErrAltered
	}
	_, err = tx.Exec(ctx, `set local search_path = `+s.schema)
	return err
}

// analyze lets Postgres know the new tables as well as the old ones.
func (s *shadow) analyze(ctx context.Context) error {
	for _, table := range s.tables() {
		if _, err := s.conn.Exec(ctx, `analyze `+pgx.Identifier{table}.Sanitize()); err != nil {
			return fmt.Errorf("analyze the new tables: %w", classify(err))
		}
	}
	return nil
}

// all is one position for every projection.
func (s *shadow) all(position events.Position) []events.Position {
	return slices.Repeat([]events.Position{position}, len(s.positions))
}

// tables are the names of all tables of the projections.
func (s *shadow) tables() []string {
	var tables []string
	for _, p := range s.config.Projections {
		tables = append(tables, p.Tables()...)
	}
	return tables
}

// tablePlan is how a table is made that is like a live one.
type tablePlan struct {
	table   string
	columns string   // what the catalog says about them
	create  []string // makes it, with its constraints and indexes
	grants  []string // gives the privileges that the live one has given
}

func (p tablePlan) equal(q tablePlan) bool {
	return p.table == q.table && p.columns == q.columns && slices.Equal(p.create, q.create) && slices.Equal(p.grants, q.grants)
}

// planTables reads from the catalog how the live tables are made. "Like" would
// give indexes names of its own, by which no migration finds them again. The
// search path finds the live tables, before temporary ones, until the
// transaction ends.
func planTables(ctx context.Context, tx pgx.Tx, tables []string) ([]tablePlan, error) {
	if _, err := tx.Exec(ctx, `set local search_path = `+liveSchema+`, pg_temp`); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `
		select t.relname,
		    (select string_agg(a::text, ' ' order by a.attnum) from pg_attribute a where a.attrelid = t.oid),
		    array(select statement from (
		        select 1, null, format('create table %1$I (like %2$I.%1$I including all excluding indexes)', t.relname, $2)
		            || coalesce(' with (' || array_to_string(t.reloptions, ', ') || ')', '')
		        union all
		        select 2, c.conname, format('alter table %I add constraint %I %s', t.relname, c.conname, pg_get_constraintdef(c.oid))
		        from pg_constraint c where c.conrelid = t.oid and c.contype in ('p', 'u', 'x')
		        union all
		        select 3, i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid, 0, true)
		        from pg_index i where i.indrelid = t.oid and not exists (
		            select from pg_constraint c where c.conrelid = t.oid and c.conindid = i.indexrelid)
		    ) as making (step, name, statement) order by step, name),
		    array(select format('grant %s on %I to %s%s', a.privilege_type, t.relname,
		            case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
		            case when a.is_grantable then ' with grant option' else '' end)
		        from aclexplode(t.relacl) a where a.grantee <> t.relowner order by 1)
		from unnest($1::text[]) with ordinality as wanted (name, number)
		join pg_class t on t.relname = wanted.name and t.relnamespace = to_regnamespace($2) and t.relkind = 'r'
		order by wanted.number`, tables, liveSchema)
	if err != nil {
		return nil, err
	}
	plans, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p tablePlan, err error) {
		return p, row.Scan(&p.table, &p.columns, &p.create, &p.grants)
	})
	if err != nil {
		return nil, err
	}
	for i, table := range tables {
		if i >= len(plans) || plans[i].table != table {
			return nil, fmt.Errorf("there is no table %s.%s", liveSchema, table)
		}
	}
	return plans, nil
}
