package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// racers are two programs on one database: requests of a race go to them in turn.
type racers struct {
	servers  [2]*running
	database string
	access   string // of a user
}

func newRacers(t *testing.T) *racers {
	t.Helper()
	broker := startNATS(t, t.TempDir(), -1)
	vars := map[string]string{"DATABASE_URL": pgtest.New(t), "CARELOG_JWT_SECRET": testSecret, "NATS_URL": broker.ClientURL()}
	r := &racers{database: vars["DATABASE_URL"], servers: [2]*running{start(t, testConfig(t, vars)), start(t, testConfig(t, vars))}}
	r.access, _ = r.servers[0].register(t, "John Doe", "john@example.com", "securepassword123")
	return r
}

// request is what one client of a race sends.
type request struct{ method, path, body string }

// race sends all requests at the same moment.
func (r *racers) race(t *testing.T, requests ...request) []reply {
	t.Helper()
	replies := make([]reply, len(requests))
	var ready, done sync.WaitGroup
	ready.Add(len(requests))
	for i, q := range requests {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			got, err := r.servers[i%2].as(r.access, q.method, q.path, q.body)
			if err != nil {
				t.Error(err)
			}
			if got.header.Get("Carelog-Projected") != "" {
				t.Errorf("%s %s: not to be read in time", q.method, q.path)
			}
			replies[i] = got
		})
	}
	done.Wait()
	return replies
}

// repeated is the same request n times.
func repeated(n int, q request) []request {
	all := make([]request, n)
	for i := range all {
		all[i] = q
	}
	return all
}

// oneWins: one reply has the winner's status, all others are the loser's, to
// the byte. It answers which one.
func oneWins(t *testing.T, replies []reply, won, lost int, text string) int {
	t.Helper()
	winner := -1
	for i, got := range replies {
		switch {
		case got.status == won && winner < 0:
			winner = i
		case got.status != lost || string(got.body) != text:
			t.Errorf("%d: %d %s", i, got.status, got.body)
		}
	}
	if winner < 0 {
		t.Fatal("nobody has won")
	}
	return winner
}

func doctorBody(name, email string) string {
	return fmt.Sprintf(`{"first_name":%q,"last_name":"Johnson","specialization":"Cardiology","email":%q,"phone":"+1234567890"}`, name, email)
}

func (r *racers) create(t *testing.T, path, body string) int64 {
	t.Helper()
	return idOf(t, r.servers[0].mustAs(t, r.access, "POST", path, body, 201))
}

const (
	emailOfUserTaken   = `{"email":["user with this email already exists."]}`
	emailOfDoctorTaken = `{"email":["doctor with this email already exists."]}`
	pairTaken          = `{"non_field_errors":["The fields patient, doctor must make a unique set."]}`
	isNotFound         = `{"detail":"Not found."}`
)

