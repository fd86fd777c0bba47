package commands

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/carelog/carelog/events"
)

// tables plays the read tables, which contain the log up to a position. It folds
// in its own way: by removals they lose rows.
type tables struct {
	log     *history
	at      events.Position
	claimed events.Position // what they say that they contain; 0: the truth
	reads   int
}

func (r *tables) Snapshots(_ context.Context, of events.Subjects) ([]events.Snapshot, events.Position, error) {
	r.reads++
	patients, doctors, mappings := map[int64]events.Snapshot{}, map[int64]events.Snapshot{}, map[int64]events.MappingCreated{}
	for _, recorded := range r.log.given[:r.at] {
		payload, err := registry.Decode(recorded.Event)
		if err != nil {
			return nil, 0, err
		}
		switch e := payload.(type) {
		case events.PatientRegistered:
			patients[e.PatientID] = events.Snapshot{Payload: e, Position: recorded.Position}
		case events.PatientAmended:
			p := patients[e.PatientID].Payload.(events.PatientRegistered)
			for field, value := range map[*string]*string{&p.FirstName: e.FirstName, &p.LastName: e.LastName, &p.Gender: e.Gender} {
				set(field, value)
			}
			set(&p.Age, e.Age)
			patients[e.PatientID] = events.Snapshot{Payload: p, Position: recorded.Position}
		case events.PatientRemoved:
			delete(patients, e.PatientID)
			maps.DeleteFunc(mappings, func(_ int64, m events.MappingCreated) bool { return m.PatientID == e.PatientID })
		case events.DoctorRegistered:
			doctors[e.DoctorID] = events.Snapshot{Payload: e, Position: recorded.Position}
		case events.DoctorAmended:
			d := doctors[e.DoctorID].Payload.(events.DoctorRegistered)
			for field, value := range map[*string]*string{&d.FirstName: e.FirstName, &d.LastName: e.LastName,
				&d.Specialization: e.Specialization, &d.Email: e.Email, &d.Phone: e.Phone} {
				set(field, value)
			}
			doctors[e.DoctorID] = events.Snapshot{Payload: d, Position: recorded.Position}
		case events.DoctorRemoved:
			delete(doctors, e.DoctorID)
			maps.DeleteFunc(mappings, func(_ int64, m events.MappingCreated) bool { return m.DoctorID == e.DoctorID })
		case events.MappingCreated:
			mappings[e.MappingID] = e
		case events.MappingRemoved:
			delete(mappings, e.MappingID)
		}
	}
	var there []events.Snapshot
	if of.Patient != nil && patients[*of.Patient].Payload != nil {
		there = append(there, patients[*of.Patient])
	}
	for id, d := range doctors {
		if of.Doctor != nil && *of.Doctor == id || of.DoctorEmail != nil && d.Payload.(events.DoctorRegistered).Email == *of.DoctorEmail {
			there = append(there, d)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(mappings)) {
		m := mappings[id]
		if of.Mappings && (of.Patient == nil || m.PatientID == *of.Patient) && (of.Doctor == nil || m.DoctorID == *of.Doctor) {
			there = append(there, events.Snapshot{Payload: m})
		}
	}
	return there, max(r.at, r.claimed), nil
}

// TestByTheTables: what is read, where the tables contain the log up to a
// position.
func TestByTheTables(t *testing.T) {
	history := []draft{patient(5, 1), doctor(7, "d@x.io"), doctor(8, "e@x.io"), mapped(1, 5, 7, 1), patient(6, 1)}
	amend := func(s *Service, c Caller) error {
		_, _, err := s.AmendPatient(t.Context(), c, AmendPatient{ID: 5, Age: ptr(31)})
		return err
	}
	mapDoctor := func(s *Service, c Caller) error {
		_, _, err := s.MapDoctor(t.Context(), c, MapDoctor{5, 8})
		return err
	}
	for _, c := range []struct {
		name  string
		since []draft // what the tables do not contain
		when  func(*Service, Caller) error
		after events.Position // of the condition; 0 for no events
		loads int             // of the log
		err   error
	}{
		{"a change", nil, amend, 5, 0, nil},
		{"a change after events that do not matter", []draft{mapped(2, 5, 8, 1), patientAged(6, 1, 50), doctorRemoved(7, "d@x.io")}, amend, 5, 0, nil},
		{"a change after one that does", []draft{patientAged(5, 1, 50)}, amend, 6, 1, nil},
		{"a change that was made", []draft{patientAged(5, 1, 31)}, amend, 0, 1, nil},
		{"a change of what was removed", []draft{patientRemoved(5, 1)}, amend, 0, 1, ErrNotFound},
		{"a change of what is not there yet", []draft{patient(9, 1)}, func(s *Service, c Caller) error {
			_, _, err := s.AmendPatient(t.Context(), c, AmendPatient{ID: 9, Age: ptr(31)})
			return err
		}, 6, 1, nil},
		{"nothing changes", nil, func(s *Service, c Caller) error {
			_, _, err := s.AmendPatient(t.Context(), c, AmendPatient{ID: 5, Age: ptr(30)})
			return err
		}, 0, 1, nil},
		{"a refusal", nil, func(s *Service, c Caller) error {
			_, _, err := s.AmendPatient(t.Context(), c, AmendPatient{ID: 5, Age: ptr(31), IfMatch: matching(2)})
			return err
		}, 0, 1, ErrPreconditionFailed},
		{"a taken e-mail", nil, func(s *Service, c Caller) error {
			_, _, err := s.AmendDoctor(t.Context(), c, AmendDoctor{ID: 7, Email: ptr("e@x.io")})
			return err
		}, 0, 1, ErrEmailTaken},
		{"an e-mail given up", []draft{doctorEmailChanged(8, "e@x.io", "f@x.io")}, func(s *Service, c Caller) error {
			_, _, err := s.AmendDoctor(t.Context(), c, AmendDoctor{ID: 7, Email: ptr("e@x.io")})
			return err
		}, 6, 1, nil},
		{"a free e-mail", nil, func(s *Service, c Caller) error {
			_, _, err := s.RegisterDoctor(t.Context(), c, RegisterDoctor{Email: "f@x.io"})
			return err
		}, 5, 0, nil},
		{"an e-mail that was taken", []draft{doctor(9, "f@x.io")}, func(s *Service, c Caller) error {
			_, _, err := s.RegisterDoctor(t.Context(), c, RegisterDoctor{Email: "f@x.io"})
			return err
		}, 0, 1, ErrEmailTaken},
		{"a pair", []draft{mapped(2, 6, 8, 1)}, mapDoctor, 5, 0, nil},
		{"a pair that is mapped", []draft{mapped(2, 5, 8, 1)}, mapDoctor, 0, 1, ErrPairTaken},
		{"a doctor who is removed", []draft{doctorRemoved(8, "e@x.io")}, mapDoctor, 0, 1, &UnknownKeysError{Doctor: true}},
		{"a removal", []draft{patientAged(5, 1, 50)}, func(s *Service, c Caller) error {
			_, err := s.RemovePatient(t.Context(), c, RemovePatient{ID: 5})
			return err
		}, 5, 0, nil},
		{"a removal of what was mapped", []draft{mapped(2, 5, 8, 1)}, func(s *Service, c Caller) error {
			_, err := s.RemovePatient(t.Context(), c, RemovePatient{ID: 5})
			return err
		}, 6, 1, nil},
		{"the end of a mapping, by the log alone", nil, func(s *Service, c Caller) error {
			_, err := s.UnmapDoctor(t.Context(), c, 1)
			return err
		}, 5, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, caller := range []Caller{{UserID: 1}, keyed(1, "POST", "/", "k")} {
				service, log := given(t, append(slices.Clip(history), c.since...)...)
				r := &tables{log: log, at: 5}
				service.Records = r
				if err := c.when(service, caller); fmt.Sprint(err) != fmt.Sprint(c.err) {
					t.Errorf("refused with %v, want %v", err, c.err)
				}
				loads := c.loads
				if caller.Idempotency.Key != "" && r.reads > 0 {
					loads++ // for an earlier request with the key
				}
				if log.loads != loads || log.condition.After != c.after {
					t.Errorf("decided with %d readings of the log, after position %d; want %d and %d", log.loads, log.condition.After, loads, c.after)
				}
			}
		})
	}
}

