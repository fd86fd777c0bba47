package history

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
	"github.com/carelog/carelog/projections"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newReader reads a log in a database of its own, which the pool connects to.
func newReader(t testing.TB) (*Reader, *pgxpool.Pool) {
	t.Helper()
	config, err := pgxpool.ParseConfig(pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	projections.Configure(config.ConnConfig)
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store, err := eventstore.Open(t.Context(), eventstore.Config{Pool: pool, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return &Reader{Log: store, Registry: events.NewRegistry()}, pool
}

// fill writes a log of about n events: of ten, one registers a patient, one maps
// it to a doctor, and the others amend it. Every tenth mapping is preceded by a new
// doctor. Users have 100 patients each, one after the other, but user 1 has a
// tenth of all; patient 1 has a thousand events more.
func fill(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	const more = 1000
	rows := fmt.Sprintf(`
		select n as position, p as patient, case when p %% 10 = 1 then 1 else p / 100 + 2 end as owner, n %% 10 as step, 1 + p / 10 as doctor
		from (select n, case when n > %[1]d then 1 else 1 + (n - 1) / 10 end as p from generate_series(1, %[1]d + %[2]d) n) as numbered`, n, more)
	for _, sql := range []string{
		`set synchronous_commit = off`,
		`insert into events (position, id, type, schema_version, tags, data, metadata, salt, recorded_at)
		select position, gen_random_uuid(), e.type, 1, e.tags, e.data, json_build_object('actor', json_build_object('user_id', owner)), '', timestamptz '2025-01-01' + position * interval '1 s'
		from (` + rows + `) as r cross join lateral (
			select 'patient.registered' as type, array['patient:' || patient, 'owner:' || owner] as tags,
				json_build_object('patient_id', patient, 'owner_id', owner, 'first_name', 'Alice', 'last_name', 'Smith', 'age', 30, 'gender', 'Female', 'created_at', '2025-01-01T00:00:00Z') as data
			where step = 1 and position <= ` + fmt.Sprint(n) + `
			union all
			select 'doctor.registered', array['doctor:' || doctor],
				json_build_object('doctor_id', doctor, 'first_name', 'Sarah', 'last_name', 'Johnson', 'specialization', 'Cardiology', 'email', 'd' || doctor || '@example.com', 'phone', '1', 'created_at', '2025-01-01T00:00:00Z')
			where step = 2 and patient % 10 = 0 and position <= ` + fmt.Sprint(n) + `
			union all
			select 'mapping.created', array['mapping:' || patient, 'patient:' || patient, 'doctor:' || doctor - 1, 'pair:' || patient || ':' || doctor - 1, 'owner:' || owner],
				json_build_object('mapping_id', patient, 'patient_id', patient, 'doctor_id', doctor - 1, 'owner_id', owner, 'assigned_at', '2025-01-01T00:00:00Z')
			where step = 3 and patient > 20 and position <= ` + fmt.Sprint(n) + `
			union all
			select 'patient.amended', array['patient:' || patient, 'owner:' || owner],
				json_build_object('patient_id', patient, 'owner_id', owner, 'age', position % 150)
			where position > ` + fmt.Sprint(n) + ` or step not in (1, 3) and not (step = 2 and patient % 10 = 0) or step = 3 and patient <= 20
		) as e`,
		`alter table event_tags drop constraint event_tags_pkey`,
		`insert into event_tags (tag, type, position) select unnest(tags), type, position from events`,
		`alter table event_tags add constraint event_tags_pkey primary key (tag, type, position)`,
		`analyze`,
	} {
		if _, err := pool.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
}
