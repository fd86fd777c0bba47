package projections

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// Difference is a row of a read table that is not what the log makes of it. It
// holds no values but those of the key.
type Difference struct {
	Table   string
	Key     string // the primary key, as in "id=5"
	Wrong   Wrong
	Columns []string // those that differ; only of a Changed row
}

// Wrong is what is wrong about a row.
type Wrong string

// What can be wrong about a row.
const (
	Changed Wrong = "changed" // it has other values
	Missing Wrong = "missing" // it should be there
	Extra   Wrong = "extra"   // it should not be there
)

// Verified is what a verification found out about a table.
type Verified struct {
	Table       string
	Position    events.Position // of the log, at which it was compared
	Rows        int64           // that it should have
	Differences int64
}

// Verify builds the tables of config.Projections from the log a second time and
// compares them with those that serve: every row, all columns, at one moment and
// at the same position of the log. Found is told of every row that differs. Reads
// and writes go on all the time; what it builds is temporary and ends with its
// session.
//
// It fails as [Rebuild] does, and with a [SchemaError] or [ErrOtherLog] for
// tables that must be rebuilt anyway.
func Verify(ctx context.Context, config Config, report func(Step), found func(Difference)) ([]Verified, error) {
	s, err := openShadow(ctx, config, verifySchema, report)
	if err != nil {
		return nil, err
	}
	defer s.close()
	for range 2 { // the second time only what was written during the first
		if err := s.fillToLive(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.analyze(ctx); err != nil {
		return nil, err
	}
	var verified []Verified
	// All statements of this transaction see one state of the live tables and
	// their checkpoints. No lock keeps the runner from moving on.
	err = pgx.BeginTxFunc(ctx, s.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		if err := s.lockLive(ctx, tx, "access share"); err != nil {
			return err
		}
		if err := s.fillToLive(ctx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `set local enable_hashjoin = on; set local enable_mergejoin = on; set local enable_seqscan = on`); err != nil {
			return err
		}
		for i, p := range s.config.Projections {
			for _, table := range p.Tables() {
				s.report(Step{Stage: Comparing, Position: s.positions[i], Target: s.positions[i]})
				v := Verified{Table: table, Position: s.positions[i]}
				if err := s.compare(ctx, tx, &v, found); err != nil {
					return err
				}
				verified = append(verified, v)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("compare the tables: %w", classify(err))
	}
	return verified, nil
}

// fillToLive fills the tables of each projection to where the live ones are.
func (s *shadow) fillToLive(ctx context.Context) error {
	stored, err := loadStored(ctx, s.conn)
	if err != nil {
		return err
	}
	live, err := s.config.positions(stored)
	if err != nil {
		return err
	}
	if err := s.fill(ctx, live); err != nil {
		return fmt.Errorf("build the tables to compare with: %w", err)
	}
	return nil
}

// compareStatement makes the statement that finds the rows of a table that
// differ, or none for a table without a primary key. Values are compared as Postgres
// stores them, so columns may be of any type.
const compareStatement = `
	select format('
	    select concat_ws('', '', %1$s), live.%2$I is null, built.%2$I is null, array_remove(array[%3$s], null)
	    from projections.%4$I live full join pg_temp.%4$I built using (%5$s)
	    where live.%2$I is null or built.%2$I is null or row(%6$s)::record *<> row(%7$s)::record
	    order by %5$s',
	    string_agg(format('%L || %I', attname || '=', attname), ', ' order by attnum) filter (where is_key),
	    (array_agg(attname) filter (where is_key))[1],
	    string_agg(format('case when row(live.%1$I)::record *<> row(built.%1$I)::record then %1$L end', attname), ', ' order by attnum),
	    $1::text,
	    string_agg(format('%I', attname), ', ' order by attnum) filter (where is_key),
	    string_agg(format('live.%I', attname), ', ' order by attnum),
	    string_agg(format('built.%I', attname), ', ' order by attnum))
	from (select a.attname, a.attnum, a.attnum = any(i.indkey) as is_key
	    from pg_attribute a left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
	    where a.attrelid = to_regclass(format('pg_temp.%I', $1::text)) and a.attnum > 0 and not a.attisdropped) as columns
	having bool_or(is_key)`

// compare finds the rows of a live table that differ from what was built, and
// counts them.
func (s *shadow) compare(ctx context.Context, tx pgx.Tx, v *Verified, found func(Difference)) error {
	if err := tx.QueryRow(ctx, `select count(*) from `+pgx.Identifier{verifySchema, v.Table}.Sanitize()).Scan(&v.Rows); err != nil {
		return err
	}
	var statement string
	err := tx.QueryRow(ctx, compareStatement, v.Table).Scan(&statement)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("table %s has no primary key", v.Table)
	}
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, statement)
	if err != nil {
		return err
	}
	d := Difference{Table: v.Table}
	var missing, extra bool
	_, err = pgx.ForEachRow(rows, []any{&d.Key, &missing, &extra, &d.Columns}, func() error {
		d.Wrong = Changed
		if missing {
			d.Wrong, d.Columns = Missing, nil
		} else if extra {
			d.Wrong, d.Columns = Extra, nil
		}
		v.Differences++
		found(d)
		return nil
	})
	return err
}
