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

// saturationOptions say how `bench saturation` measures.
type saturationOptions struct {
	options
	factor float64 // of what the server carries
	across int     // connections that the load comes over
}

// maxAccepted is what 99 % of those that an overloaded server accepts must not
// wait longer for.
const maxAccepted = 250 * time.Millisecond

// saturation is what came of one row.
type saturation struct {
	row     row
	carried float64 // requests per second, closed loop
	p99     time.Duration
	asked   float64 // rate of the offer
	offered offered
	before  int64 // resident memory of the server, in bytes
	peak    int64
	stored  int64 // new events; -1 for a row that stores none
}

func parseSaturationOptions(args []string, stderr io.Writer) (o saturationOptions, err error) {
	flags := flag.NewFlagSet("bench saturation", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.Database, "database", os.Getenv("CARELOG_TEST_DATABASE_URL"),
		"`URL` of a PostgreSQL server, as its superuser; a database is made on it (default $CARELOG_TEST_DATABASE_URL)")
	flags.StringVar(&o.Carelog, "carelog", "bin/carelog", "Carelog's `program`")
	flags.StringVar(&o.LogLevel, "log-level", "info", "Carelog's `level` of logging")
	flags.DurationVar(&o.Warmup, "warmup", time.Second, "`duration` of the load before what the server carries is measured")
	flags.DurationVar(&o.Duration, "duration", 5*time.Second, "`duration` of each measured interval")
	flags.Float64Var(&o.factor, "factor", 2, "`times` what the server carries that are offered")
	flags.IntVar(&o.across, "connections", 1024, "`number` of connections that the offer comes over")
	names := flags.String("rows", "post,get", "`rows` to measure")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for name := range strings.SplitSeq(*names, ",") {
		r, err := rowNamed(name)
		if err != nil {
			return o, err
		}
		o.Rows = append(o.Rows, r)
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("what is %q?", flags.Arg(0))
	case o.Duration <= 0 || o.Warmup < 0 || o.factor <= 0 || o.across < 1:
		return o, errors.New("-duration, -factor and -connections must be more than 0")
	case o.Database == "":
		return o, errors.New("no PostgreSQL server: start it by `make bench-saturation`, or name one by -database")
	}
	o.Carelog, err = filepath.Abs(o.Carelog)
	return o, err
}

// runSaturation offers Carelog more than it can carry and tells what it does. It
// fails when it does not do as it should.
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
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	server, err := startCarelog(ctx, o.Carelog, o.LogLevel, dir, d, log)
	if err != nil {
		return err
	}
	defer server.stop()
	if err := server.prepare(ctx, 0); err != nil {
		return fmt.Errorf("prepare Carelog: %w", err)
	}
	machine, err := lookAround(ctx, d, o.options)
	if err != nil {
		return err
	}
	var all []saturation
	for _, r := range o.Rows {
		s, err := saturate(ctx, o, server, r, stderr)
		if err != nil {
			return fmt.Errorf("%s: %w", r.title, err)
		}
		all = append(all, s)
	}
	writeSaturation(stdout, machine, o, all)
	var wrong []error
	for _, s := range all {
		if err := s.check(); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", s.row.title, err))
		}
	}
	return errors.Join(wrong...)
}

