package projections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// filled is a database whose read tables contain a random history. Of its two
// users the first has a session.
func filled(t *testing.T) *database {
	t.Helper()
	d := newDatabase(t)
	p := d.process()
	stop := background(t, p.runner.Run)
	payloads := slices.DeleteFunc(randomHistory(rand.New(rand.NewPCG(1, 0)), 400), func(p events.Payload) bool {
		return p == events.UserDisabled{UserID: 1} || p == events.UserPasswordChanged{UserID: 1}
	})
	d.log.append(history(t, payloads...)...)
	p.apply(d.log.evs)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return d
}

// form is how the read tables are made.
func (d *database) form() string {
	return query[string](d, `select string_agg(line, e'\n' order by line) from (
		select format('%s %s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attcollation)
		from pg_attribute where attrelid in (select oid from pg_class where relnamespace = 'projections'::regnamespace and relkind = 'r')
		union all
		select format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace = 'projections'::regnamespace
		union all
		select indexdef from pg_indexes where schemaname = 'projections'
		union all
		select format('%s %s %s %s', relname, relowner::regrole, relacl, reloptions) from pg_class where relnamespace = 'projections'::regnamespace) as lines (line)`)
}

// leftover is what a rebuild or a verification has left behind.
func (d *database) leftover() string {
	return query[string](d, `select coalesce(string_agg(concat(n.nspname, '.', c.relname), ' '), '')
		from pg_namespace n left join pg_class c on c.relnamespace = n.oid
		where n.nspname = 'projections_rebuild' or n.nspname like 'pg\_temp\_%' and c.relname is not null`)
}

func (d *database) position(projection string) events.Position {
	return query[events.Position](d, `select position from checkpoints where name = $1`, projection)
}

func named(t *testing.T, names ...string) func(*Config) {
	t.Helper()
	projections, err := Named(names...)
	if err != nil {
		t.Fatal(err)
	}
	return only(projections...)
}

// rebuild rebuilds with a configuration like the database's.
func (d *database) rebuild(report func(Step), change ...func(*Config)) error {
	config := d.config
	for _, c := range change {
		c(&config)
	}
	return Rebuild(context.Background(), config, report)
}

func TestARebuildMakesTheSameTables(t *testing.T) {
	t.Parallel()
	d := filled(t)
	d.exec(`do $$ begin create role carelog_test_reader; exception when duplicate_object or unique_violation then null; end $$`)
	d.exec(`grant select on patients to carelog_test_reader with grant option`)
	d.exec(`grant update on doctors to public`)
	d.exec(`do $$ begin create role carelog_test_owner; exception when duplicate_object or unique_violation then null; end $$`)
	d.exec(`do $$ declare name text; begin
		execute format('grant create on database %I to carelog_test_owner', current_database());
		alter schema projections owner to carelog_test_owner;
		for name in select relname from pg_class where relnamespace = 'projections'::regnamespace and relkind = 'r' loop
			execute format('alter table %I owner to carelog_test_owner', name);
		end loop;
	end $$`)
	d.exec(`alter table mappings set (fillfactor = 90)`)
	d.exec(`create index patients_test on patients (lower(last_name)) where age > 17`)
	want, form, head := d.dump(), d.form(), events.Position(len(d.log.evs))
	readOnce(t, NewQueries(d.pool)) // prepares statements and plans
	all := []string{"users", "mappings", "patients", "doctors"}
	for _, names := range [][]string{all, {"patients"}, {"doctors"}, {"mappings", "users"}, all} {
		for _, table := range names {
			d.exec(fmt.Sprintf(`delete from %s where id in (select id from %[1]s order by random() limit 2)`, table))
		}
		if d.dump() == want {
			t.Fatal("the damage is none")
		}
		var last Step
		if err := d.rebuild(func(s Step) { last = s }, named(t, names...)); err != nil {
			t.Fatal(err)
		}
		if last != (Step{Stage: Switching, Position: head, Target: head}) {
			t.Errorf("the last step is %+v", last)
		}
		if got := d.dump(); got != want {
			t.Errorf("rebuilt %v: got\n%swant\n%s", names, got, want)
		}
		if got := d.form(); got != form {
			t.Errorf("rebuilt %v: got tables\n%s\nwant\n%s", names, got, form)
		}
		if left := d.leftover(); left != "" {
			t.Errorf("left behind: %s", left)
		}
		readOnce(t, NewQueries(d.pool))
	}

	// The runner goes on where it was.
	p := d.running()
	p.apply([]events.Recorded{{Position: head + 1, Event: history(t, registerPatient(9001, 1))[0].Event}})
	if got := d.dump(); !strings.Contains(got, fmt.Sprintf("patients (9001,1,P9001,Doe,40,Female,\"2025-09-01 23:35:09.123456+00\",%d)", head+1)) {
		t.Errorf("a patient is not there:\n%s", got)
	}
}

// version2 is a projection of a newer program.
type version2 struct{ Projection }

func (version2) SchemaVersion() int { return 2 }

// noting is a projection of tables that are not its own.
type noting struct{ users }

func (noting) Apply(batch *pgx.Batch, _ []Applied) error {
	batch.Queue("delete from patients")
	return nil
}

func TestARebuildThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	d := filled(t)
	want, form := d.dump(), d.form()
	for _, c := range []struct {
		name   string
		change func(*Config)
		before string
		after  string
		report func(Step)
		want   func(error) bool
	}{
		{name: "an event of a newer program",
			change: func(c *Config) {
				log := &memoryLog{}
				log.append(d.log.evs...)
				log.evs[200].SchemaVersion = 9
				c.Log = log
			},
			want: func(err error) bool {
				var stopped *StoppedError
				var unknown *events.UnknownTypeError
				return errors.As(err, &stopped) && stopped.Position == 201 && errors.As(err, &unknown)
			}},
		{name: "an event that cannot be applied",
			change: func(c *Config) {
				log := &memoryLog{}
				log.append(d.log.evs...)
				log.evs[300].Event = log.evs[0].Event
				c.Log = log
			},
			want: func(err error) bool {
				var stopped *StoppedError
				return errors.As(err, &stopped) && stopped.Position == 301 && stopped.Type == "user.registered" && strings.Contains(err.Error(), "users_pkey")
			}},
		{name: "a log that is too short",
			change: func(c *Config) { c.Log = &memoryLog{evs: d.log.evs[:100]} },
			want:   func(err error) bool { return errors.Is(err, ErrAhead) }},
		{name: "a newer program's tables",
			before: `update checkpoints set schema_version = 3 where name = 'doctors'`,
			after:  `update checkpoints set schema_version = 1`,
			want: func(err error) bool {
				var schema *SchemaError
				return errors.As(err, &schema) && *schema == SchemaError{Projection: "doctors", Stored: 3, Program: 1}
			}},
		{name: "tables of others",
			change: only(noting{}),
			want:   func(err error) bool { return err != nil && strings.Contains(err.Error(), "42P01") }},
		{name: "tables that are altered",
			report: func(s Step) {
				if s.Stage == Filling {
					d.exec(`alter table mappings add column if not exists note text`)
				}
			},
			after: `alter table mappings drop column note`,
			want:  func(err error) bool { return errors.Is(err, ErrAltered) }},
	} {
		if c.before != "" {
			d.exec(c.before)
		}
		if c.change == nil {
			c.change = func(*Config) {}
		}
		if err := d.rebuild(c.report, c.change); !c.want(err) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.after != "" {
			d.exec(c.after)
		}
		if got := d.dump(); got != want {
			t.Errorf("%s: got\n%swant\n%s", c.name, got, want)
		}
	}
	if d.leftover() == "" {
		t.Error("the failures left nothing behind to be removed")
	}
	if err := d.rebuild(nil); err != nil || d.dump() != want || d.form() != form || d.leftover() != "" {
		t.Errorf("a rebuild after failures: %v, left behind: %s", err, d.leftover())
	}
}

// A newer program rebuilds the tables while an older one runs. The older one
// applies nothing more.
func TestANewerProgramTakesTheTablesOver(t *testing.T) {
	t.Parallel()
	d := filled(t)
	want := d.dump()
	older := d.process(silence(10 * time.Millisecond))
	ended := make(chan error, 1)
	go func() { ended <- older.runner.Run(t.Context()) }()
	if _, err := older.runner.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	newer := only(users{}, version2{patients{}}, doctors{}, mappings{})
	if err := d.rebuild(nil, newer); err != nil || d.dump() != want {
		t.Fatalf("%v\n%s", err, d.dump())
	}
	next := history(t, registerPatient(9001, 1))
	next[0].Position = events.Position(len(d.log.evs) + 1)
	older.runner.Announce(d.log.append(next...))
	var schema *SchemaError
	select {
	case err := <-ended:
		if !errors.As(err, &schema) || *schema != (SchemaError{Projection: "patients", Stored: 2, Program: 1}) {
			t.Errorf("the older runner ends with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the older runner does not end")
	}
	if d.dump() != want {
		t.Error("the older runner applied an event")
	}
	d.running(newer).apply(next)
	if err := d.rebuild(nil); !errors.As(err, &schema) {
		t.Errorf("the older program rebuilds: %v", err)
	}
}

// What the new tables' position is where the live ones have none in common, or
// one of another log.
func TestARebuildNeverGoesBack(t *testing.T) {
	t.Parallel()
	d := filled(t)
	want, head := d.dump(), events.Position(len(d.log.evs))

	d.exec(`update checkpoints set position = 100 where name = 'doctors'`) // as a new projection, which lags
	d.exec(`delete from doctors`)
	if err := d.rebuild(nil, named(t, "doctors")); err != nil || d.position("doctors") != head || d.dump() != want {
		t.Errorf("a projection that lags: %v, position %d, rows\n%s", err, d.position("doctors"), d.dump())
	}

	d.exec(`delete from checkpoints where name = 'doctors'`)
	if err := d.rebuild(nil, named(t, "doctors")); err != nil || d.position("doctors") != head || d.dump() != want {
		t.Errorf("a projection that is new: %v, position %d, rows\n%s", err, d.position("doctors"), d.dump())
	}

	d.exec(`update checkpoints set position = 99999, log_id = $1`, uuid.New()) // after a restore from elsewhere
	if err := d.process().runner.Check(t.Context()); !errors.Is(err, ErrOtherLog) {
		t.Fatal(err)
	}
	if err := d.rebuild(nil); err != nil || d.position("doctors") != head || d.dump() != want {
		t.Errorf("another log's tables: %v, position %d, rows\n%s", err, d.position("doctors"), d.dump())
	}
	if err := d.process().runner.Check(t.Context()); err != nil {
		t.Error(err)
	}

	d.exec(`update checkpoints set position = 100`) // the runner is behind: its events are not taken from it
	if err := d.rebuild(nil); err != nil || d.position("doctors") != 100 {
		t.Errorf("a log that goes on: %v, position %d", err, d.position("doctors"))
	}
	d.running().apply(d.log.evs[100:])
	if d.dump() != want {
		t.Errorf("got\n%swant\n%s", d.dump(), want)
	}
}
