package projections

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
)

func TestSnapshots(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.running().apply(history(t,
		registerUser(1), registerUser(2),
		registerDoctor(1, "a@x"), registerDoctor(2, "b@x"), registerDoctor(3, "c@x"),
		registerPatient(1, 1), registerPatient(2, 2), registerPatient(3, 1),
		createMapping(3, 1, 1, 1), createMapping(1, 2, 1, 2), createMapping(2, 1, 2, 1), createMapping(4, 3, 3, 1),
		events.PatientAmended{PatientID: 1, OwnerID: 1, LastName: point("Poe"), Age: point(41)},
		amendDoctorEmail(2, "d@x"), removeMapping(2, 1, 2, 1),
		events.PatientRemoved{PatientID: 3, OwnerID: 1}, // of its mapping the own event is still to come
	))
	const head = events.Position(16)
	patient1 := events.Snapshot{Position: 13, Payload: events.PatientRegistered{PatientID: 1, OwnerID: 1, FirstName: "P1", LastName: "Poe", Age: 41, Gender: "Female", CreatedAt: day}}
	patient2 := events.Snapshot{Position: 7, Payload: registerPatient(2, 2)}
	doctor1 := events.Snapshot{Position: 3, Payload: registerDoctor(1, "a@x")}
	doctor2 := events.Snapshot{Position: 14, Payload: registerDoctor(2, "d@x")}
	doctor3 := events.Snapshot{Position: 5, Payload: registerDoctor(3, "c@x")}
	mapping1 := events.Snapshot{Payload: createMapping(1, 2, 1, 2)}
	mapping3 := events.Snapshot{Payload: createMapping(3, 1, 1, 1)}

	records := NewRecords(d.pool, d.config.LogID)
	id := point[int64]
	for _, c := range []struct {
		name string
		of   events.Subjects
		want []events.Snapshot
	}{
		{"a patient", events.Subjects{Patient: id(1)}, []events.Snapshot{patient1}},
		{"a removed patient", events.Subjects{Patient: id(3)}, nil},
		{"a doctor", events.Subjects{Doctor: id(2)}, []events.Snapshot{doctor2}},
		{"no such doctor", events.Subjects{Doctor: id(4)}, nil},
		{"a doctor and who has an address", events.Subjects{Doctor: id(2), DoctorEmail: point("a@x")}, []events.Snapshot{doctor2, doctor1}},
		{"a doctor who has the address", events.Subjects{Doctor: id(2), DoctorEmail: point("d@x")}, []events.Snapshot{doctor2}},
		{"who has an address", events.Subjects{DoctorEmail: point("d@x")}, []events.Snapshot{doctor2}},
		{"an address that was given up", events.Subjects{DoctorEmail: point("b@x")}, nil},
		{"an address in other letters", events.Subjects{DoctorEmail: point("A@x")}, nil},
		{"a pair that is mapped", events.Subjects{Patient: id(1), Doctor: id(1), Mappings: true}, []events.Snapshot{patient1, doctor1, mapping3}},
		{"a pair that was mapped", events.Subjects{Patient: id(1), Doctor: id(2), Mappings: true}, []events.Snapshot{patient1, doctor2}},
		{"a pair without mappings", events.Subjects{Patient: id(2), Doctor: id(1)}, []events.Snapshot{patient2, doctor1}},
		{"a patient with mappings", events.Subjects{Patient: id(1), Mappings: true}, []events.Snapshot{patient1, mapping3}},
		{"a doctor with mappings", events.Subjects{Doctor: id(1), Mappings: true}, []events.Snapshot{doctor1, mapping1, mapping3}},
		{"mappings that ended with the patient", events.Subjects{Doctor: id(3), Mappings: true}, []events.Snapshot{doctor3}},
		{"nothing", events.Subjects{}, nil},
		{"mappings of nobody", events.Subjects{Mappings: true}, nil},
	} {
		got, at, err := records.Snapshots(t.Context(), c.of)
		if err != nil || at != head || !reflect.DeepEqual(got, c.want) && len(got)+len(c.want) > 0 {
			t.Errorf("%s: got %+v at %d, %v, want %+v", c.name, got, at, err, c.want)
		}
	}
}