func saturate(ctx context.Context, o saturationOptions, server *server, r row, stderr io.Writer) (s saturation, err error) {
	s = saturation{row: r, stored: -1}
	carried, err := startLoad(ctx, job{
		Addr: server.addr, Row: r.name, Stock: server.stock, First: server.sent[r.name],
		Connections: 128, Warmup: o.Warmup, Duration: o.Duration,
	}, stderr, func() {})
	if err != nil {
		return s, err
	}
	if carried.Failed > 0 {
		return s, fmt.Errorf("%d of %d requests failed before there was any overload, one of them: %s", carried.Failed, carried.Sent, carried.Failure)
	}
	server.sent[r.name] += carried.Sent
	s.carried, s.p99 = float64(carried.Requests)/carried.Elapsed.Seconds(), carried.P99
	if _, err := server.settle(ctx); err != nil {
		return s, err
	}
	if err := server.database.tidy(ctx); err != nil {
		return s, err
	}
	head := func() (n int64, err error) {
		return n, server.database.conn.QueryRow(ctx, "select coalesce(max(position), 0) from events").Scan(&n)
	}
	first, err := head()
	if err != nil {
		return s, err
	}
	s.asked = o.factor * s.carried
	s.before = residentOf(server.cmd.Process.Pid)
	watched, stopWatching := context.WithCancel(ctx)
	peak := make(chan int64, 1)
	go func() { peak <- watchResident(watched, server.cmd.Process.Pid) }()
	s.offered, err = startOffer(ctx, offer{
		Addr: server.addr, Row: r.name, Stock: server.stock, First: server.sent[r.name],
		Rate: s.asked, Connections: o.across, Duration: o.Duration,
	}, stderr)
	stopWatching()
	s.peak = <-peak
	if err != nil {
		return s, fmt.Errorf("load generator: %w", err)
	}
	server.sent[r.name] += s.offered.Sent
	if _, err := server.settle(ctx); err != nil {
		return s, err
	}
	if r.method != "GET" {
		last, err := head()
		if err != nil {
			return s, err
		}
		s.stored = last - first
	}
	return s, server.database.tidy(ctx)
}

// watchResident is the most memory that a process has until the context ends.
func watchResident(ctx context.Context, pid int) (most int64) {
	ticks := time.NewTicker(50 * time.Millisecond)
	defer ticks.Stop()
	for {
		most = max(most, residentOf(pid))
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return most
		}
	}
}

// check tells what the server did wrong.
func (s saturation) check() error {
	switch o := s.offered; {
	case o.Failed > 0:
		return fmt.Errorf("%d of %d requests were neither carried out nor shed, one of them: %s", o.Failed, o.Sent, o.Failure)
	case o.Accepted == 0:
		return errors.New("nothing was accepted")
	case o.P99 >= maxAccepted:
		return fmt.Errorf("of those accepted 99 %% waited %v, more than %v", o.P99, maxAccepted)
	case s.stored >= 0 && s.stored != o.Accepted:
		return fmt.Errorf("%d requests were answered 2xx, and %d events were stored", o.Accepted, s.stored)
	}
	return nil
}

func writeSaturation(w io.Writer, m machine, o saturationOptions, all []saturation) {
	for _, line := range m.lines() {
		fmt.Fprintf(w, "- %s\n", line)
	}
	fmt.Fprintf(w, "- carried: closed loop, 128 connections; offered: open loop, %v over %d connections; log level %s\n\n", o.Duration, o.across, o.LogLevel)
	header := []string{"", "carried/s", "p99 ms", "to offer/s", "offered/s", "accepted/s", "shed/s", "p50 ms", "p99 ms", "longest ms", "shed p99 ms", "MiB before", "peak", "errors", "generator CPU"}
	fmt.Fprintf(w, "| %s |\n|---|%s\n", strings.Join(header, " | "), strings.Repeat("---:|", len(header)-1))
	for _, s := range all {
		per := func(n int64) string { return thousands(float64(n) / s.offered.Elapsed.Seconds()) }
		ms := func(d time.Duration) string { return fmt.Sprintf("%.0f", milliseconds(d)) }
		mib := func(n int64) string { return fmt.Sprintf("%d", n>>20) }
		fmt.Fprintf(w, "| %s |\n", strings.Join([]string{s.row.title, thousands(s.carried), ms(s.p99), thousands(s.asked), per(s.offered.Sent),
			per(s.offered.Accepted), per(s.offered.Shed), ms(s.offered.P50), ms(s.offered.P99), ms(s.offered.Longest), ms(s.offered.ShedP99),
			mib(s.before), mib(s.peak), fmt.Sprint(s.offered.Failed),
			fmt.Sprintf("%.0f %%", 100*s.offered.CPU.Seconds()/s.offered.Elapsed.Seconds())}, " | "))
	}
}
