package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// job is what the load generator is told.
type job struct {
	Addr        string
	Row         string
	Stock       stock
	First       int64 // serial number of the first request
	Connections int
	Warmup      time.Duration
	Duration    time.Duration
}

// load is what it reports: Requests and the latencies are those that ended in
// the measured interval, Sent and Failed count from the beginning.
type load struct {
	Sent     int64  // requests, so many serial numbers are used up
	Failed   int64  // answers that were not good, and lost connections
	Failure  string // one of them
	Requests int64
	Elapsed  time.Duration // of the interval
	P50, P99 time.Duration
	Longest  time.Duration
	CPU      time.Duration // of the load generator, in the interval
}

// The load generator writes two lines when the measured interval begins and
// ends, for whoever measures other processes meanwhile; the report follows.
const (
	intervalBegins = "begin"
	intervalEnds   = "end"
)

// runLoad is the load generator: it reads a job and writes what came of it. It
// is a process of its own so that its CPU time can be told from the servers',
// and uses one thread, which is more than it needs: a GET takes 18 µs of CPU
// here, with wrk -t1 14 µs. On two cores that both share with the yardstick and
// PostgreSQL, the yardstick answered as many GETs as wrk asks at 8 and 128
// connections, about 16,000/s, and a tenth less at 32.
func runLoad(ctx context.Context, in io.Reader, out io.Writer) error {
	runtime.GOMAXPROCS(1)
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	row, err := anyRowNamed(j.Row)
	if err != nil {
		return err
	}
	result, err := generate(ctx, j, row, func(mark string) { fmt.Fprintln(out, mark) })
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// startLoad runs the load generator; at is called when the measured interval
// begins and when it ends.
func startLoad(ctx context.Context, j job, stderr io.Writer, at func()) (result load, err error) {
	self, err := os.Executable()
	if err != nil {
		return load{}, err
	}
	told, err := json.Marshal(j)
	if err != nil {
		return load{}, err
	}
	cmd := exec.CommandContext(ctx, self, "load")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(told), stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return load{}, err
	}
	if err := cmd.Start(); err != nil {
		return load{}, err
	}
	defer func() { err = errors.Join(err, cmd.Wait()) }()
	lines := bufio.NewScanner(out)
	for _, mark := range []string{intervalBegins, intervalEnds} {
		if !lines.Scan() || lines.Text() != mark {
			return load{}, fmt.Errorf("said %q instead of %q", lines.Text(), mark)
		}
		at()
	}
	if !lines.Scan() {
		return load{}, errors.New("made no report")
	}
	return result, json.Unmarshal(lines.Bytes(), &result)
}
