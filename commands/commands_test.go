package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carelog/carelog/events"
)

// TestDecisions is the table of the domain: given these events, when this
// command comes from user 1, then these events follow, or this refusal.
func TestDecisions(t *testing.T) {
	type when func(*Service) (events.Position, error)
	amendPatient := func(c AmendPatient) when {
		return func(s *Service) (events.Position, error) {
			_, p, err := s.AmendPatient(t.Context(), Caller{UserID: 1}, c)
			return p, err
		}
	}
	removePatient := func(id int64) when {
		return func(s *Service) (events.Position, error) {
			return s.RemovePatient(t.Context(), Caller{UserID: 1}, RemovePatient{ID: id})
		}
	}
	registerPatient := func(s *Service) (events.Position, error) {
		_, p, err := s.RegisterPatient(t.Context(), Caller{UserID: 1}, RegisterPatient{"Alice", "Smith", 30, "Female"})
		return p, err
	}
	registerDoctor := func(email string) when {
		return func(s *Service) (events.Position, error) {
			_, p, err := s.RegisterDoctor(t.Context(), Caller{UserID: 1}, RegisterDoctor{"Sarah", "Johnson", "Cardiology", email, "1"})
			return p, err
		}
	}
	amendDoctor := func(c AmendDoctor) when {
		return func(s *Service) (events.Position, error) {
			_, p, err := s.AmendDoctor(t.Context(), Caller{UserID: 1}, c)
			return p, err
		}
	}
	removeDoctor := func(id int64) when {
		return func(s *Service) (events.Position, error) {
			return s.RemoveDoctor(t.Context(), Caller{UserID: 1}, RemoveDoctor{ID: id})
		}
	}
	mapDoctor := func(patient, doctor int64) when {
		return func(s *Service) (events.Position, error) {
			_, p, err := s.MapDoctor(t.Context(), Caller{UserID: 1}, MapDoctor{patient, doctor})
			return p, err
		}
	}
	unmapDoctor := func(id int64) when {
		return func(s *Service) (events.Position, error) { return s.UnmapDoctor(t.Context(), Caller{UserID: 1}, id) }
	}
	registerUser := func(email string) when {
		return func(s *Service) (events.Position, error) {
			_, p, err := s.RegisterUser(t.Context(), Caller{}, RegisterUser{"John Doe", email, "hash"})
			return p, err
		}
	}
	operator := Caller{Tool: "carelog users", Operator: "ann"}
	disableUser := func(id int64) when {
		return func(s *Service) (events.Position, error) {
			_, p, err := s.DisableUser(t.Context(), operator, id)
			return p, err
		}
	}
	enableUser := func(id int64) when {
		return func(s *Service) (events.Position, error) {
			_, p, err := s.EnableUser(t.Context(), operator, id)
			return p, err
		}
	}
	changePassword := func(id int64) when {
		return func(s *Service) (events.Position, error) {
			return s.ChangePassword(t.Context(), operator, ChangePassword{id, "hash"})
		}
	}
	for _, c := range []struct {
		name  string
		given []draft
		when  when
		then  []draft
		err   error
	}{
		{"an amendment carries what changes", []draft{patient(5, 1)},
			amendPatient(AmendPatient{ID: 5, FirstName: ptr("Alice"), Age: ptr(31)}),
			[]draft{{events.PatientAmended{PatientID: 5, OwnerID: 1, Age: ptr(31)}, patientTags(5, 1)}}, nil},
		{"an amendment that changes nothing is no event", []draft{patient(5, 1)}, amendPatient(AmendPatient{ID: 5, Age: ptr(30)}), nil, nil},
		{"an empty amendment is no event", []draft{patient(5, 1)}, amendPatient(AmendPatient{ID: 5}), nil, nil},
		{"no such patient", nil, amendPatient(AmendPatient{ID: 5}), nil, ErrNotFound},
		{"another user's patient", []draft{patient(5, 2)}, amendPatient(AmendPatient{ID: 5}), nil, ErrNotFound},
		{"a removed patient", []draft{patient(5, 1), patientRemoved(5, 1)}, amendPatient(AmendPatient{ID: 5}), nil, ErrNotFound},
		{"a patient's ids that others have", []draft{patient(101, 2), patient(102, 1)}, registerPatient, []draft{patient(103, 1)}, nil},
		{"removal", []draft{patient(5, 1)}, removePatient(5), []draft{patientRemoved(5, 1)}, nil},
		{"removal twice", []draft{patient(5, 1), patientRemoved(5, 1)}, removePatient(5), nil, ErrNotFound},
		{"removing another user's patient", []draft{patient(5, 2)}, removePatient(5), nil, ErrNotFound},
		{"removing a patient ends its living mappings", []draft{patient(5, 1), doctor(7, "d@x.io"), doctor(8, "e@x.io"),
			mapped(1, 5, 7, 1), unmapped(1, 5, 7, 1), mapped(2, 5, 7, 1), mapped(3, 5, 8, 1), mapped(4, 6, 7, 1)},
			removePatient(5), []draft{patientRemoved(5, 1), unmapped(2, 5, 7, 1), unmapped(3, 5, 8, 1)}, nil},

		{"a doctor's free e-mail", []draft{doctor(7, "d@x.io")}, registerDoctor("D@x.io"),
			[]draft{{events.DoctorRegistered{DoctorID: 101, FirstName: "Sarah", LastName: "Johnson", Specialization: "Cardiology", Email: "D@x.io", Phone: "1", CreatedAt: noon},
				[]events.Tag{events.DoctorTag(101), key.DoctorEmail("D@x.io")}}}, nil},
		{"a doctor's id that another has", []draft{doctor(101, "d@x.io")}, registerDoctor("e@x.io"), []draft{doctor(102, "e@x.io")}, nil},
		{"a doctor's taken e-mail", []draft{doctor(7, "d@x.io")}, registerDoctor("d@x.io"), nil, ErrEmailTaken},
		{"an e-mail that was given up", []draft{doctor(7, "d@x.io"), doctorEmailChanged(7, "d@x.io", "e@x.io")}, registerDoctor("d@x.io"),
			[]draft{doctor(101, "d@x.io")}, nil},
		{"an e-mail that was taken by amendment", []draft{doctor(7, "d@x.io"), doctorEmailChanged(7, "d@x.io", "e@x.io")}, registerDoctor("e@x.io"), nil, ErrEmailTaken},
		{"a removed doctor's e-mail", []draft{doctor(7, "d@x.io"), doctorRemoved(7, "d@x.io")}, registerDoctor("d@x.io"), []draft{doctor(101, "d@x.io")}, nil},
		{"an e-mail given up, taken by another, who is removed", []draft{doctor(7, "d@x.io"), doctorEmailChanged(7, "d@x.io", "e@x.io"), doctor(8, "d@x.io"), doctorRemoved(7, "e@x.io")},
			registerDoctor("d@x.io"), nil, ErrEmailTaken},
		{"amending to a free e-mail tags the old and the new", []draft{doctor(7, "d@x.io")}, amendDoctor(AmendDoctor{ID: 7, Email: ptr("e@x.io")}),
			[]draft{doctorEmailChanged(7, "d@x.io", "e@x.io")}, nil},
		{"amending to one's own e-mail is no event", []draft{doctor(7, "d@x.io")}, amendDoctor(AmendDoctor{ID: 7, Email: ptr("d@x.io")}), nil, nil},
		{"amending to another's e-mail", []draft{doctor(7, "d@x.io"), doctor(8, "e@x.io")}, amendDoctor(AmendDoctor{ID: 7, Email: ptr("e@x.io")}), nil, ErrEmailTaken},
		{"amending no doctor", []draft{doctor(8, "e@x.io")}, amendDoctor(AmendDoctor{ID: 7, Email: ptr("e@x.io")}), nil, ErrNotFound},
		{"removing a doctor frees the e-mail and ends everybody's mappings",
			[]draft{doctor(7, "d@x.io"), doctorEmailChanged(7, "d@x.io", "e@x.io"), patient(5, 1), patient(6, 2), mapped(1, 5, 7, 1), mapped(2, 6, 7, 2)},
			removeDoctor(7), []draft{doctorRemoved(7, "e@x.io"), unmapped(1, 5, 7, 1), unmapped(2, 6, 7, 2)}, nil},
		{"removing a doctor twice", []draft{doctor(7, "d@x.io"), doctorRemoved(7, "d@x.io")}, removeDoctor(7), nil, ErrNotFound},

		{"mapping", []draft{patient(5, 1), doctor(7, "d@x.io")}, mapDoctor(5, 7), []draft{mapped(101, 5, 7, 1)}, nil},
		{"a mapping's id that another had", []draft{patient(5, 1), doctor(7, "d@x.io"), mapped(101, 5, 7, 1), unmapped(101, 5, 7, 1)}, mapDoctor(5, 7),
			[]draft{mapped(102, 5, 7, 1)}, nil},
		{"mapping twice", []draft{patient(5, 1), doctor(7, "d@x.io"), mapped(1, 5, 7, 1)}, mapDoctor(5, 7), nil, ErrPairTaken},
		{"mapping again", []draft{patient(5, 1), doctor(7, "d@x.io"), mapped(1, 5, 7, 1), unmapped(1, 5, 7, 1)}, mapDoctor(5, 7), []draft{mapped(101, 5, 7, 1)}, nil},
		{"mapping another user's patient", []draft{patient(5, 2), doctor(7, "d@x.io")}, mapDoctor(5, 7), nil, &UnknownKeysError{Patient: true}},
		{"mapping a removed doctor", []draft{patient(5, 1), doctor(7, "d@x.io"), doctorRemoved(7, "d@x.io")}, mapDoctor(5, 7), nil, &UnknownKeysError{Doctor: true}},
		{"mapping nobody to nobody", nil, mapDoctor(5, 7), nil, &UnknownKeysError{Patient: true, Doctor: true}},
		{"unmapping", []draft{mapped(1, 5, 7, 1)}, unmapDoctor(1), []draft{unmapped(1, 5, 7, 1)}, nil},
		{"unmapping twice", []draft{mapped(1, 5, 7, 1), unmapped(1, 5, 7, 1)}, unmapDoctor(1), nil, ErrNotFound},
		{"unmapping another user's", []draft{mapped(1, 5, 7, 2)}, unmapDoctor(1), nil, ErrNotFound},

		{"a user", nil, registerUser("j@x.io"), []draft{user(101, "j@x.io")}, nil},
		{"a user's taken e-mail", []draft{user(1, "j@x.io")}, registerUser("j@x.io"), nil, ErrEmailTaken},
		{"an e-mail of other case", []draft{user(1, "j@x.io")}, registerUser("J@x.io"), []draft{user(101, "J@x.io")}, nil},
		{"the e-mail of a disabled user", []draft{user(1, "j@x.io"), disabled(1)}, registerUser("j@x.io"), nil, ErrEmailTaken},
		{"disabling", []draft{user(1, "j@x.io")}, disableUser(1), []draft{disabled(1)}, nil},
		{"disabling twice", []draft{user(1, "j@x.io"), disabled(1)}, disableUser(1), nil, nil},
		{"disabling again", []draft{user(1, "j@x.io"), disabled(1), enabled(1)}, disableUser(1), []draft{disabled(1)}, nil},
		{"disabling one of two", []draft{user(1, "j@x.io"), user(2, "k@x.io"), disabled(2)}, disableUser(1), []draft{disabled(1)}, nil},
		{"disabling nobody", []draft{user(1, "j@x.io")}, disableUser(2), nil, ErrNotFound},
		{"enabling", []draft{user(1, "j@x.io"), disabled(1)}, enableUser(1), []draft{enabled(1)}, nil},
		{"enabling one who is not disabled", []draft{user(1, "j@x.io")}, enableUser(1), nil, nil},
		{"enabling nobody", nil, enableUser(1), nil, ErrNotFound},
		{"another password", []draft{user(1, "j@x.io"), disabled(1)}, changePassword(1), []draft{passwordChanged(1)}, nil},
		{"another password again", []draft{user(1, "j@x.io"), passwordChanged(1)}, changePassword(1), []draft{passwordChanged(1)}, nil},
		{"nobody's password", []draft{user(1, "j@x.io")}, changePassword(2), nil, ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			for at := range events.Position(len(c.given) + 1) { // that the read tables contain; 0: only the log is read
				service, log := given(t, c.given...)
				service.Records = &tables{log: log, at: at}
				position, err := c.when(service)
				if !reflect.DeepEqual(err, c.err) && !errors.Is(err, c.err) {
					t.Fatalf("refused with %v, want %v", err, c.err)
				}
				if want := events.Position(len(c.given) + len(c.then)); position != want {
					t.Errorf("decided on position %d, want %d", position, want)
				}
				if got, want := describe(t, log.appended), describe(t, drafted(t, c.then)); got != want {
					t.Errorf("appended\n%s\nwant\n%s", got, want)
				}
				checkMetadata(t, log.appended)
			}
		})
	}
}

