package commands

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/carelog/carelog/events"
)

func keyed(user int64, method, path, key string) Caller {
	return Caller{UserID: user, Idempotency: Idempotency{Key: key, Method: method, Path: path}}
}

// repeated are commands under a key, given patient 5 of user 1, doctors 7 and 8
// and their mappings; what happens afterwards; and another command under the
// same key.
var repeated = []struct {
	name      string
	send      func(*testing.T, *Service, string) (any, events.Position, error)
	events    int
	afterward []draft
	another   func(*testing.T, *Service, string) error
}{
	{"register a patient", func(t *testing.T, s *Service, key string) (any, events.Position, error) {
		return answer(s.RegisterPatient(t.Context(), keyed(1, "POST", "/api/patients", key), RegisterPatient{"Bob", "Ray", 40, "Male"}))
	}, 1, []draft{patientAged(101, 1, 41), patientRemoved(101, 1)},
		func(t *testing.T, s *Service, key string) error {
			_, _, err := s.RegisterPatient(t.Context(), keyed(1, "POST", "/api/patients", key), RegisterPatient{"Bob", "Ray", 41, "Male"})
			return err
		}},
	{"amend a patient", func(t *testing.T, s *Service, key string) (any, events.Position, error) {
		return answer(s.AmendPatient(t.Context(), keyed(1, "PATCH", "/api/patients/5", key), AmendPatient{ID: 5, LastName: ptr("Jones"), IfMatch: matching(1)}))
	}, 1, []draft{patientAged(5, 1, 77), patientRemoved(5, 1)},
		func(t *testing.T, s *Service, key string) error {
			_, _, err := s.AmendPatient(t.Context(), keyed(1, "PATCH", "/api/patients/5", key), AmendPatient{ID: 5, FirstName: ptr("Jones")})
			return err
		}},
	{"remove a patient", func(t *testing.T, s *Service, key string) (any, events.Position, error) {
		position, err := s.RemovePatient(t.Context(), keyed(1, "DELETE", "/api/patients/5", key), RemovePatient{ID: 5, IfMatch: matching(1)})
		return nil, position, err
	}, 3, nil, nil},
	{"register a doctor", func(t *testing.T, s *Service, key string) (any, events.Position, error) {
		return answer(s.RegisterDoctor(t.Context(), keyed(1, "POST", "/api/doctors", key), RegisterDoctor{"Sarah", "Johnson", "Cardiology", "n@x.io", "1"}))
	}, 1, []draft{doctorEmailChanged(101, "n@x.io", "m@x.io"), doctor(9, "n@x.io")},
		func(t *testing.T, s *Service, key string) error {
			_, _, err := s.RegisterDoctor(t.Context(), keyed(1, "POST", "/api/doctors", key), RegisterDoctor{"Sarah", "Johnson", "Cardiology", "o@x.io", "1"})
			return err
		}},
	{"amend a doctor", func(t *testing.T, s *Service, key string) (any, events.Position, error) {
		return answer(s.AmendDoctor(t.Context(), keyed(1, "PUT", "/api/doctors/7", key), AmendDoctor{ID: 7, Email: ptr("n@x.io")}))
	}, 1, []draft{doctorEmailChanged(7, "n@x.io", "m@x.io"), doctor(9, "n@x.io"), doctorRemoved(7, "m@x.io")},
		func(t *testing.T, s *Service, key string) error {
			_, _, err := s.AmendDoctor(t.Context(), keyed(1, "PUT", "/api/doctors/7", key), AmendDoctor{ID: 7})
			return err
		}},
	{"remove a doctor", func(t *testing.T, s *Service, key string) (any, events.Position, error) {
		position, err := s.RemoveDoctor(t.Context(), keyed(1, "DELETE", "/api/doctors/7", key), RemoveDoctor{ID: 7})
		return nil, position, err
	}, 2, []draft{doctor(9, "d@x.io")}, nil},
	{"map a doctor", func(t *testing.T, s *Service, key string) (any, events.Position, error) {
		return answer(s.MapDoctor(t.Context(), keyed(1, "POST", "/api/patients/mappings", key), MapDoctor{5, 9}))
	}, 1, []draft{{events.PatientAmended{PatientID: 5, OwnerID: 1, LastName: ptr("Other")}, patientTags(5, 1)}, unmapped(101, 5, 9, 1), doctorRemoved(9, "f@x.io")},
		func(t *testing.T, s *Service, key string) error {
			_, _, err := s.MapDoctor(t.Context(), keyed(1, "POST", "/api/patients/mappings", key), MapDoctor{5, 8})
			return err
		}},
	{"unmap a doctor", func(t *testing.T, s *Service, key string) (any, events.Position, error) {
		position, err := s.UnmapDoctor(t.Context(), keyed(1, "DELETE", "/api/patients/mappings/delete/1", key), 1)
		return nil, position, err
	}, 1, []draft{mapped(3, 5, 7, 1)}, nil},
}

func answer[R any](record R, position events.Position, err error) (any, events.Position, error) {
	return record, position, err
}

func manyGiven(t *testing.T) (*Service, *history) {
	return given(t, patient(5, 1), doctor(7, "d@x.io"), doctor(8, "e@x.io"), doctor(9, "f@x.io"), mapped(1, 5, 7, 1), mapped(2, 5, 8, 1))
}

