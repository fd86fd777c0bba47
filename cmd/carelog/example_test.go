package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheExampleFollows builds the example of events/client, which is a module of its
// own, and runs it twice: over NATS, as a subscriber, it prints what was and what happens,
// and the second time, over HTTP, what is new.
func TestTheExampleFollows(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "example")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "../../events/client/example"
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	server := startSubscribed(t, "billing")
	config := server.config
	access, _ := server.register(t, "John Doe", "john@example.com", oldPassword)
	expectCarelog(t, config, "", "user 1 has role auditor\n", "users", "grant", "1", "auditor")
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	dir := t.TempDir()
	for _, nats := range []string{strings.Replace(server.url, "//", "//billing:"+server.passwords["billing"]+"@", 1), ""} {
		example := exec.CommandContext(t.Context(), program)
		example.Dir = dir
		example.Env = append(os.Environ(), "CARELOG_URL="+server.running.url, "CARELOG_EMAIL=john@example.com", "CARELOG_PASSWORD="+oldPassword, "NATS_URL="+nats)
		example.Stderr = os.Stderr
		output, err := example.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := example.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(output)
		expect := func(want string) {
			t.Helper()
			if !lines.Scan() || lines.Text() != want {
				t.Errorf("printed %q, want %q", lines.Text(), want)
			}
		}
		if nats != "" {
			expect("1: user.registered user/1")
			expect("2: user.role_granted user/1")
			expect("3: user 1 has a new patient, Alice Smith")
			server.mustAs(t, access, "POST", "/api/doctors/", doctorBody("Sarah", "sarah@example.com"), 201)
			expect("4: doctor.registered doctor/1")
		}
		server.mustAs(t, access, "POST", "/api/patients/mappings/", `{"patient":1,"doctor":1}`, 201)
		if nats != "" {
			expect("5: mapping.created mapping/1")
			server.mustAs(t, access, "DELETE", "/api/patients/mappings/delete/1/", "", 204)
			expect("6: mapping.removed mapping/1")
		} else {
			expect("7: mapping.created mapping/2")
		}
		if err := example.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := example.Wait(); err != nil {
			t.Error(err)
		}
	}
}