func drafted(t *testing.T, drafts []draft) []events.Event {
	t.Helper()
	var evs []events.Event
	for _, d := range drafts {
		eventType, version, data, err := registry.Encode(d.payload)
		if err != nil {
			t.Fatal(err)
		}
		evs = append(evs, events.Event{Type: eventType, SchemaVersion: version, Data: data, Tags: d.tags})
	}
	return evs
}

func describe(t *testing.T, evs []events.Event) string {
	t.Helper()
	text := ""
	for _, e := range evs {
		text += fmt.Sprintf("%s/%d %s %v\n", e.Type, e.SchemaVersion, e.Data, e.Tags)
	}
	return text
}

// checkMetadata: everything that a command causes follows from its first event.
func checkMetadata(t *testing.T, evs []events.Event) {
	t.Helper()
	for i, e := range evs {
		var m events.Metadata
		if err := json.Unmarshal(e.Metadata, &m); err != nil {
			t.Fatal(err)
		}
		cause := ""
		if i > 0 {
			cause = evs[0].ID.String()
		}
		if m.CausationID != cause || m.Actor == (events.Actor{}) {
			t.Errorf("metadata of event %d: %+v", i, m)
		}
	}
}

func TestAConflictDecidesAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, log := given(t, patient(5, 1))
		log.conflicts = 9
		if _, err := service.RemovePatient(t.Context(), Caller{UserID: 1}, RemovePatient{ID: 5}); err != nil || log.loads != 10 {
			t.Fatalf("%v after %d decisions", err, log.loads)
		}
		service, log = given(t, patient(5, 1))
		log.conflicts = 1000
		began := time.Now()
		if _, err := service.RemovePatient(t.Context(), Caller{UserID: 1}, RemovePatient{ID: 5}); !errors.Is(err, ErrBusy) || log.appended != nil {
			t.Fatalf("%v", err)
		}
		if took := time.Since(began); took > 2*retryTime {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestTurnsGoOneAfterTheOther(t *testing.T) {
	var turns turns
	query := events.Query{{Tags: []events.Tag{"a:1"}}, {Tags: []events.Tag{"b:1", "c:1"}}}
	if err := turns.await(t.Context(), query); err != nil {
		t.Fatal(err)
	}
	end, err := turns.take(t.Context(), "c:1")
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := turns.await(impatient, query); !errors.Is(err, context.Canceled) {
		t.Errorf("did not wait for a turn on one of its tags: %v", err)
	}
	if err := turns.await(impatient, query[:1]); err != nil {
		t.Errorf("waited for a turn on another tag: %v", err)
	}
	if _, err := turns.take(impatient, "c:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("took a turn that somebody has: %v", err)
	}
	var inTurn, most, done atomic.Int32
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			end, err := turns.take(t.Context(), "c:1")
			if err != nil {
				t.Error(err)
				return
			}
			most.Store(max(most.Load(), inTurn.Add(1)))
			done.Add(1)
			inTurn.Add(-1)
			end()
		})
	}
	end()
	group.Wait()
	if most.Load() != 1 || done.Load() != 50 {
		t.Errorf("%d had their turn, %d at once", done.Load(), most.Load())
	}
	if err := turns.await(t.Context(), query); err != nil || len(turns.taken) != 0 {
		t.Errorf("%d turns are left, %v", len(turns.taken), err)
	}
}