func TestARepeatedRequestGetsTheFirstAnswer(t *testing.T) {
	for _, c := range repeated {
		t.Run(c.name, func(t *testing.T) {
			service, log := manyGiven(t)
			first, position, err := c.send(t, service, "k")
			if err != nil || len(log.appended) != c.events {
				t.Fatalf("%d events, %v", len(log.appended), err)
			}
			log.keep()
			drawn := log.nextID
			for _, d := range append([]draft{patient(6, 2)}, c.afterward...) {
				for contained := range events.Position(len(log.given) + 1) { // by the read tables
					service.Records = &tables{log: log, at: contained}
					again, at, err := c.send(t, service, "k")
					if err != nil || !reflect.DeepEqual(again, first) || at != position || log.appended != nil || log.nextID != drawn {
						t.Errorf("again: %+v at %d, %v\n  first: %+v at %d", again, at, err, first, position)
					}
				}
				log.record(d)
			}
			if c.another != nil {
				if err := c.another(t, service, "k"); !errors.Is(err, ErrKeyReused) || log.appended != nil {
					t.Errorf("another request: %v", err)
				}
			}
		})
	}
}

// Two that run at once: the second finds the first one's event when it decides
// again, also where nothing else would have kept it from appending.
func TestRepeatedRequestsAtOnce(t *testing.T) {
	for _, c := range repeated {
		t.Run(c.name, func(t *testing.T) {
			service, log := manyGiven(t)
			first, position, err := c.send(t, service, "k")
			if err != nil {
				t.Fatal(err)
			}
			log.keep()
			log.stale, log.loads = c.events, 0
			again, at, err := c.send(t, service, "k")
			if err != nil || !reflect.DeepEqual(again, first) || at != position || log.appended != nil || log.loads != 2 {
				t.Errorf("again: %+v at %d, %v, after %d decisions\n  first: %+v at %d", again, at, err, log.loads, first, position)
			}
		})
	}
}

// A key counts for one user, method and path.
func TestTheScopeOfAKey(t *testing.T) {
	service, log := given(t)
	register := func(caller Caller) int64 {
		t.Helper()
		p, _, err := service.RegisterPatient(t.Context(), caller, RegisterPatient{"Bob", "Ray", 40, "Male"})
		if err != nil {
			t.Fatal(err)
		}
		log.keep()
		return p.ID
	}
	first := register(keyed(1, "POST", "/api/patients", "k"))
	if again := register(keyed(1, "POST", "/api/patients", "k")); again != first {
		t.Errorf("the same: %d and %d", first, again)
	}
	for name, caller := range map[string]Caller{
		"another user":   keyed(2, "POST", "/api/patients", "k"),
		"another method": keyed(1, "PUT", "/api/patients", "k"),
		"another path":   keyed(1, "POST", "/api/other", "k"),
		"another key":    keyed(1, "POST", "/api/patients", "K"),
		"no key":         {UserID: 1},
		"no key, again":  {UserID: 1},
	} {
		if register(caller) == first {
			t.Errorf("%s gets the same answer", name)
		}
	}
}

// What was refused, or changed nothing, leaves no trace of the key.
func TestRefusalsAreNotRemembered(t *testing.T) {
	service, log := given(t, patient(5, 1))
	amend := func(lastName string, ifMatch IfMatch) error {
		_, _, err := service.AmendPatient(t.Context(), keyed(1, "PATCH", "/api/patients/5", "k"), AmendPatient{ID: 5, LastName: &lastName, IfMatch: ifMatch})
		return err
	}
	if err := amend("Jones", matching(9)); !errors.Is(err, ErrPreconditionFailed) {
		t.Fatal(err)
	}
	if err := amend("Smith", IfMatch{}); err != nil || log.appended != nil { // her name already
		t.Fatal(err)
	}
	if err := amend("Jones", IfMatch{}); err != nil || len(log.appended) != 1 {
		t.Fatal(err)
	}
	log.keep()
	// Carried out now, so the precondition was met: it is not looked at again.
	if err := amend("Jones", matching(1)); err != nil || log.appended != nil {
		t.Error(err)
	}
}

// The tag and the fingerprint are on the first event alone, and tell nothing of
// the key or the fields.
func TestWhatIsKeptOfAKey(t *testing.T) {
	service, log := manyGiven(t)
	caller := keyed(1, "DELETE", "/api/patients/5", "secret-key")
	if _, err := service.RemovePatient(t.Context(), caller, RemovePatient{ID: 5}); err != nil {
		t.Fatal(err)
	}
	tag := key.Idempotency(1, "DELETE", "/api/patients/5", "secret-key")
	for i, e := range log.appended {
		var m events.Metadata
		if err := json.Unmarshal(e.Metadata, &m); err != nil {
			t.Fatal(err)
		}
		tagged := strings.Contains(describe(t, log.appended[i:i+1]), "idem:")
		if tagged != (i == 0) || (m.Fingerprint != "") != (i == 0) {
			t.Errorf("event %d: tags %v, metadata %s", i, e.Tags, e.Metadata)
		}
		if strings.Contains(string(e.Metadata)+string(tag), "secret") {
			t.Errorf("the key stands in %s or %s", e.Metadata, tag)
		}
	}
	if want := append(patientTags(5, 1), tag); !reflect.DeepEqual(log.appended[0].Tags, want) {
		t.Errorf("tags %v, want %v", log.appended[0].Tags, want)
	}
	one, err := service.repeatable(caller, RegisterPatient{FirstName: "Alice"})
	if err != nil {
		t.Fatal(err)
	}
	caller.Idempotency.Key = "another"
	other, err := service.repeatable(caller, RegisterPatient{FirstName: "Alice"})
	if err != nil {
		t.Fatal(err)
	}
	if one.fingerprint == other.fingerprint {
		t.Error("equal fields have equal fingerprints under different keys")
	}
}
