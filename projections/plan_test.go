package projections

import (
	"testing"
	"time"

	"github.com/carelog/carelog/events"
)

// TestChangesAreFoundByKeyInTablesThatWereAnalysedEmpty: everything was removed,
// the tables were analysed, and then filled again. For the planner they are
// empty, so every way to find a row costs the same, and there must be no bad one.
func TestChangesAreFoundByKeyInTablesThatWereAnalysedEmpty(t *testing.T) {
	d := newDatabase(t)
	fill := func() {
		d.exec(`insert into doctors select x, 'a', 'b', 'c', x::text, '1', now(), 1 from generate_series(1, 30000) x`)
		d.exec(`insert into patients select x, 1, 'a', 'b', 1, 'Other', now(), 1 from generate_series(1, 30000) x`)
		d.exec(`insert into mappings select x, x, 1, 1, now() from generate_series(1, 30000) x`)
	}
	fill()
	for _, table := range []string{"doctors", "patients", "mappings"} {
		d.exec(`delete from ` + table)
		d.exec(`analyze ` + table)
	}
	fill()

	var log []events.Payload
	for range 2 {
		for id := int64(1); id <= 10_000; id++ { // in vain, as after the removal of a doctor
			log = append(log, events.MappingRemoved{MappingID: 100_000 + id, PatientID: id, DoctorID: 1, OwnerID: 1})
		}
		for id := int64(1); id <= 1000; id++ {
			log = append(log,
				events.DoctorAmended{DoctorID: id, Phone: point("2")},
				events.PatientAmended{PatientID: id, OwnerID: 1, Age: point(2)},
				events.MappingRemoved{MappingID: id, PatientID: id, DoctorID: 1, OwnerID: 1},
				events.PatientRemoved{PatientID: 1000 + id, OwnerID: 1},
				events.DoctorRemoved{DoctorID: 1001 + id},
			)
		}
	}
	evs := history(t, log...)
	p := d.running()
	apply := func(n int) time.Duration {
		started := time.Now()
		for ; n > 0; n -= 500 {
			p.apply(evs[:500])
			evs = evs[500:]
		}
		return time.Since(started)
	}
	half := len(evs) / 2
	blind := apply(half)
	d.exec(`analyze`)
	// By scans the first half takes twenty times as long, or ends by a timeout.
	if seeing := apply(half); blind > 5*seeing+time.Second {
		t.Errorf("%d changes took %v, and %v once the tables were analysed", half, blind, seeing)
	}
	for sql, want := range map[string]int64{
		`select count(*) from doctors where phone = '2'`: 1000,
		`select count(*) from doctors`:                   29_000,
		`select count(*) from patients where age = 2`:    1000,
		`select count(*) from patients`:                  29_000,
		`select count(*) from mappings`:                  28_000, // those of removed patients, and removed ones
	} {
		if got := query[int64](d, sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
}