// What was read and decided on is what the append depends on.
func TestConditionsNameWhatWouldChangeTheDecision(t *testing.T) {
	service, log := given(t, patient(5, 1), doctor(7, "d@x.io"))
	if _, _, err := service.MapDoctor(t.Context(), Caller{UserID: 1}, MapDoctor{5, 7}); err != nil {
		t.Fatal(err)
	}
	if log.condition.After != 2 {
		t.Errorf("after %d, want the head of the log", log.condition.After)
	}
	for _, c := range []struct {
		name     string
		event    draft
		conflict bool
	}{
		{"the patient is removed", patientRemoved(5, 1), true},
		{"the doctor is removed", doctorRemoved(7, "d@x.io"), true},
		{"the pair is mapped", mapped(9, 5, 7, 1), true},
		{"the doctor is mapped to another patient", mapped(9, 6, 7, 1), false},
		{"another patient is removed", patientRemoved(6, 1), false},
		{"the user adds a patient", patient(6, 1), false},
	} {
		if got := log.condition.FailIfMatch.Matches(c.event.payload.EventType(), c.event.tags); got != c.conflict {
			t.Errorf("%s: conflict %t, want %t", c.name, got, c.conflict)
		}
	}
}

func TestTheLosersCredentialIsRemoved(t *testing.T) {
	taken := draft{events.UserRegistered{UserID: 1, Email: "j@x.io"}, []events.Tag{events.UserTag(1), key.UserEmail("j@x.io")}}
	service, _ := given(t, taken)
	if _, _, err := service.RegisterUser(t.Context(), Caller{}, RegisterUser{Email: "j@x.io", PasswordHash: "h"}); !errors.Is(err, ErrEmailTaken) {
		t.Fatal(err)
	}
	if left := service.Credentials.(credentials); len(left) != 0 {
		t.Errorf("credentials left: %v", left)
	}
	if _, _, err := service.RegisterUser(t.Context(), Caller{}, RegisterUser{Email: "k@x.io", PasswordHash: "h"}); err != nil {
		t.Fatal(err)
	}
	if left := service.Credentials.(credentials); left[102] != "h" {
		t.Errorf("credentials: %v", left)
	}
}

