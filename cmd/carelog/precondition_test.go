package main

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"
)

// race sends these at once and answers their statuses.
func race(t *testing.T, sends ...func() (reply, error)) []int {
	t.Helper()
	statuses := make([]int, len(sends))
	var clients errgroup.Group
	for i, send := range sends {
		clients.Go(func() error {
			got, err := send()
			statuses[i] = got.status
			return err
		})
	}
	if err := clients.Wait(); err != nil {
		t.Fatal(err)
	}
	return statuses
}

// TestIfMatchUnderRaces lets changes that name the same state of a record race:
// one wins, whatever the others are.
func TestIfMatchUnderRaces(t *testing.T) {
	server := start(t, databaseConfig(t))
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	const rounds = 8
	for _, kind := range []struct{ path, body, field string }{
		{"/api/patients/", somePatient, "last_name"},
		{"/api/doctors/", `{"first_name":"Sarah","last_name":"Johnson","specialization":"Cardiology","email":"sarah@hospital.com","phone":"1"}`, "phone"},
	} {
		created := server.mustAs(t, access, "POST", kind.path, kind.body, 201)
		path, tag := fmt.Sprintf("%s%d/", kind.path, idOf(t, created)), created.header.Get("ETag")
		amend := func(value, tag string) func() (reply, error) {
			return func() (reply, error) {
				return server.with(access, "PATCH", path, fmt.Sprintf(`{%q:%q}`, kind.field, value), "If-Match: "+tag)
			}
		}
		remove := func(lines ...string) func() (reply, error) {
			return func() (reply, error) { return server.with(access, "DELETE", path, "", lines...) }
		}

		for round := range rounds {
			statuses := race(t, amend(fmt.Sprintf("a%d", round), tag), amend(fmt.Sprintf("b%d", round), tag), amend(fmt.Sprintf("c%d", round), tag))
			slices.Sort(statuses)
			if !slices.Equal(statuses, []int{200, 412, 412}) {
				t.Errorf("%s: three amendments of one state: %v", path, statuses)
			}
			server.mustWith(t, access, "GET", path, "", 200, "If-None-Match: "+tag)
			tag = server.mustAs(t, access, "GET", path, "", 200).header.Get("ETag")
			server.mustWith(t, access, "GET", path, "", 304, "If-None-Match: "+tag)
		}
		if statuses := race(t, amend("x", "*"), amend("y", "*")); !slices.Equal(statuses, []int{200, 200}) {
			t.Errorf("%s: two amendments of any state: %v", path, statuses)
		}
		tag = server.mustAs(t, access, "GET", path, "", 200).header.Get("ETag")
		server.mustWith(t, access, "DELETE", path, "", 412, `If-Match: "1"`)
		server.mustWith(t, access, "DELETE", path, "", 204, "If-Match: "+tag)
		server.mustWith(t, access, "DELETE", path, "", 404, "If-Match: "+tag)

		won := map[string]int{}
		for range rounds {
			created := server.mustAs(t, access, "POST", kind.path, kind.body, 201)
			path, tag = fmt.Sprintf("%s%d/", kind.path, idOf(t, created)), created.header.Get("ETag")
			switch statuses := race(t, amend("x", tag), remove("If-Match: "+tag)); {
			case slices.Equal(statuses, []int{200, 412}):
				won["the amendment"]++
				server.mustAs(t, access, "DELETE", path, "", 204)
			case slices.Equal(statuses, []int{404, 204}):
				won["the removal"]++
			default:
				t.Errorf("%s: an amendment and a removal of one state: %v", path, statuses)
			}
			server.mustAs(t, access, "GET", path, "", 404)

			created = server.mustAs(t, access, "POST", kind.path, kind.body, 201)
			path, tag = fmt.Sprintf("%s%d/", kind.path, idOf(t, created)), created.header.Get("ETag")
			if statuses := race(t, amend("x", tag), remove()); statuses[1] != 204 || statuses[0] != 200 && statuses[0] != 404 {
				t.Errorf("%s: an amendment of one state and a removal of any: %v", path, statuses)
			}
			server.mustAs(t, access, "GET", path, "", 404)
		}
		t.Logf("%s: of %d races %v won", kind.path, rounds, won)
	}
}