// What the tables hold counts for one position only where all of them are there,
// for one log, and for a program that knows them.
func TestTablesThatTellNothing(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	records, other := NewRecords(d.pool, d.config.LogID), NewRecords(d.pool, uuid.New())
	patient := int64(1)
	tells := func(what string, r *Records, want events.Position) {
		t.Helper()
		got, at, err := r.Snapshots(t.Context(), events.Subjects{Patient: &patient})
		if err != nil || at != want || len(got) > 0 != (want > 0) {
			t.Errorf("%s: %v at %d, %v, want it at %d", what, got, at, err, want)
		}
	}
	tells("a new database", records, 0)
	d.running().apply(history(t, registerUser(1), registerPatient(1, 1)))
	tells("tables of this log", records, 2)
	tells("tables of another log", other, 0)
	for _, change := range []string{`position = 1`, `schema_version = 2`, `log_id = gen_random_uuid()`, `name = 'others'`} {
		for _, name := range []string{"patients", "doctors", "mappings", "users"} {
			d.exec(`create temporary table before as select * from checkpoints; update checkpoints set ` + change + ` where name = '` + name + `'`)
			want := events.Position(0)
			if name == "users" { // about whom no records are asked for
				want = 2
			}
			tells(name+" with "+change, records, want)
			d.exec(`delete from checkpoints; insert into checkpoints select * from before; drop table before`)
		}
	}
	tells("tables as they were", records, 2)
}

// While events are applied and the tables are rebuilt again and again, what is
// read is exactly what the events up to the position have made.
func TestSnapshotsAreOfTheirPosition(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.running()
	apply := func(payload events.Payload) {
		e := history(t, payload)[0]
		e.Position = events.Position(len(d.log.evs) + 1)
		d.log.append(e)
		p.apply([]events.Recorded{e})
	}
	apply(registerPatient(1, 1))
	apply(registerDoctor(1, "2"))
	var done atomic.Bool
	stop := background(t, func(ctx context.Context) error {
		defer done.Store(true)
		for range 5 {
			if err := d.rebuild(nil); err != nil && ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
	read := background(t, func(ctx context.Context) error {
		records := NewRecords(d.pool, d.config.LogID)
		patient, doctor, reads, last := int64(1), int64(1), 0, events.Position(0)
		for ; ctx.Err() == nil; reads++ {
			got, at, err := records.Snapshots(ctx, events.Subjects{Patient: &patient, Doctor: &doctor, Mappings: true})
			if err != nil {
				if ctx.Err() != nil {
					break
				}
				return err
			}
			// Odd positions amend the patient, even ones the doctor; each third maps
			// them, or ends that.
			p, d := got[0].Payload.(events.PatientRegistered), got[1].Payload.(events.DoctorRegistered)
			latest := max(got[0].Position, got[1].Position)
			mapped := len(got) == 3
			if at < last || latest > at || p.Age > 40 && events.Position(p.Age) != got[0].Position || d.Email != fmt.Sprint(got[1].Position) ||
				at > 3 && (mapped != (at/3%2 == 1) || at%3 != 0 && latest != at) {
				return fmt.Errorf("at %d: %+v", at, got)
			}
			last = at
		}
		if reads < 20 {
			return fmt.Errorf("only %d reads", reads)
		}
		return nil
	})
	for position := events.Position(3); !done.Load(); position++ {
		switch {
		case position%6 == 3:
			apply(createMapping(int64(position), 1, 1, 1))
		case position%6 == 0:
			apply(removeMapping(int64(position-3), 1, 1, 1))
		case position%2 == 1:
			apply(events.PatientAmended{PatientID: 1, OwnerID: 1, Age: point(int(position))})
		default:
			apply(amendDoctorEmail(1, fmt.Sprint(position)))
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := read(); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A doctor of very many patients is no reason to look at all of them, also where
// the planner takes the tables for empty.
func TestAPairIsFoundAmongThePatientsMappings(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec(`analyze mappings`)
	d.running().apply(history(t, registerUser(1), registerDoctor(1, "a@x"), registerPatient(1, 1)))
	d.exec(`insert into mappings select x, x, 1, 1, now() from generate_series(1, 20000) x`)
	one := int64(1)
	for range 20 {
		got, _, err := NewRecords(d.pool, d.config.LogID).Snapshots(t.Context(), events.Subjects{Patient: &one, Doctor: &one, Mappings: true})
		if err != nil || len(got) != 3 {
			t.Fatalf("%v, %v", got, err)
		}
	}
	d.pool.Reset() // what a connection has counted is told when it ends
	read := func(index string) int {
		return query[int](d, `select coalesce(sum(idx_tup_read), 0) from pg_stat_user_indexes where indexrelname = $1`, index)
	}
	eventually(t, "the statistics show the reads", func() bool { return read("patients_pkey") >= 20 })
	if all := read("mappings_doctor") + read("mappings_patient") + read("mappings_pkey"); all > 40 {
		t.Errorf("%d entries of indexes were read", all)
	}
}

func TestSnapshotsWithoutADatabase(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, _, err := NewRecords(pool, uuid.New()).Snapshots(t.Context(), events.Subjects{}); !errors.Is(err, events.ErrUnavailable) {
		t.Error(err)
	}
}