// Whether the tables can be read or not is not for a command to pass over.
func TestTablesThatCannotBeRead(t *testing.T) {
	service, log := given(t, patient(5, 1))
	service.Records = unreadable{}
	if _, position, err := service.AmendPatient(t.Context(), Caller{UserID: 1}, AmendPatient{ID: 5, Age: ptr(31)}); !errors.Is(err, events.ErrUnavailable) || position != 0 || log.loads != 0 {
		t.Errorf("at %d, %v", position, err)
	}
}

type unreadable struct{}

func (unreadable) Snapshots(context.Context, events.Subjects) ([]events.Snapshot, events.Position, error) {
	return nil, 0, events.ErrUnavailable
}

// TestTheLogWentBackUnderACommand: the tables told of an event that is not in the
// log any more when the command appends, or asks the log.
func TestTheLogWentBackUnderACommand(t *testing.T) {
	_, gone := given(t, user(1, "a@x"), patient(7, 1), draft{events.PatientAmended{PatientID: 7, OwnerID: 1, FirstName: ptr("Bob")}, patientTags(7, 1)})
	for _, name := range []string{"Bob", "Carol"} {
		s, h := given(t, user(1, "a@x"), patient(7, 1))
		s.Records = &tables{log: gone, at: 3}
		got, at, err := s.AmendPatient(t.Context(), Caller{UserID: 1}, AmendPatient{ID: 7, FirstName: &name})
		if err != nil || at != 3 || got.FirstName != name || len(h.appended) != 1 || h.condition.After != 2 {
			t.Errorf("%s: %+v at %d, %v; appended %d events on the condition after %d", name, got, at, err, len(h.appended), h.condition.After)
		}
	}
}
