package projections

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

func TestAVerificationFindsEveryRowThatDiffers(t *testing.T) {
	t.Parallel()
	d := filled(t)
	head := events.Position(len(d.log.evs))
	var found []Difference
	verify := func() []Verified {
		t.Helper()
		found = nil
		verified, err := Verify(t.Context(), d.config, nil, func(d Difference) { found = append(found, d) })
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "nothing is left behind", func() bool { return d.leftover() == "" })
		return verified
	}
	var clean []Verified
	for _, table := range []string{"users", "mappings", "patients", "doctors"} {
		clean = append(clean, Verified{Table: table, Position: head, Rows: query[int64](d, "select count(*) from "+table)})
	}
	if got := verify(); !reflect.DeepEqual(got, clean) || found != nil {
		t.Fatalf("before any damage: got %+v, %v, want %+v", got, found, clean)
	}

	var want []Difference
	for _, c := range []struct{ table, change, add string }{
		{"users", "name = 'x', active = not active", "(id, name, email, registered_at) values (%d, 'x', 'x', now())"},
		{"mappings", "assigned_at = assigned_at + interval '1 microsecond', owner_id = 9", "values (%d, 1, 1, 1, now())"},
		{"patients", "age = age + 1, position = 1", "values (%d, 1, 'x', 'x', 1, 'Other', now(), 1)"},
		{"doctors", "phone = phone || ' ', email = email || 'x'", "values (%d, 'x', 'x', 'x', 'x', 'x', now(), 1)"},
	} {
		first := query[int64](d, "select min(id) from "+c.table)
		last := query[int64](d, "select max(id) from "+c.table)
		d.exec(fmt.Sprintf("update %s set %s where id = %d", c.table, c.change, first))
		d.exec(fmt.Sprintf("delete from %s where id = %d", c.table, last))
		d.exec(fmt.Sprintf("insert into %s "+c.add, c.table, 9001))
		columns := map[string][]string{
			"users": {"name", "active"}, "patients": {"age", "position"}, "doctors": {"email", "phone"}, "mappings": {"owner_id", "assigned_at"},
		}[c.table]
		want = append(want,
			Difference{Table: c.table, Key: fmt.Sprint("id=", first), Wrong: Changed, Columns: columns},
			Difference{Table: c.table, Key: fmt.Sprint("id=", last), Wrong: Missing},
			Difference{Table: c.table, Key: "id=9001", Wrong: Extra})
	}
	damaged := d.dump()
	got := verify()
	if !reflect.DeepEqual(found, want) {
		t.Errorf("got  %+v\nwant %+v", found, want)
	}
	for i, v := range got {
		if v.Differences != 3 || v.Rows != clean[i].Rows {
			t.Errorf("got %+v, want %+v with 3 differences", v, clean[i])
		}
	}
	if d.dump() != damaged {
		t.Error("the verification changed rows")
	}
	if err := d.rebuild(nil); err != nil {
		t.Fatal(err)
	}
	if got := verify(); !reflect.DeepEqual(got, clean) || found != nil {
		t.Errorf("after a rebuild: got %+v, %v", got, found)
	}
}

// last is a projection of one row: the last position it was given.
type last struct{}

func (last) Name() string       { return "last" }
func (last) SchemaVersion() int { return 1 }
func (last) Tables() []string   { return []string{"last"} }
func (last) Apply(batch *pgx.Batch, evs []Applied) error {
	if len(evs) > 0 {
		batch.Queue("delete from last")
		batch.Queue("insert into last values ($1)", evs[len(evs)-1].Position)
	}
	return nil
}

func TestAVerificationComparesEachProjectionAtItsOwnPosition(t *testing.T) {
	t.Parallel()
	d := filled(t)
	d.exec("create table projections.last (n bigint primary key)")
	d.exec("insert into last values (100)")
	d.exec("insert into checkpoints (name, schema_version, log_id, position) values ('last', 1, $1, 100)", d.config.LogID)
	d.config.Projections = append(All(), last{})
	got, err := Verify(t.Context(), d.config, nil, func(d Difference) { t.Errorf("%+v", d) })
	if err != nil || got[4] != (Verified{Table: "last", Position: 100, Rows: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTablesThatMustBeRebuiltAreNotVerified(t *testing.T) {
	t.Parallel()
	d := filled(t)
	d.exec(`update checkpoints set schema_version = 0 where name = 'users'`)
	var schema *SchemaError
	if _, err := Verify(t.Context(), d.config, nil, nil); !errors.As(err, &schema) {
		t.Errorf("tables of an older program: %v", err)
	}
	d.exec(`update checkpoints set schema_version = 1, log_id = $1`, uuid.New())
	if _, err := Verify(t.Context(), d.config, nil, nil); !errors.Is(err, ErrOtherLog) {
		t.Errorf("tables of another log: %v", err)
	}
	d.exec(`update checkpoints set position = 99999, log_id = $1`, d.config.LogID)
	if _, err := Verify(t.Context(), d.config, nil, nil); !errors.Is(err, ErrAhead) {
		t.Errorf("tables that are ahead of the log: %v", err)
	}
	eventually(t, "nothing is left behind", func() bool { return d.leftover() == "" })
}
