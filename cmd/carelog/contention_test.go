package main

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestManyChangeOneRecord: whoever changes what everybody is changing waits for
// a turn, and is not sent away.
func TestManyChangeOneRecord(t *testing.T) {
	server := start(t, databaseConfig(t))
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	var clients errgroup.Group
	for c := range 32 {
		clients.Go(func() error {
			for i := range 10 {
				got, err := server.as(access, "PATCH", "/api/patients/1/", fmt.Sprintf(`{"last_name":"L%d-%d"}`, c, i))
				if err != nil || got.status != 200 {
					return fmt.Errorf("%d %s, %w", got.status, got.body, err)
				}
			}
			return nil
		})
	}
	if err := clients.Wait(); err != nil {
		t.Fatal(err)
	}
	last := server.mustAs(t, access, "PATCH", "/api/patients/1/", `{"last_name":"last"}`, 200)
	if got := last.header.Get("Carelog-Position"); got != "323" { // user, patient, 320 changes, this one
		t.Errorf("the last change is at position %s", got)
	}
}

// TestADoctorIsRemovedWhileMappingsArePouringIn: the removal, which has to look at
// all of them, gets its turn.
func TestADoctorIsRemovedWhileMappingsArePouringIn(t *testing.T) {
	server := start(t, databaseConfig(t))
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/doctors/", `{"first_name":"S","last_name":"J","specialization":"C","email":"s@x.io","phone":"1"}`, 201)
	const clients = 8
	for range clients {
		server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	}
	mapped := make(chan struct{}, 10_000)
	var mapping errgroup.Group
	for c := range clients {
		mapping.Go(func() error {
			for id := 0; ; {
				got, err := server.as(access, "POST", "/api/patients/mappings/", fmt.Sprintf(`{"patient":%d,"doctor":1}`, c+1))
				if err != nil || got.status == 400 {
					return err // the doctor is gone
				}
				if got.status != 201 {
					return fmt.Errorf("%d %s", got.status, got.body)
				}
				mapped <- struct{}{}
				if _, err := fmt.Sscanf(string(got.body), `{"id":%d,`, &id); err != nil {
					return err
				}
				got, err = server.as(access, "DELETE", fmt.Sprintf("/api/patients/mappings/delete/%d/", id), "")
				if err != nil || got.status == 404 {
					return err
				}
			}
		})
	}
	for range 100 {
		select {
		case <-mapped:
		case <-time.After(30 * time.Second):
			t.Fatal("too slow")
		}
	}
	server.mustAs(t, access, "DELETE", "/api/doctors/1/", "", 204)
	if err := mapping.Wait(); err != nil {
		t.Fatal(err)
	}
	server.mustAs(t, access, "GET", "/api/doctors/1/", "", 404)
	if list := server.mustAs(t, access, "GET", "/api/patients/mappings/", "", 200); string(list.body) != "[]" {
		t.Errorf("mappings are left: %s", list.body)
	}
}
