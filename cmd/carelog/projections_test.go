package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/projections"
)

// TestProjectionsCommands lists, verifies and rebuilds, beside a server and
// without one.
func TestProjectionsCommands(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	t.Setenv("DB_NAME", "")
	config := privateConfig(t)
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	for range 3 {
		server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	}
	carelog := func(want int, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		args = append(append([]string{"projections"}, args...), "--data-dir", config.DataDir)
		if status := execute(t.Context(), args, &stdout, &stderr); status != want {
			t.Errorf("%v: status %d, want %d\n%s%s", args, status, want, &stdout, &stderr)
		}
		return stdout.String() + stderr.String()
	}
	expect := func(got string, want ...string) {
		t.Helper()
		for _, want := range want {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not in\n%s", want, got)
			}
		}
	}
	expect(carelog(0, "list"), "NAME      SCHEMA  POSITION  LAG  ROWS  STATE\n", "patients  1       4         0    3     ok\n", "users     1       4         0    1     ok\n")
	var list projectionList
	if err := json.Unmarshal([]byte(carelog(0, "list", "--json")), &list); err != nil || list.Head != 4 || len(list.Projections) != 4 ||
		list.Projections[2] != (listedProjection{Name: "patients", SchemaVersion: 1, Position: 4, Rows: 3}) {
		t.Errorf("%v, %+v", err, list)
	}
	expect(carelog(0, "verify"), "users: 1 rows at position 4, 0 differ\n", "patients: 3 rows at position 4, 0 differ\n", "doctors: 0 rows")
	err := withOperator(t.Context(), config, quiet(), func(ctx context.Context, o *operator) error {
		_, err := o.pool.Exec(ctx, `with gone as (delete from patients where id = 3) update patients set last_name = 'Secret', age = 9 where id = 2`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	differ := carelog(exitDiffers, "verify", "patients", "users")
	expect(differ, "patients id=2 differs in last_name, age\n", "patients id=3 is missing\n", "patients: 3 rows at position 4, 2 differ\n", "carelog: rows that are not what the log makes of them: 2")
	if strings.Contains(differ, "Secret") || strings.Contains(differ, "doctors") {
		t.Errorf("too much is told:\n%s", differ)
	}
	expect(carelog(0, "rebuild", "patients"), "rebuilt patients from 4 events in ")
	carelog(0, "verify")
	server.mustAs(t, access, "GET", "/api/patients/3/", "", 200)
	expect(carelog(exitUsage, "rebuild", "ghosts"), `there is no projection "ghosts": there are users, `)
	expect(carelog(exitUsage, "list", "ghosts"), "See `carelog projections list --help`")

	server.stop()
	expect(carelog(0, "rebuild"), "rebuilt users, mappings, patients, doctors from 4 events in ")
	carelog(0, "verify")
	server = start(t, config)
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
}

// TestTheAPIServesDuringARebuild: eight clients write and eight read while all
// tables are rebuilt again and again. What was answered is in every later read.
func TestTheAPIServesDuringARebuild(t *testing.T) {
	config := databaseConfig(t)
	config.LogLevel = 4 // warnings
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.mustAs(t, access, "POST", "/api/doctors/", `{"first_name":"S","last_name":"J","specialization":"C","email":"s@example.com","phone":"1"}`, 201)
	loading, stopLoad := context.WithCancel(t.Context())
	defer stopLoad()
	var load errgroup.Group
	var created atomic.Int64
	ok := func(method, path, body string, status int) (reply, error) {
		got, err := server.as(access, method, path, body)
		if err != nil || got.status != status || got.header.Get("Carelog-Projected") != "" {
			return got, fmt.Errorf("%s %s: %d %s %w", method, path, got.status, got.body, err)
		}
		return got, nil
	}
	for range 8 {
		load.Go(func() error {
			for loading.Err() == nil {
				var patient struct{ ID int64 }
				got, err := ok("POST", "/api/patients/", somePatient, 201)
				if err != nil {
					return err
				}
				if err := json.Unmarshal(got.body, &patient); err != nil {
					return err
				}
				if _, err := ok("POST", "/api/patients/mappings/", fmt.Sprintf(`{"patient":%d,"doctor":1}`, patient.ID), 201); err != nil {
					return err
				}
				created.Add(1)
				if _, err := ok("GET", fmt.Sprintf("/api/patients/%d/", patient.ID), "", 200); err != nil {
					return err
				}
			}
			return nil
		})
		load.Go(func() error {
			for seen := 0; loading.Err() == nil; {
				least := max(seen, int(created.Load()))
				for _, path := range []string{"/api/patients/", "/api/patients/mappings/"} {
					got, err := ok("GET", path, "", 200)
					if err != nil {
						return err
					}
					if seen = bytes.Count(got.body, []byte(`"id":`)); seen < least {
						return fmt.Errorf("GET %s: %d are there, and %d had been", path, seen, least)
					}
				}
			}
			return nil
		})
	}
	eventually(t, "patients are created", time.Minute, func() bool { return created.Load() > 50 })
	rebuilds := 0
	err := withOperator(t.Context(), config, quiet(), func(ctx context.Context, o *operator) error {
		for before := created.Load(); rebuilds < 3 || created.Load() < before+30; rebuilds++ {
			if err := projections.Rebuild(ctx, o.projections, nil); err != nil {
				return err
			}
		}
		return o.verify(ctx, nil, t.Output(), t.Output())
	})
	stopLoad()
	if err := errors.Join(err, load.Wait()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rebuilds while %d patients were created", rebuilds, created.Load())
}

// killRebuild makes the test binary a rebuild that kills itself at a point.
const killRebuild = "CARELOG_TEST_KILL_REBUILD"

// rebuildAndDie rebuilds all tables of the server with the data directory and
// ends as by kill -9 at the point.
func rebuildAndDie(point string) {
	die := func(here bool) {
		if here {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	config, _, err := loadOperatorConfig(readEnvironment(newRebuildProjectionsCommand().Flags(), "."))
	if err == nil {
		err = withOperator(context.Background(), config, quiet(), func(ctx context.Context, o *operator) error {
			err := projections.Rebuild(ctx, o.projections, func(s projections.Step) {
				die(point == "before it fills" && s.Stage == projections.Filling)
				die(point == "while it fills" && s.Stage == projections.Filling && 0 < s.Position && s.Position < s.Target)
				die(point == "before it has switched" && s.Stage == projections.Switching)
			})
			die(point == "after it has switched" && err == nil)
			return err
		})
	}
	fmt.Fprintln(os.Stderr, "not killed:", err)
	os.Exit(exitError)
}

// TestARebuildIsKilled at several points, beside a server that serves on, and is
// begun again.
func TestARebuildIsKilled(t *testing.T) {
	t.Parallel()
	config := databaseConfig(t)
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")
	server.stop()
	const patients = 5_500 // more than a batch
	runSQL(t, config.DatabaseURL, fmt.Sprintf(`
		insert into events select 1 + n, gen_random_uuid(), 'patient.registered', 1, '{}',
		    json_build_object('patient_id', n, 'owner_id', 1, 'first_name', 'Alice', 'last_name', 'Smith', 'age', 30, 'gender', 'Female', 'created_at', now()),
		    '{}', '', now()
		from generate_series(1, %d) as n;
		select setval('patient_ids', %[1]d)`, patients))
	server = start(t, config)
	count := func() int {
		t.Helper()
		return bytes.Count(server.mustAs(t, access, "GET", "/api/patients/", "", 200).body, []byte(`"id":`))
	}
	eventually(t, "the server has applied the log", time.Minute, func() bool { return count() == patients })
	want := patients
	for _, point := range []string{"before it fills", "while it fills", "before it has switched", "after it has switched"} {
		command := exec.Command(os.Args[0])
		command.Dir = t.TempDir()
		command.Env = append(os.Environ(), killRebuild+"="+point, "DATABASE_URL="+config.DatabaseURL)
		out, err := command.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s: the rebuild ended with %v\n%s", point, err, out)
		}
		if got := count(); got != want {
			t.Errorf("killed %s: %d patients where %d were", point, got, want)
		}
		server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
		want++
		err = withOperator(t.Context(), config, quiet(), func(ctx context.Context, o *operator) error {
			var left int
			if err := o.pool.QueryRow(ctx, `select count(*) from pg_namespace where nspname = 'projections_rebuild'`).Scan(&left); err != nil {
				return err
			}
			if (left == 1) != (point != "after it has switched") {
				t.Errorf("killed %s: %d schemas are left behind", point, left)
			}
			return o.rebuild(ctx, nil, t.Output(), t.Output())
		})
		if err != nil {
			t.Errorf("again after it was killed %s: %v", point, err)
		}
		if got := count(); got != want {
			t.Errorf("rebuilt after it was killed %s: %d patients where %d were", point, got, want)
		}
	}
	err := withOperator(t.Context(), config, quiet(), func(ctx context.Context, o *operator) error {
		return o.verify(ctx, nil, t.Output(), t.Output())
	})
	if err != nil {
		t.Error(err)
	}
}
