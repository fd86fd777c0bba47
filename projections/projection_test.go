package projections

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/carelog/carelog/events"
)

func registerUser(id int64) events.Payload {
	return events.UserRegistered{UserID: id, Name: fmt.Sprintf("User%d", id), Email: fmt.Sprintf("u%d@example.org", id), RegisteredAt: day}
}

func registerPatient(id, owner int64) events.Payload {
	return events.PatientRegistered{PatientID: id, OwnerID: owner, FirstName: fmt.Sprintf("P%d", id), LastName: "Doe", Age: 40, Gender: "Female", CreatedAt: day}
}

func registerDoctor(id int64, email string) events.Payload {
	return events.DoctorRegistered{DoctorID: id, FirstName: fmt.Sprintf("D%d", id), LastName: "Roe", Specialization: "Surgery", Email: email, Phone: "1", CreatedAt: day}
}

func amendDoctorEmail(id int64, email string) events.Payload {
	return events.DoctorAmended{DoctorID: id, Email: &email}
}

func createMapping(id, patient, doctor, owner int64) events.Payload {
	return events.MappingCreated{MappingID: id, PatientID: patient, DoctorID: doctor, OwnerID: owner, AssignedAt: day}
}

func removeMapping(id, patient, doctor, owner int64) events.Payload {
	return events.MappingRemoved{MappingID: id, PatientID: patient, DoctorID: doctor, OwnerID: owner}
}

// rowsAfter applies batches to empty tables and answers what they hold then.
func (d *database) rowsAfter(batches [][]events.Recorded) string {
	d.t.Helper()
	for _, table := range []string{"users", "patients", "doctors", "mappings", "checkpoints"} {
		d.exec("delete from " + table)
	}
	p := d.process()
	stop := background(d.t, p.runner.Run)
	for _, batch := range batches {
		p.apply(batch)
	}
	if err := stop(); err != nil {
		d.t.Fatal(err)
	}
	return d.dump()
}