func TestAnswersAreBuiltFromTheDecision(t *testing.T) {
	service, _ := given(t, patient(5, 1), doctor(7, "d@x.io"))
	got, position, err := service.AmendPatient(t.Context(), Caller{UserID: 1}, AmendPatient{ID: 5, LastName: ptr("Jones")})
	want := Patient{ID: 5, FirstName: "Alice", LastName: "Jones", Age: 30, Gender: "Female", CreatedAt: noon, AddedBy: 1, Position: 3}
	if err != nil || got != want || position != 3 {
		t.Errorf("%+v at %d, %v", got, position, err)
	}
	got, _, _ = service.AmendPatient(t.Context(), Caller{UserID: 1}, AmendPatient{ID: 5})
	if got.Position != 1 {
		t.Errorf("an amendment of nothing answers position %d, want that of the record's last event", got.Position)
	}
	mapping, _, err := service.MapDoctor(t.Context(), Caller{UserID: 1}, MapDoctor{5, 7})
	if want := (Mapping{101, 5, 7, "Alice Smith", "Sarah Johnson", noon}); err != nil || mapping != want {
		t.Errorf("%+v, %v", mapping, err)
	}
}

func TestStateOfAUser(t *testing.T) {
	service, _ := given(t, user(1, "j@x.io"), user(2, "k@x.io"), disabled(2), passwordChanged(1))
	for id, want := range map[int64]User{1: {1, "John Doe", "j@x.io", false, nil, noon}, 2: {2, "John Doe", "k@x.io", true, nil, noon}} {
		if got, _, err := service.User(t.Context(), id); !reflect.DeepEqual(got, want) || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, head, err := service.User(t.Context(), 3); !errors.Is(err, ErrNotFound) || head != 4 {
		t.Errorf("at %d, %v", head, err)
	}
	for id, want := range map[int64]bool{1: true, 2: false} {
		if changed, _, err := service.DisableUser(t.Context(), Caller{Tool: "test"}, id); changed != want || err != nil {
			t.Errorf("disabling user %d: %t, %v", id, changed, err)
		}
	}
}

// The old password must be out of force when the event says that it is, and
// nothing is changed for a user who is not there.
func TestTheCredentialIsChangedBeforeTheEvent(t *testing.T) {
	service, log := given(t, user(1, "j@x.io"))
	stored := service.Credentials.(credentials)
	operator := Caller{Tool: "carelog users", Operator: "ann"}
	if _, err := service.ChangePassword(t.Context(), operator, ChangePassword{2, "new"}); !errors.Is(err, ErrNotFound) || len(stored) > 0 {
		t.Errorf("%v, %v", stored, err)
	}
	service.Log = failingAppend{log}
	if _, err := service.ChangePassword(t.Context(), operator, ChangePassword{1, "new"}); !errors.Is(err, events.ErrUnavailable) || stored[1] != "new" {
		t.Errorf("%v, %v", stored, err)
	}
	service.Log = log
	if _, err := service.ChangePassword(t.Context(), operator, ChangePassword{1, "new"}); err != nil {
		t.Error(err)
	}
	if got, want := string(log.appended[0].Metadata), `{"actor":{"tool":"carelog users","operator":"ann"}}`; got != want {
		t.Errorf("metadata %s, want %s", got, want)
	}
	if data := string(log.appended[0].Data); data != `{"user_id":1}` {
		t.Errorf("the event holds %s", data)
	}
}

type failingAppend struct{ Log }

func (failingAppend) Append(context.Context, []events.Event, ...events.AppendCondition) (events.Position, error) {
	return 0, events.ErrUnavailable
}
