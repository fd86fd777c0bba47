package commands

import (
	"errors"
	"testing"

	"github.com/carelog/carelog/events"
)

// changes are the commands that take a precondition, on patient 5 and doctor 7,
// with how another of each kind looks in the log.
var changes = []struct {
	name   string
	given  draft
	send   func(*testing.T, *Service, Caller, IfMatch) (events.Position, error)
	amends draft // an amendment of the same record by somebody else
	ends   draft
}{
	{"amend a patient", patient(5, 1), func(t *testing.T, s *Service, c Caller, m IfMatch) (events.Position, error) {
		_, position, err := s.AmendPatient(t.Context(), c, AmendPatient{ID: 5, LastName: ptr("Jones"), IfMatch: m})
		return position, err
	}, patientAged(5, 1, 31), patientRemoved(5, 1)},
	{"remove a patient", patient(5, 1), func(t *testing.T, s *Service, c Caller, m IfMatch) (events.Position, error) {
		return s.RemovePatient(t.Context(), c, RemovePatient{ID: 5, IfMatch: m})
	}, patientAged(5, 1, 31), patientRemoved(5, 1)},
	{"amend a doctor", doctor(7, "d@x.io"), func(t *testing.T, s *Service, c Caller, m IfMatch) (events.Position, error) {
		_, position, err := s.AmendDoctor(t.Context(), c, AmendDoctor{ID: 7, Phone: ptr("2"), IfMatch: m})
		return position, err
	}, doctorEmailChanged(7, "d@x.io", "e@x.io"), doctorRemoved(7, "d@x.io")},
	{"remove a doctor", doctor(7, "d@x.io"), func(t *testing.T, s *Service, c Caller, m IfMatch) (events.Position, error) {
		return s.RemoveDoctor(t.Context(), c, RemoveDoctor{ID: 7, IfMatch: m})
	}, doctorEmailChanged(7, "d@x.io", "e@x.io"), doctorRemoved(7, "d@x.io")},
}

func patientAged(id, owner int64, age int) draft {
	return draft{events.PatientAmended{PatientID: id, OwnerID: owner, Age: &age}, patientTags(id, owner)}
}

func matching(positions ...events.Position) IfMatch {
	return IfMatch{Given: true, Positions: positions}
}

func TestPreconditions(t *testing.T) {
	for _, change := range changes {
		for _, c := range []struct {
			name    string
			amended bool
			ifMatch IfMatch
			err     error
		}{
			{"none", true, IfMatch{}, nil},
			{"the registration", false, matching(1), nil},
			{"the amendment", true, matching(3), nil},
			{"one of several", true, matching(1, 3, 9), nil},
			{"an earlier state", true, matching(1), ErrPreconditionFailed},
			{"another record's event", false, matching(2), ErrPreconditionFailed},
			{"nothing that could be", false, matching(), ErrPreconditionFailed},
		} {
			t.Run(change.name+"/"+c.name, func(t *testing.T) {
				service, log := given(t, change.given, patient(8, 1))
				if c.amended {
					log.record(change.amends)
				}
				position, err := change.send(t, service, Caller{UserID: 1}, c.ifMatch)
				if !errors.Is(err, c.err) {
					t.Fatalf("got %v, want %v", err, c.err)
				}
				if want := events.Position(len(log.given) + len(log.appended)); position != want || (len(log.appended) == 1) != (c.err == nil) {
					t.Errorf("decided on position %d, want %d, and %d events", position, want, len(log.appended))
				}
			})
		}
	}
}

// Of a record that is not there, or not the caller's, nothing is told.
func TestAMissingRecordGoesBeforeThePrecondition(t *testing.T) {
	for _, change := range changes {
		service, _ := given(t, change.given, change.ends)
		if _, err := change.send(t, service, Caller{UserID: 1}, matching(9)); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", change.name, err)
		}
	}
}

// What comes between reading and appending is decided on as well.
func TestPreconditionsHoldWhenTheEventIsAppended(t *testing.T) {
	for _, change := range changes {
		service, log := given(t, change.given)
		log.meanwhile = []draft{change.amends}
		if _, err := change.send(t, service, Caller{UserID: 1}, matching(1)); !errors.Is(err, ErrPreconditionFailed) || log.appended != nil {
			t.Errorf("%s, amended meanwhile: %v", change.name, err)
		}
		service, log = given(t, change.given)
		log.meanwhile = []draft{change.ends}
		if _, err := change.send(t, service, Caller{UserID: 1}, matching(1)); !errors.Is(err, ErrNotFound) || log.appended != nil {
			t.Errorf("%s, removed meanwhile: %v", change.name, err)
		}
		service, log = given(t, change.given)
		log.meanwhile = []draft{change.amends}
		if _, err := change.send(t, service, Caller{UserID: 1}, IfMatch{}); err != nil || len(log.appended) != 1 {
			t.Errorf("%s without a precondition, amended meanwhile: %v", change.name, err)
		}
	}
}

// An amendment does not keep a removal without a precondition from happening.
func TestRemovingAPatientDoesNotMeetAmendments(t *testing.T) {
	service, log := given(t, patient(5, 1))
	log.meanwhile = []draft{patientAged(5, 1, 31)}
	if _, err := service.RemovePatient(t.Context(), Caller{UserID: 1}, RemovePatient{ID: 5}); err != nil || log.loads != 1 {
		t.Errorf("%v after %d decisions", err, log.loads)
	}
}
