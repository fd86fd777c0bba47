package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections/history"
)

// fillLog stores events of patients, ten of each, and at the end a thousand more of
// patient 1. All of them are user 1's.
func fillLog(t testing.TB, url string, n int) {
	t.Helper()
	runSQL(t, url, fmt.Sprintf(`
		set synchronous_commit = off;
		insert into events
		select n, gen_random_uuid(), case when n %% 10 = 1 and n <= %[1]d - 1000 then 'patient.registered' else 'patient.amended' end, 1, array['patient:' || p, 'owner:1'],
		    case when n %% 10 = 1 and n <= %[1]d - 1000 then json_build_object('patient_id', p, 'owner_id', 1, 'first_name', 'Alice', 'last_name', 'Smith', 'age', 30, 'gender', 'Female',
		        'created_at', '2026-01-31T08:30:00.123456Z') else json_build_object('patient_id', p, 'owner_id', 1, 'age', n %% 100) end,
		    json_build_object('actor', json_build_object('user_id', 1), 'correlation_id', gen_random_uuid(), 'request_id', gen_random_uuid()),
		    '\x00112233445566778899aabbccddeeff', now() - (%[1]d - n) * interval '1 ms'
		from (select n, case when n > %[1]d - 1000 then 1 else (n - 1) / 10 + 1 end as p from generate_series(1, %[1]d) as n) as numbered;
		insert into event_tags (tag, type, position) select unnest(tags), type, position from events order by 1, 2, 3`, n))
	runSQL(t, url, `vacuum analyze events`)
	runSQL(t, url, `vacuum analyze event_tags`)
}

// BenchmarkLookingIntoTheLog runs commands, as processes of their own, on a log of a
// million events. MiB is what the process had resident at most.
func BenchmarkLookingIntoTheLog(b *testing.B) {
	const n = 1_000_000
	config := databaseConfig(b)
	fillLog(b, config.DatabaseURL, n)
	b.Run("the_history_alone", func(b *testing.B) {
		err := withOperator(b.Context(), config, quiet(), func(ctx context.Context, o *operator) error {
			for b.Loop() {
				err := o.tellHistory(ctx, history.Subject{Kind: events.Patient, ID: 1}, (&historyLines{lineWriter{w: io.Discard}}).print)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	})
	for _, command := range []struct {
		args   string
		events int // that are listed
	}{
		{"version", 0}, // what a start takes
		{"events --json", n},
		{"events", n},
		{"events --json --type patient", n},
		{"events --json --type patient.registered", (n - 1000) / 10},
		{"events --json --type user.disabled", 0},
		{"events --json --tag owner:1", n},
		{"events --json --tag patient:77", 10},
		{"events --json --actor 1", n},
		{"events --json --actor nobody", 0},
		{"events --json --since 999991", 10},
		{"history patient 1", 1010},
		{"show patient 1 --as-of 999000", 0},
	} {
		b.Run(strings.ReplaceAll(command.args, " ", "_"), func(b *testing.B) {
			var most int64
			for b.Loop() {
				run := exec.CommandContext(b.Context(), os.Args[0], strings.Fields(command.args)...)
				run.Dir = b.TempDir()
				run.Env = append(os.Environ(), asProgram+"=1", "DATABASE_URL="+config.DatabaseURL, "CARELOG_DATA_DIR="+config.DataDir)
				run.Stderr = os.Stderr
				if err := run.Run(); err != nil {
					b.Fatal(err)
				}
				most = max(most, run.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
			}
			b.ReportMetric(float64(most)/1024, "MiB")
			if command.events > 0 {
				b.ReportMetric(float64(command.events*b.N)/b.Elapsed().Seconds(), "events/s")
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(b.Elapsed().Seconds()*float64(time.Second/time.Millisecond)/float64(b.N), "ms")
		})
	}
}
