package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// lineCount counts the lines that are written to it.
type lineCount int

func (c *lineCount) Write(p []byte) (int, error) {
	*c += lineCount(bytes.Count(p, []byte("\n")))
	return len(p), nil
}

// BenchmarkTravellingLog exports a log of a million events, imports it into an empty
// database, and replays it, by commands that are processes of their own. MiB is what
// the process had resident at most. The time of the import is that of the log, from the
// check of the files to the commit; that of the read tables is told beside it.
//
//	make bench-components BENCH="-bench TravellingLog -benchtime 1x"
func BenchmarkTravellingLog(b *testing.B) {
	const n = 1_000_000
	config := databaseConfig(b)
	fillLog(b, config.DatabaseURL, n)
	dir := filepath.Join(b.TempDir(), "export")
	run := func(b *testing.B, database string, stdout io.Writer, args ...string) {
		command := exec.CommandContext(b.Context(), os.Args[0], args...)
		command.Dir = b.TempDir()
		command.Env = append(os.Environ(), asProgram+"=1", "DATABASE_URL="+database, "CARELOG_DATA_DIR="+config.DataDir)
		var told strings.Builder
		command.Stdout, command.Stderr = stdout, &told
		if err := command.Run(); err != nil {
			b.Fatalf("%v: %s", err, &told)
		}
		b.ReportMetric(float64(command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024, "MiB")
	}
	rate := func(b *testing.B) { b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s") }
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			if err := os.RemoveAll(dir); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			run(b, config.DatabaseURL, io.Discard, "export", dir)
		}
		rate(b)
	})
	b.Run("replay", func(b *testing.B) {
		for b.Loop() {
			var lines lineCount
			if run(b, config.DatabaseURL, &lines, "replay", "--to", "stdout"); lines != n {
				b.Fatalf("%d lines", lines)
			}
		}
		rate(b)
	})
	b.Run("import", func(b *testing.B) {
		var log, tables float64
		for b.Loop() {
			var done imported
			var stdout bytes.Buffer
			run(b, pgtest.New(b), &stdout, "import", dir, "--json")
			if err := json.Unmarshal(stdout.Bytes(), &done); err != nil {
				b.Fatal(err)
			}
			log, tables = log+done.LogTime, tables+done.TableTime
		}
		b.ReportMetric(float64(n)*float64(b.N)/log, "events/s")
		b.ReportMetric(tables/float64(b.N), "s_for_read_tables")
	})
}
