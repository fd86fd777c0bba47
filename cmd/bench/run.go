package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

// runBench measures everything and writes the report: the table to stdout as
// well, progress to stderr.
func runBench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	result, err := measure(ctx, o, stderr)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	return result.write(o.Out, stdout)
}

// session is a measurement with both servers running.
type session struct {
	options    options
	servers    [2]*server // the yardstick, Carelog
	postmaster int
	stderr     io.Writer
	report     report
}

func measure(ctx context.Context, o options, stderr io.Writer) (_ *report, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	dir, err := os.MkdirTemp("", "carelog-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	admin, err := pgx.Connect(ctx, o.Database)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer admin.Close(context.WithoutCancel(ctx))
	s := &session{options: o, stderr: stderr}
	var databases [2]*database
	for i, name := range []string{"yardstick", "carelog"} {
		name = fmt.Sprintf("bench_%s_%d", name, os.Getpid())
		defer func() { err = errors.Join(err, dropDatabase(context.WithoutCancel(ctx), admin, name)) }()
		if databases[i], err = createDatabase(ctx, admin, o.Database, name); err != nil {
			return nil, err
		}
		defer databases[i].conn.Close(context.WithoutCancel(ctx))
	}
	if s.servers[0], err = startYardstick(ctx, databases[0], stderr); err != nil {
		return nil, err
	}
	defer s.servers[0].stop()
	if s.servers[1], err = startCarelog(ctx, o.Carelog, o.LogLevel, dir, databases[1], stderr); err != nil {
		return nil, err
	}
	defer s.servers[1].stop()
	if s.report.Machine, err = lookAround(ctx, databases[0], o); err != nil {
		return nil, err
	}
	s.report.note(o)
	s.postmaster = databases[0].postmaster(ctx)
	for _, server := range s.servers {
		if err := server.prepare(ctx, o.doctors()); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", server.name, err)
		}
	}
	if err := s.compare(); err != nil {
		return nil, err
	}
	if err := s.rounds(ctx); err != nil {
		return nil, err
	}
	return &s.report, nil
}

// rounds measures every cell of the table once in each round. Who begins
// changes from cell to cell and from round to round.
func (s *session) rounds(ctx context.Context) error {
	o := s.options
	cells := len(o.Rows) * len(o.Connections)
	begin := time.Now()
	for round := range o.Rounds {
		for cell := range cells {
			r, connections := o.Rows[cell/len(o.Connections)], o.Connections[cell%len(o.Connections)]
			first := (round + cell) % 2
			for _, server := range []*server{s.servers[first], s.servers[1-first]} {
				m, err := s.run(ctx, server, r, connections)
				if err != nil {
					return fmt.Errorf("%s, %d connections, %s: %w", r.title, connections, server.name, err)
				}
				m.Round = round + 1
				s.report.Runs = append(s.report.Runs, m)
				fmt.Fprintf(s.stderr, "%5s  round %d of %d  %-20s %3d connections  %-9s %7.0f/s\n", time.Since(begin).Round(time.Second),
					m.Round, o.Rounds, r.title, connections, server.name, m.Throughput)
			}
		}
	}
	return nil
}

// run loads one server for one interval. When it returns the server has nothing
// left to do, which the other's turn would have to bear.
func (s *session) run(ctx context.Context, server *server, r row, connections int) (m run, err error) {
	before, err := server.settle(ctx)
	if err != nil {
		return m, err
	}
	j := job{
		Addr: server.addr, Row: r.name, Stock: server.stock, First: server.sent[r.name],
		Connections: connections, Warmup: s.options.Warmup, Duration: s.options.Duration,
	}
	var samples [2]sample // at the interval's begin and end
	at := 0
	result, err := startLoad(ctx, j, s.stderr, func() {
		samples[at] = s.sample(server)
		at++
	})
	if err != nil {
		return m, fmt.Errorf("load generator: %w", err)
	}
	server.sent[r.name] += result.Sent
	if result.Failed > 0 {
		return m, fmt.Errorf("%d of %d requests failed, one of them: %s", result.Failed, result.Sent, result.Failure)
	}
	if result.Requests == 0 {
		return m, errors.New("no request was answered in time")
	}
	after, err := server.settle(ctx)
	if err != nil {
		return m, err
	}
	applied := after.Applied.FromLog - before.Applied.FromLog
	if applied > 0 {
		return m, fmt.Errorf("%d events reached the read tables from the log and not over NATS", applied)
	}
	used := samples[1].since(samples[0])
	perThousand := func(d time.Duration) float64 { return d.Seconds() / float64(result.Requests) * 1000 }
	share := func(d time.Duration) float64 { return d.Seconds() / result.Elapsed.Seconds() }
	m = run{
		Server: server.name, Row: r.name, Connections: connections,
		Requests:    result.Requests,
		Throughput:  float64(result.Requests) / result.Elapsed.Seconds(),
		P50:         milliseconds(result.P50),
		P99:         milliseconds(result.P99),
		Longest:     milliseconds(result.Longest),
		ServerCPU:   perThousand(used.server),
		PostgresCPU: perThousand(used.postgres),
		Memory:      float64(residentOf(server.cmd.Process.Pid)) / (1 << 20),
		LoadCPU:     share(result.CPU),
		OtherCPU:    share(max(0, used.machine-used.server-used.postgres-result.CPU)),
		FromBus:     after.Applied.FromBus - before.Applied.FromBus,
		FromLog:     applied,
	}
	return m, server.database.tidy(ctx)
}

// sample is the CPU time that was used until a moment.
type sample struct {
	server, postgres time.Duration
	machine          time.Duration // by everybody
}

func (s *session) sample(server *server) sample {
	return sample{cpuOf(server.cmd.Process.Pid), cpuOfAll(s.postmaster), cpuOfMachine()}
}

func (s sample) since(t sample) sample {
	return sample{s.server - t.server, s.postgres - t.postgres, s.machine - t.machine}
}