// Every case is applied as one batch, and again event by event: the rows must be
// the same, and these.
func TestEventsBecomeRows(t *testing.T) {
	t.Parallel()
	const at = `"2025-09-01 23:35:09.123456+00"`
	base := []events.Payload{ // positions 1 to 6
		registerUser(1), registerPatient(1, 1), registerPatient(2, 1), registerDoctor(1, "a@x"), registerDoctor(2, "b@x"), createMapping(1, 1, 1, 1),
	}
	const (
		user1    = `users (1,User1,u1@example.org,t,` + at + `,0,{})`
		patient1 = `patients (1,1,P1,Doe,40,Female,` + at + `,2)`
		patient2 = `patients (2,1,P2,Doe,40,Female,` + at + `,3)`
		doctor1  = `doctors (1,D1,Roe,Surgery,a@x,1,` + at + `,4)`
		doctor2  = `doctors (2,D2,Roe,Surgery,b@x,1,` + at + `,5)`
		mapping1 = `mappings (1,1,1,1,` + at + `)`
	)
	d := newDatabase(t)
	for _, c := range []struct {
		name string
		then []events.Payload // from position 7
		want []string
	}{
		{"registered", nil, []string{user1, patient1, patient2, doctor1, doctor2, mapping1}},
		{"a patient is amended twice",
			[]events.Payload{
				events.PatientAmended{PatientID: 1, OwnerID: 1, FirstName: point("Ann"), Age: point(41)},
				events.PatientAmended{PatientID: 1, OwnerID: 1, Age: point(42), Gender: point("Other")},
			},
			[]string{user1, `patients (1,1,Ann,Doe,42,Other,` + at + `,8)`, patient2, doctor1, doctor2, mapping1}},
		{"a doctor is amended in all fields",
			[]events.Payload{
				events.DoctorAmended{DoctorID: 1, FirstName: point("Sam"), LastName: point("Poe"), Specialization: point("ENT")},
				events.DoctorAmended{DoctorID: 1, Email: point("A@x"), Phone: point("2")},
			},
			[]string{user1, patient1, patient2, `doctors (1,Sam,Poe,ENT,A@x,2,` + at + `,8)`, doctor2, mapping1}},
		{"registered, amended and removed",
			[]events.Payload{
				registerPatient(3, 1), events.PatientAmended{PatientID: 3, OwnerID: 1, Age: point(1)}, createMapping(2, 3, 2, 1),
				events.PatientRemoved{PatientID: 3, OwnerID: 1}, removeMapping(2, 3, 2, 1),
				registerDoctor(3, "c@x"), events.DoctorRemoved{DoctorID: 3},
			},
			[]string{user1, patient1, patient2, doctor1, doctor2, mapping1}},
		{"amended and removed",
			[]events.Payload{
				events.PatientAmended{PatientID: 2, OwnerID: 1, Age: point(1)}, events.PatientRemoved{PatientID: 2, OwnerID: 1},
				amendDoctorEmail(2, "z@x"), events.DoctorRemoved{DoctorID: 2},
			},
			[]string{user1, patient1, doctor1, mapping1}},
		{"a patient's removal ends the mappings",
			[]events.Payload{createMapping(2, 1, 2, 1), createMapping(3, 2, 2, 1), events.PatientRemoved{PatientID: 1, OwnerID: 1}},
			[]string{user1, patient2, doctor1, doctor2, `mappings (3,2,2,1,` + at + `)`}},
		{"a doctor's removal ends the mappings",
			[]events.Payload{createMapping(2, 2, 1, 1), createMapping(3, 2, 2, 1), events.DoctorRemoved{DoctorID: 1}, removeMapping(1, 1, 1, 1), removeMapping(2, 2, 1, 1)},
			[]string{user1, patient1, patient2, doctor2, `mappings (3,2,2,1,` + at + `)`}},
		{"a pair is mapped again",
			[]events.Payload{removeMapping(1, 1, 1, 1), createMapping(2, 1, 1, 1), removeMapping(2, 1, 1, 1), createMapping(3, 1, 1, 1)},
			[]string{user1, patient1, patient2, doctor1, doctor2, `mappings (3,1,1,1,` + at + `)`}},
		{"an e-mail address moves to another doctor",
			[]events.Payload{amendDoctorEmail(1, "c@x"), amendDoctorEmail(2, "a@x")},
			[]string{user1, patient1, patient2, `doctors (1,D1,Roe,Surgery,c@x,1,` + at + `,7)`, `doctors (2,D2,Roe,Surgery,a@x,1,` + at + `,8)`, mapping1}},
		{"two doctors exchange their e-mail addresses",
			[]events.Payload{amendDoctorEmail(1, "c@x"), amendDoctorEmail(2, "a@x"), amendDoctorEmail(1, "b@x")},
			[]string{user1, patient1, patient2, `doctors (1,D1,Roe,Surgery,b@x,1,` + at + `,9)`, `doctors (2,D2,Roe,Surgery,a@x,1,` + at + `,8)`, mapping1}},
		{"an e-mail address is freed for a new doctor",
			[]events.Payload{amendDoctorEmail(1, "c@x"), registerDoctor(3, "a@x"), events.DoctorRemoved{DoctorID: 2}, registerDoctor(4, "b@x")},
			[]string{user1, patient1, patient2, `doctors (1,D1,Roe,Surgery,c@x,1,` + at + `,7)`,
				`doctors (3,D3,Roe,Surgery,a@x,1,` + at + `,8)`, `doctors (4,D4,Roe,Surgery,b@x,1,` + at + `,10)`, mapping1}},
		{"a user is disabled",
			[]events.Payload{events.UserDisabled{UserID: 1}, registerUser(2)},
			[]string{`users (1,User1,u1@example.org,f,` + at + `,0,{})`, `users (2,User2,u2@example.org,t,` + at + `,0,{})`, patient1, patient2, doctor1, doctor2, mapping1}},
		{"a user is disabled and enabled",
			[]events.Payload{events.UserDisabled{UserID: 1}, events.UserEnabled{UserID: 1}},
			[]string{user1, patient1, patient2, doctor1, doctor2, mapping1}},
		{"a password is changed twice, and the user disabled",
			[]events.Payload{events.UserPasswordChanged{UserID: 1}, events.UserDisabled{UserID: 1}, events.UserPasswordChanged{UserID: 1}},
			[]string{`users (1,User1,u1@example.org,f,` + at + `,9,{})`, patient1, patient2, doctor1, doctor2, mapping1}},
		{"a user registers, is disabled, gets another password",
			[]events.Payload{registerUser(2), events.UserDisabled{UserID: 2}, events.UserPasswordChanged{UserID: 2}},
			[]string{user1, `users (2,User2,u2@example.org,f,` + at + `,9,{})`, patient1, patient2, doctor1, doctor2, mapping1}},
		{"roles are granted and revoked",
			[]events.Payload{
				events.UserRoleGranted{UserID: 1, Role: events.Auditor}, events.UserRoleGranted{UserID: 1, Role: events.Admin},
				registerUser(2), events.UserRoleGranted{UserID: 2, Role: events.Admin}, events.UserRoleRevoked{UserID: 2, Role: events.Admin},
				registerUser(3), events.UserRoleGranted{UserID: 3, Role: events.Auditor}, events.UserRoleRevoked{UserID: 3, Role: events.Admin},
			},
			[]string{`users (1,User1,u1@example.org,t,` + at + `,0,"{admin,auditor}")`, `users (2,User2,u2@example.org,t,` + at + `,0,{})`,
				`users (3,User3,u3@example.org,t,` + at + `,0,{auditor})`, patient1, patient2, doctor1, doctor2, mapping1}},
		{"addresses that differ in case are different",
			[]events.Payload{registerDoctor(3, "A@x")},
			[]string{user1, patient1, patient2, doctor1, doctor2, `doctors (3,D3,Roe,Surgery,A@x,1,` + at + `,7)`, mapping1}},
	} {
		log := history(t, slices.Concat(base, c.then)...)
		want := strings.Join(c.want, "\n") + "\n"
		for split, batches := range map[string][][]events.Recorded{
			"one batch":      {log},
			"two batches":    {log[:len(base)], log[len(base):]},
			"event by event": slices.Collect(slices.Chunk(log, 1)),
		} {
			if got := d.rowsAfter(batches); got != want {
				t.Errorf("%s, %s: got\n%swant\n%s", c.name, split, got, want)
			}
		}
	}
}

