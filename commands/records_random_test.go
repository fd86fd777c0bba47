package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
)

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

func (l spoiltLog) Append(ctx context.Context, evs []events.Event, conditions ...events.AppendCondition) (events.Position, error) {
	if l.append != nil {
		l.append(&conditions[0])
	}
	return l.Log.Append(ctx, evs, conditions...)
}

// racedLog has others append just before the first append.
type racedLog struct {
	Log
	others func()
}

func (l racedLog) Append(ctx context.Context, evs []events.Event, conditions ...events.AppendCondition) (events.Position, error) {
	l.others()
	return l.Log.Append(ctx, evs, conditions...)
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
