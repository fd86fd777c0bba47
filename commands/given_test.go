package commands

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/carelog/carelog/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2025, 9, 1, 12, 0, 0, 123456000, time.UTC)

// history plays the log for one decision: what was given, and what was appended.
type history struct {
	given     []events.Recorded
	appended  []events.Event
	condition events.AppendCondition
	conflicts int     // how often an append fails before it succeeds
	meanwhile []draft // what others append just before the first append
	stale     int     // how many of the last events the first load does not see
	loads     int
	nextID    int64
}

func (h *history) Load(_ context.Context, q events.Query, after events.Position) ([]events.Recorded, events.Position, error) {
	h.loads++
	seen := h.given[:len(h.given)-h.stale]
	h.stale = 0
	var found []events.Recorded
	for _, e := range seen {
		if e.Position > after && q.Matches(e.Type, e.Tags) {
			found = append(found, e)
		}
	}
	return found, events.Position(len(seen)), nil
}

func (h *history) Append(_ context.Context, evs []events.Event, conditions ...events.AppendCondition) (events.Position, error) {
	for _, d := range h.meanwhile {
		h.record(d)
	}
	h.meanwhile = nil
	for _, condition := range conditions {
		if h.conflicts > 0 || int(condition.After) > len(h.given) || slices.ContainsFunc(h.given[condition.After:], func(e events.Recorded) bool {
			return condition.FailIfMatch.Matches(e.Type, e.Tags)
		}) {
			h.conflicts = max(h.conflicts-1, 0)
			return 0, events.ErrConflict
		}
	}
	h.appended, h.condition = evs, conditions[0]
	return events.Position(len(h.given) + len(evs)), nil
}

// keep makes what was appended part of what is given.
func (h *history) keep() {
	for _, e := range h.appended {
		h.given = append(h.given, events.Recorded{Position: events.Position(len(h.given) + 1), Event: e})
	}
	h.appended = nil
}

// record adds an event to what is given.
func (h *history) record(d draft) {
	eventType, version, data, err := registry.Encode(d.payload)
	if err != nil {
		panic(err)
	}
	h.given = append(h.given, events.Recorded{Position: events.Position(len(h.given) + 1), Event: events.Event{
		ID: uuid.New(), Type: eventType, SchemaVersion: version, Tags: d.tags, Data: data, Metadata: []byte("{}"),
	}})
}

func (h *history) NextID(context.Context, events.Kind) (int64, error) {
	h.nextID++
	return 100 + h.nextID, nil
}

type credentials map[int64]string

func (c credentials) Add(_ context.Context, user int64, hash string) error {
	c[user] = hash
	return nil
}
func (c credentials) Change(_ context.Context, user int64, hash string) error {
	c[user] = hash
	return nil
}
func (c credentials) Remove(_ context.Context, user int64) error { delete(c, user); return nil }

var registry = events.NewRegistry()

// given is a service whose log holds these events.
func given(t *testing.T, payloads ...draft) (*Service, *history) {
	t.Helper()
	h := &history{}
	for _, d := range payloads {
		h.record(d)
	}
	ids := byte(0)
	return &Service{
		Log: h, TagKey: key, Registry: registry, Credentials: credentials{},
		Now:   func() time.Time { return noon.Add(789 * time.Nanosecond) },
		NewID: func() (uuid.UUID, error) { ids++; return uuid.UUID{15: ids}, nil },
	}, h
}

var key = events.TagKey("a key for tests that has 32 bytes")

func ptr[T any](v T) *T { return &v }

func patient(id, owner int64) draft {
	return draft{events.PatientRegistered{PatientID: id, OwnerID: owner, FirstName: "Alice", LastName: "Smith", Age: 30, Gender: "Female", CreatedAt: noon}, patientTags(id, owner)}
}

func patientRemoved(id, owner int64) draft {
	return draft{events.PatientRemoved{PatientID: id, OwnerID: owner}, patientTags(id, owner)}
}

func doctor(id int64, email string) draft {
	return draft{events.DoctorRegistered{DoctorID: id, FirstName: "Sarah", LastName: "Johnson", Specialization: "Cardiology", Email: email, Phone: "1", CreatedAt: noon},
		[]events.Tag{events.DoctorTag(id), key.DoctorEmail(email)}}
}

func doctorEmailChanged(id int64, from, to string) draft {
	return draft{events.DoctorAmended{DoctorID: id, Email: &to}, []events.Tag{events.DoctorTag(id), key.DoctorEmail(from), key.DoctorEmail(to)}}
}

func doctorRemoved(id int64, email string) draft {
	return draft{events.DoctorRemoved{DoctorID: id}, []events.Tag{events.DoctorTag(id), key.DoctorEmail(email)}}
}

func mapped(id, patient, doctor, owner int64) draft {
	return draft{events.MappingCreated{MappingID: id, PatientID: patient, DoctorID: doctor, OwnerID: owner, AssignedAt: noon}, events.MappingTags(id, patient, doctor, owner)}
}

func unmapped(id, patient, doctor, owner int64) draft {
	return draft{events.MappingRemoved{MappingID: id, PatientID: patient, DoctorID: doctor, OwnerID: owner}, events.MappingTags(id, patient, doctor, owner)}
}

func user(id int64, email string) draft {
	return draft{events.UserRegistered{UserID: id, Name: "John Doe", Email: email, RegisteredAt: noon}, []events.Tag{events.UserTag(id), key.UserEmail(email)}}
}

func disabled(id int64) draft {
	return draft{events.UserDisabled{UserID: id}, []events.Tag{events.UserTag(id)}}
}

func enabled(id int64) draft {
	return draft{events.UserEnabled{UserID: id}, []events.Tag{events.UserTag(id)}}
}

func passwordChanged(id int64) draft {
	return draft{events.UserPasswordChanged{UserID: id}, []events.Tag{events.UserTag(id)}}
}