// randomHistory is a valid history: ids are never used again, e-mail addresses
// of doctors are unique at any time, only what exists is changed, and removals
// are followed by those of the mappings that end with them.
func randomHistory(random *rand.Rand, length int) []events.Payload {
	log := []events.Payload{registerUser(1), registerUser(2)}
	var next int64 = 1
	patients, doctors := map[int64]int64{}, map[int64]string{} // owners, e-mail addresses
	mappings := map[int64][2]int64{}
	free := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
	take := func() string {
		i := random.IntN(len(free))
		email := free[i]
		free = slices.Delete(free, i, i+1)
		return email
	}
	end := func(id int64) {
		pair := mappings[id]
		delete(mappings, id)
		log = append(log, removeMapping(id, pair[0], pair[1], 1))
	}
	for len(log) < length {
		id := next
		next++
		switch patient, doctor, mapping := pick(random, patients), pick(random, doctors), pick(random, mappings); random.IntN(11) {
		case 0, 1:
			owner := 1 + random.Int64N(2)
			patients[id] = owner
			log = append(log, registerPatient(id, owner))
		case 2:
			if len(free) > 0 {
				doctors[id] = take()
				log = append(log, registerDoctor(id, doctors[id]))
			}
		case 3:
			if patient != 0 {
				log = append(log, events.PatientAmended{PatientID: patient, OwnerID: patients[patient], Age: point(random.IntN(100))})
			}
		case 4, 5:
			if doctor != 0 && len(free) > 0 {
				email := take()
				free = append(free, doctors[doctor])
				doctors[doctor] = email
				log = append(log, amendDoctorEmail(doctor, email))
			}
		case 6, 7:
			if patient != 0 && doctor != 0 {
				mappings[id] = [2]int64{patient, doctor}
				log = append(log, createMapping(id, patient, doctor, patients[patient]))
			}
		case 8:
			if mapping != 0 {
				end(mapping)
			}
		case 9:
			if patient != 0 && random.IntN(2) == 0 {
				log = append(log, events.PatientRemoved{PatientID: patient, OwnerID: patients[patient]})
				delete(patients, patient)
				for _, id := range sorted(mappings) {
					if mappings[id][0] == patient {
						end(id)
					}
				}
			} else if doctor != 0 {
				log = append(log, events.DoctorRemoved{DoctorID: doctor})
				free = append(free, doctors[doctor])
				delete(doctors, doctor)
				for _, id := range sorted(mappings) {
					if mappings[id][1] == doctor {
						end(id)
					}
				}
			}
		case 10:
			user := 1 + random.Int64N(2)
			log = append(log, []events.Payload{
				events.UserDisabled{UserID: user}, events.UserEnabled{UserID: user}, events.UserPasswordChanged{UserID: user},
				events.UserRoleGranted{UserID: user, Role: events.Roles()[random.IntN(2)]}, events.UserRoleRevoked{UserID: user, Role: events.Roles()[random.IntN(2)]},
			}[random.IntN(5)])
		}
	}
	return log
}