// TestRulesUnderRaces: of those who race one wins, the others get the documented
// answer, and afterwards log, tables and what both programs answer agree.
func TestRulesUnderRaces(t *testing.T) {
	t.Parallel()
	r := newRacers(t)
	const rounds = 5

	t.Run("the e-mail address of a user", func(t *testing.T) {
		const clients = 6
		requests := make([]request, clients)
		password := func(i int) string { return fmt.Sprintf("password-of-%d-client", i) }
		for i := range requests {
			requests[i] = request{"POST", "/api/auth/register/", fmt.Sprintf(`{"name":"Jane Roe","email":"jane@example.com","password":%q}`, password(i))}
		}
		winner := oneWins(t, r.race(t, requests...), 201, 400, emailOfUserTaken)
		for i := range clients {
			body := fmt.Sprintf(`{"username":"jane@example.com","password":%q}`, password(i))
			got := r.servers[i%2].send(t, "POST", "/api/auth/login/", http.Header{"Content-Type": {"application/json"}}, strings.NewReader(body))
			if want := map[bool]int{true: 200, false: 401}[i == winner]; got.status != want {
				t.Errorf("%d has won, and the password of %d is answered with %d", winner, i, got.status)
			}
		}
		if there := query[int](t, r.database, `select count(*) from accounts.credentials`); there != 2 {
			t.Errorf("%d credentials are there for 2 users", there)
		}
	})

	t.Run("the e-mail address of a doctor", func(t *testing.T) {
		for round := range rounds {
			email := fmt.Sprintf("doctor%d@example.com", round)
			var requests []request
			for i := range 4 {
				other := r.create(t, "/api/doctors/", doctorBody("Sarah", fmt.Sprintf("doctor%d-%d@example.com", round, i)))
				requests = append(requests,
					request{"POST", "/api/doctors/", doctorBody("Sam", email)},
					request{"PATCH", fmt.Sprintf("/api/doctors/%d/", other), fmt.Sprintf(`{"email":%q}`, email)})
			}
			replies := r.race(t, requests...)
			for i := range replies { // an amendment that wins answers 200
				if replies[i].status == 200 {
					replies[i].status = 201
				}
			}
			winner := idOf(t, replies[oneWins(t, replies, 201, 400, emailOfDoctorTaken)])
			// It is free again when the winner is removed.
			again := r.race(t, request{"DELETE", fmt.Sprintf("/api/doctors/%d/", winner), ""}, request{"POST", "/api/doctors/", doctorBody("Sam", email)})
			if taken := again[1]; again[0].status != 204 || taken.status != 201 && string(taken.body) != emailOfDoctorTaken {
				t.Errorf("%d; %d %s", again[0].status, taken.status, taken.body)
			}
		}
	})

	t.Run("a pair", func(t *testing.T) {
		for round := range rounds {
			patient, doctor := r.create(t, "/api/patients/", somePatient), r.create(t, "/api/doctors/", doctorBody("Sarah", fmt.Sprintf("pair%d@example.com", round)))
			requests := repeated(8, request{"POST", "/api/patients/mappings/", fmt.Sprintf(`{"patient":%d,"doctor":%d}`, patient, doctor)})
			oneWins(t, r.race(t, requests...), 201, 400, pairTaken)
		}
	})

	t.Run("a mapping while its patient or doctor is removed", func(t *testing.T) {
		for round := range 2 * rounds {
			patient, doctor := r.create(t, "/api/patients/", somePatient), r.create(t, "/api/doctors/", doctorBody("Sarah", fmt.Sprintf("cascade%d@example.com", round)))
			gone, refusal := fmt.Sprintf("/api/patients/%d/", patient), fmt.Sprintf(`{"patient":["Invalid pk \"%d\" - object does not exist."]}`, patient)
			if round%2 == 1 {
				gone, refusal = fmt.Sprintf("/api/doctors/%d/", doctor), fmt.Sprintf(`{"doctor":["Invalid pk \"%d\" - object does not exist."]}`, doctor)
			}
			replies := r.race(t,
				request{"POST", "/api/patients/mappings/", fmt.Sprintf(`{"patient":%d,"doctor":%d}`, patient, doctor)}, request{"DELETE", gone, ""})
			if mapped := replies[0]; replies[1].status != 204 || mapped.status != 201 && (mapped.status != 400 || string(mapped.body) != refusal) {
				t.Errorf("%d; %d %s", replies[1].status, mapped.status, mapped.body)
			}
			for _, server := range r.servers {
				if left := server.mustAs(t, r.access, "GET", fmt.Sprintf("/api/patients/mappings/%d/", patient), "", 200); string(left.body) != "[]" {
					t.Errorf("after the removal: %s", left.body)
				}
			}
		}
	})

	t.Run("two removals", func(t *testing.T) {
		for round := range rounds {
			patient, doctor := r.create(t, "/api/patients/", somePatient), r.create(t, "/api/doctors/", doctorBody("Sarah", fmt.Sprintf("removals%d@example.com", round)))
			mapping := r.create(t, "/api/patients/mappings/", fmt.Sprintf(`{"patient":%d,"doctor":%d}`, patient, doctor))
			for _, path := range []string{
				fmt.Sprintf("/api/patients/mappings/delete/%d/", mapping), fmt.Sprintf("/api/patients/%d/", patient), fmt.Sprintf("/api/doctors/%d/", doctor),
			} {
				oneWins(t, r.race(t, repeated(6, request{"DELETE", path, ""})...), 204, 404, isNotFound)
			}
		}
	})

	t.Run("an amendment against a removal", func(t *testing.T) {
		for round := range rounds {
			for _, path := range []string{
				fmt.Sprintf("/api/patients/%d/", r.create(t, "/api/patients/", somePatient)),
				fmt.Sprintf("/api/doctors/%d/", r.create(t, "/api/doctors/", doctorBody("Sarah", fmt.Sprintf("amended%d@example.com", round)))),
			} {
				replies := r.race(t, request{"PATCH", path, `{"last_name":"Changed"}`}, request{"DELETE", path, ""})
				if amended := replies[0]; replies[1].status != 204 || amended.status != 200 && (amended.status != 404 || string(amended.body) != isNotFound) {
					t.Errorf("%d; %d %s", replies[1].status, amended.status, amended.body)
				}
				r.servers[round%2].mustAs(t, r.access, "GET", path, "", 404)
			}
		}
	})

	t.Run("amendments of one record", func(t *testing.T) {
		path := fmt.Sprintf("/api/patients/%d/", r.create(t, "/api/patients/", somePatient))
		var requests []request
		for i := range 8 {
			requests = append(requests, request{"PATCH", path, []string{
				fmt.Sprintf(`{"age":%d}`, 40+i), fmt.Sprintf(`{"last_name":"Name %d"}`, i),
			}[i%2]})
		}
		var last reply
		latest := 0
		seen := map[int]bool{}
		for _, got := range r.race(t, requests...) {
			position, err := strconv.Atoi(got.header.Get("Carelog-Position"))
			if got.status != 200 || err != nil || seen[position] {
				t.Fatalf("%d %s at %d, %v", got.status, got.body, position, err)
			}
			seen[position] = true
			if position > latest {
				latest, last = position, got
			}
		}
		for _, server := range r.servers {
			if now := server.mustAs(t, r.access, "GET", path, "", 200); string(now.body) != string(last.body) {
				t.Errorf("the last amendment answered %s, and now it is %s", last.body, now.body)
			}
		}
	})

	mustEqualFold(t, r.database)
}
