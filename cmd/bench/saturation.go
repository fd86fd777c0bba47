package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// acceptedWithin is how long 99 % of those may take that an overloaded server
// accepts.
const acceptedWithin = 250 * time.Millisecond

// saturationOptions say how much more is offered than can be carried.
type saturationOptions struct {
	options
	factor float64 // of what is carried
	over   int     // connections
}

func parseSaturationOptions(args []string, stderr io.Writer) (o saturationOptions, err error) {
	flags := flag.NewFlagSet("bench saturation", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.Database, "database", os.Getenv("CARELOG_TEST_DATABASE_URL"),
		"`URL` of a PostgreSQL server, as its superuser; a database is made on it (default $CARELOG_TEST_DATABASE_URL)")
	flags.StringVar(&o.Carelog, "carelog", "bin/carelog", "Carelog's `program`")
	flags.StringVar(&o.LogLevel, "log-level", "info", "Carelog's `level` of logging")
	flags.DurationVar(&o.Warmup, "warmup", time.Second, "`duration` of the load before it is measured what is carried")
	flags.DurationVar(&o.Duration, "duration", 5*time.Second, "`duration` of that, and of the offer")
	flags.Float64Var(&o.factor, "factor", 2, "`times` what is carried that are offered")
	flags.IntVar(&o.over, "connections", 2048, "`number` of connections over which it is offered")
	names := flags.String("rows", "post,get", "`rows` to measure")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.Args = strings.Join(args, " ")
	if o.Rows, err = rowsNamed(*names); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("what is %q?", flags.Arg(0))
	case o.Duration <= 0 || o.Warmup < 0 || o.factor <= 0 || o.over < 1:
		return o, errors.New("-duration, -factor and -connections must be more than 0")
	case o.Database == "":
		return o, errors.New("no PostgreSQL server: start it by `make bench-saturation`, or name one by -database")
	}
	o.Carelog, err = filepath.Abs(o.Carelog)
	return o, err
}

// runSaturation measures what Carelog carries, offers more than that, and tells
// what becomes of it. It fails when too much of what is accepted takes too long,
// and when anything is neither carried out nor shed.
func runSaturation(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parseSaturationOptions(args, stderr)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	dir, err := os.MkdirTemp("", "carelog-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	admin, err := pgx.Connect(ctx, o.Database)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer admin.Close(context.WithoutCancel(ctx))
	name := fmt.Sprintf("bench_saturation_%d", os.Getpid())
	defer func() { err = errors.Join(err, dropDatabase(context.WithoutCancel(ctx), admin, name)) }()
	d, err := createDatabase(ctx, admin, o.Database, name)
	if err != nil {
		return err
	}
	defer d.conn.Close(context.WithoutCancel(ctx))
	log, err := os.Create(filepath.Join(dir, "log")) // with a line for each request
	if err != nil {
		return err
	}
	defer log.Close()
	server, err := startCarelog(ctx, o.Carelog, o.LogLevel, dir, d, log)
	if err != nil {
		return err
	}
	defer server.stop()
	r := &saturationReport{options: o}
	if r.machine, err = lookAround(ctx, d, o.options); err != nil {
		return err
	}
	if err := server.prepare(ctx, 0); err != nil {
		return fmt.Errorf("prepare Carelog: %w", err)
	}
	s := &session{options: o.options, postmaster: d.postmaster(ctx), stderr: stderr}
	for _, row := range o.Rows {
		result, err := s.saturate(ctx, server, row, o)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", row.title, err)
		}
		r.results = append(r.results, result)
	}
	fmt.Fprint(stdout, r.table())
	return r.check()
}

// saturation is what came of one row. What the system does not tell is 0.
type saturation struct {
	row     row
	carried run
	asked   float64 // requests per second to offer
	offered offered
	stored  int64   // events, while it was offered
	before  float64 // MiB that the server had in memory
	peak    float64
	others  float64 // cores that were used by what is not measured
}

// saturate measures what the server carries with 128 connections in a closed
// loop, and then offers it more.
func (s *session) saturate(ctx context.Context, server *server, r row, o saturationOptions) (result saturation, err error) {
	result.row = r
	if result.carried, err = s.run(ctx, server, r, 128); err != nil {
		return result, err
	}
	result.asked = o.factor * result.carried.Throughput
	before, err := server.database.head(ctx)
	if err != nil {
		return result, err
	}
	watch := watchMemory(server.cmd.Process.Pid)
	start := s.sample(server)
	result.offered, err = startOffer(ctx, offer{
		Addr: server.addr, Row: r.name, Stock: server.stock, First: server.sent[r.name],
		Rate: result.asked, Connections: o.over, Duration: o.Duration,
	}, s.stderr)
	used := s.sample(server).since(start)
	result.before, result.peak = watch()
	if err != nil {
		return result, fmt.Errorf("load generator: %w", err)
	}
	server.sent[r.name] += result.offered.Sent
	others := used.machine - used.server - used.postgres - result.offered.CPU
	result.others = max(0, others).Seconds() / result.offered.Elapsed.Seconds()
	if _, err := server.settle(ctx); err != nil {
		return result, err
	}
	after, err := server.database.head(ctx)
	if err != nil {
		return result, err
	}
	result.stored = after - before
	return result, server.database.tidy(ctx)
}

// head is the position of the last event.
func (d *database) head(ctx context.Context) (n int64, err error) {
	return n, d.conn.QueryRow(ctx, "select coalesce(max(position), 0) from events").Scan(&n)
}

// watchMemory looks at what a process has in memory until it is asked what that
// was at first, and what at most, in MiB.
func watchMemory(pid int) func() (first, most float64) {
	look := func() float64 { return float64(residentOf(pid)) / (1 << 20) }
	first := look()
	stop, most := make(chan struct{}), make(chan float64)
	go func() {
		peak := first
		ticks := time.NewTicker(50 * time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				peak = max(peak, look())
			case <-stop:
				most <- peak
				return
			}
		}
	}()
	return func() (float64, float64) {
		close(stop)
		return first, <-most
	}
}

// check tells what the server did wrong.
func (s saturation) check() error {
	switch o := s.offered; {
	case o.Failed > 0:
		return fmt.Errorf("%d of %d requests were neither carried out nor shed, one of them: %s", o.Failed, o.Sent, o.Failure)
	case o.Accepted == 0:
		return errors.New("nothing was accepted")
	case o.P99 >= acceptedWithin:
		return fmt.Errorf("of what was accepted 1 %% took %v or longer, and may take %v", o.P99.Round(time.Millisecond), acceptedWithin)
	case s.row.method != "GET" && s.stored != o.Accepted:
		return fmt.Errorf("%d requests were answered 2xx, and %d events were stored", o.Accepted, s.stored)
	}
	return nil
}