func sorted[V any](m map[int64]V) []int64 {
	var keys []int64
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func pick[V any](random *rand.Rand, m map[int64]V) int64 {
	keys := sorted(m)
	if len(keys) == 0 {
		return 0
	}
	return keys[random.IntN(len(keys))]
}

func TestEverySplitIntoBatchesLeavesTheSameRows(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 0))
		log := history(t, randomHistory(random, 250)...)
		want := d.rowsAfter(slices.Collect(slices.Chunk(log, 1)))
		if lines := strings.Count(want, "\n"); lines < 15 {
			t.Fatalf("seed %d: the history leaves only %d rows:\n%s", seed, lines, want)
		}
		for _, longest := range []int{3, 20, 250} {
			var batches [][]events.Recorded
			for rest := log; len(rest) > 0; {
				n := min(1+random.IntN(longest), len(rest))
				batches = append(batches, rest[:n])
				rest = rest[n:]
			}
			if got := d.rowsAfter(batches); got != want {
				t.Fatalf("seed %d, batches of up to %d: got\n%swant\n%s", seed, longest, got, want)
			}
		}
	}
}

// A plan that was made while the tables were empty must not be a scan of tables
// that have grown, even when they were never analysed.
func TestNoStatementScansATable(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.process()
	stop := background(t, p.runner.Run)
	payloads := []events.Payload{registerUser(1), registerUser(2)}
	for id := range int64(50) {
		payloads = append(payloads, registerPatient(id+1, 1), registerDoctor(id+1, fmt.Sprint(id)), createMapping(id+1, id+1, id+1, 1))
	}
	for id := range int64(20) {
		payloads = append(payloads,
			events.PatientAmended{PatientID: id + 1, OwnerID: 1, Age: point(1)}, amendDoctorEmail(id+1, fmt.Sprint("new", id)),
			removeMapping(id+1, id+1, id+1, 1), events.UserDisabled{UserID: 2}, events.UserPasswordChanged{UserID: 2}, events.PatientRemoved{PatientID: id + 31, OwnerID: 1}, events.DoctorRemoved{DoctorID: id + 30})
	}
	for _, batch := range slices.Collect(slices.Chunk(history(t, payloads...), 10)) {
		p.apply(batch)
		readOnce(t, NewQueries(d.pool))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	d.pool.Reset() // what a connection has counted is told when it ends
	eventually(t, "the statistics show the inserts", func() bool {
		return query[int](d, "select sum(n_tup_ins) from pg_stat_user_tables where schemaname = 'projections'") >= 151
	})
	if scanned := query[string](d, `select coalesce(string_agg(relname, ' '), '') from pg_stat_user_tables
		where schemaname = 'projections' and seq_scan > 0`); scanned != "" {
		t.Errorf("these tables were scanned: %s", scanned)
	}
}
