package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

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

// TestTheTablesDecideLikeTheLog: however far the read tables are behind, the same
// comes of every command as by the log alone, also where somebody else comes in
// between. Histories and commands are random.
func TestTheTablesDecideLikeTheLog(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			for _, difference := range differences(seed, func(*Service, *tables) {}) {
				t.Fatal(difference)
			}
		})
	}
}

// The negative control: without one of the safeguards the same test finds
// differences.
func TestWhatKeepsTheTablesFromMisleading(t *testing.T) {
	for name, spoil := range map[string]func(*Service, *tables){
		"events are appended after the head, not after the tables": func(s *Service, r *tables) {
			s.Log = spoiltLog{Log: s.Log, append: func(c *events.AppendCondition) { c.After = events.Position(len(r.log.given)) }}
		},
		"the tables claim to be further than they are": func(_ *Service, r *tables) {
			r.claimed = events.Position(len(r.log.given))
		},
		"the log is not asked what came after the tables": func(s *Service, _ *tables) {
			s.Log = spoiltLog{Log: s.Log, load: func(_ events.Query, after events.Position) bool { return after == 0 }}
		},
		"the log is not asked for an earlier request": func(s *Service, r *tables) {
			s.Log = spoiltLog{Log: s.Log, load: func(q events.Query, _ events.Position) bool {
				return r.reads == 0 || len(q) > 1 || len(q[0].Types) > 0
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(20) {
				if found := differences(seed, spoil); len(found) > 0 {
					t.Log(found[0])
					return
				}
			}
			t.Error("nothing is found")
		})
	}
}

// spoiltLog is a log that leaves out what it does not let through.
type spoiltLog struct {
	Log
	load   func(events.Query, events.Position) bool
	append func(*events.AppendCondition)
}

func (l spoiltLog) Load(ctx context.Context, q events.Query, after events.Position) ([]events.Recorded, events.Position, error) {
	found, head, err := l.Log.Load(ctx, q, after)
	if l.load != nil && !l.load(q, after) {
		found = nil
	}
	return found, head, err
}

func (l spoiltLog) Append(ctx context.Context, evs []events.Event, condition events.AppendCondition) (events.Position, error) {
	if l.append != nil {
		l.append(&condition)
	}
	return l.Log.Append(ctx, evs, condition)
}

// racedLog has others append just before the first append.
type racedLog struct {
	Log
	others func()
}

func (l racedLog) Append(ctx context.Context, evs []events.Event, condition events.AppendCondition) (events.Position, error) {
	l.others()
	return l.Log.Append(ctx, evs, condition)
}

// differences makes a history, command after command, and compares for each what
// comes of it by the log alone with what does by tables at every position.
func differences(seed uint64, change func(*Service, *tables)) (found []string) {
	r := rand.New(rand.NewPCG(seed, 0))
	var log history
	for len(log.given) < 30 {
		name, send := randomCommand(r, log.given)
		want := log.outcome(send, func(*Service, *history) {})
		_, sendOther := randomCommand(r, log.given)
		other := log.outcome(sendOther, func(*Service, *history) {})
		afterOther := log
		afterOther.add(other.events)
		afterOther.nextID += 10
		wantAfterOther := afterOther.outcome(send, func(*Service, *history) {})

		for at := range len(log.given) + 1 {
			byTables := func(service *Service, log *history) *tables {
				r := &tables{log: log, at: events.Position(at)}
				service.Records = r
				return r
			}
			got := log.outcome(send, func(service *Service, log *history) {
				change(service, byTables(service, log))
			})
			if got.text != want.text {
				found = append(found, fmt.Sprintf("after %d events, tables at %d: %s\n  by the tables %s\n  by the log    %s", len(log.given), at, name, got.text, want.text))
			}
			raced := afterOther // for the ids that it draws
			raced.given = log.given
			got = raced.outcome(send, func(service *Service, log *history) {
				service.Log = racedLog{log, sync.OnceFunc(func() { log.add(other.events) })}
				change(service, byTables(service, log))
			})
			// Who appends nothing may have been first, but not who appends.
			if got.text != wantAfterOther.text && (got.events != nil || got.text != want.text) {
				found = append(found, fmt.Sprintf("after %d events, tables at %d, raced by %s: %s\n  by the tables %s\n  by the log    %s",
					len(log.given), at, described(other.events), name, got.text, wantAfterOther.text))
			}
		}
		log.add(want.events)
		log.nextID++
	}
	return found
}

// outcome is what comes of a command.
type outcome struct {
	text   string // all that can be told of it
	events []events.Event
}

// sending is a command on its way.
type sending func(context.Context, *Service) (any, events.Position, error)

// outcome sends a command to a service with a copy of the log.
func (h *history) outcome(send sending, change func(*Service, *history)) outcome {
	log := &history{given: slices.Clip(h.given), nextID: h.nextID}
	service := &Service{Log: log, TagKey: key, Registry: registry, Now: func() time.Time { return noon }, NewID: uuid.NewRandom}
	change(service, log)
	answer, position, err := send(context.Background(), service)
	if err != nil {
		answer = nil
	}
	return outcome{fmt.Sprintf("%+v at %d, %T %v, %s", answer, position, err, err, described(log.appended)), log.appended}
}

// described is everything about events but their ids.
func described(evs []events.Event) string {
	text := ""
	for _, e := range evs {
		var m events.Metadata
		if err := json.Unmarshal(e.Metadata, &m); err != nil {
			panic(err)
		}
		text += fmt.Sprintf("%s %s %v %t %s; ", e.Type, e.Data, e.Tags, m.CausationID == evs[0].ID.String(), m.Fingerprint)
	}
	return text
}

// add appends events to what is given.
func (h *history) add(evs []events.Event) {
	h.given = slices.Clip(h.given)
	for _, e := range evs {
		h.given = append(h.given, events.Recorded{Event: e, Position: events.Position(len(h.given) + 1)})
	}
}

// randomCommand makes up a command about records that the log knows, most of them
// one user's. Names and addresses are few, so that they are fought for. Some
// commands expect a position, some have a key, and some of those are repeated.
func randomCommand(r *rand.Rand, log []events.Recorded) (name string, send sending) {
	ids := map[events.Type][]int64{}
	for _, e := range log {
		payload, err := registry.Decode(e.Event)
		if err != nil {
			panic(err)
		}
		switch p := payload.(type) {
		case events.PatientRegistered:
			ids[p.EventType()] = append(ids[p.EventType()], p.PatientID)
		case events.DoctorRegistered:
			ids[p.EventType()] = append(ids[p.EventType()], p.DoctorID)
		case events.MappingCreated:
			ids[p.EventType()] = append(ids[p.EventType()], p.MappingID)
		}
	}
	some := func(t events.Type) int64 {
		known := ids[t][max(0, len(ids[t])-3):]
		if len(known) == 0 {
			return 0
		}
		return known[r.IntN(len(known))]
	}
	text, email := fmt.Sprint("N", r.IntN(3)), fmt.Sprintf("e%d@x.io", r.IntN(3))
	patient, doctor, mapping := some(events.PatientRegisteredType), some(events.DoctorRegisteredType), some(events.MappingCreatedType)
	var expected IfMatch
	if r.IntN(4) == 0 {
		expected = matching(events.Position(r.IntN(len(log)+1)), events.Position(r.IntN(len(log)+1)), events.Position(r.IntN(len(log)+1)))
	}
	caller := Caller{UserID: 1 + int64(r.IntN(10)/9)}
	if r.IntN(2) == 0 {
		caller = keyed(caller.UserID, "POST", "/", fmt.Sprint("k", r.IntN(2)))
	}
	none := func(position events.Position, err error) (any, events.Position, error) { return nil, position, err }
	switch r.IntN(12) {
	case 0, 1:
		return "register a patient", func(ctx context.Context, s *Service) (any, events.Position, error) {
			return answer(s.RegisterPatient(ctx, caller, RegisterPatient{text, "Ray", 40, "Male"}))
		}
	case 2, 3:
		return fmt.Sprint("amend patient ", patient), func(ctx context.Context, s *Service) (any, events.Position, error) {
			return answer(s.AmendPatient(ctx, caller, AmendPatient{ID: patient, FirstName: &text, IfMatch: expected}))
		}
	case 4:
		return fmt.Sprint("remove patient ", patient), func(ctx context.Context, s *Service) (any, events.Position, error) {
			return none(s.RemovePatient(ctx, caller, RemovePatient{patient, expected}))
		}
	case 5, 6:
		return "register a doctor", func(ctx context.Context, s *Service) (any, events.Position, error) {
			return answer(s.RegisterDoctor(ctx, caller, RegisterDoctor{text, "Johnson", "Cardiology", email, "1"}))
		}
	case 7:
		return fmt.Sprint("amend the e-mail of doctor ", doctor), func(ctx context.Context, s *Service) (any, events.Position, error) {
			return answer(s.AmendDoctor(ctx, caller, AmendDoctor{ID: doctor, FirstName: &text, Email: &email, IfMatch: expected}))
		}
	case 8:
		return fmt.Sprint("amend doctor ", doctor), func(ctx context.Context, s *Service) (any, events.Position, error) {
			return answer(s.AmendDoctor(ctx, caller, AmendDoctor{ID: doctor, FirstName: &text, IfMatch: expected}))
		}
	case 9:
		return fmt.Sprint("remove doctor ", doctor), func(ctx context.Context, s *Service) (any, events.Position, error) {
			return none(s.RemoveDoctor(ctx, caller, RemoveDoctor{doctor, expected}))
		}
	case 10:
		return fmt.Sprintf("map %d to %d", patient, doctor), func(ctx context.Context, s *Service) (any, events.Position, error) {
			return answer(s.MapDoctor(ctx, caller, MapDoctor{patient, doctor}))
		}
	default:
		return fmt.Sprint("unmap ", mapping), func(ctx context.Context, s *Service) (any, events.Position, error) {
			return none(s.UnmapDoctor(ctx, caller, mapping))
		}
	}
}
