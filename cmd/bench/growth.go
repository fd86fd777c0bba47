package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// growthOptions say what is measured of growth.
type growthOptions struct {
	options
	Events     int64 // of the grown log
	Small      int64 // of the small one
	Amendments int64 // of one patient of the grown log
}

func parseGrowthOptions(args []string, stderr io.Writer) (o growthOptions, err error) {
	flags := flag.NewFlagSet("bench growth", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Int64Var(&o.Events, "events", 10_000_000, "`number` of events in the grown log; a million takes about 1 GB of disk")
	flags.Int64Var(&o.Small, "small", 10_000, "`number` of events in the small log")
	flags.Int64Var(&o.Amendments, "amendments", 10_000, "`number` of amendments of one patient in the grown log")
	check := o.addFlags(flags, "1,8", "bin/growth", "`path` of the figures, without .json")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.Args = strings.Join(args, " ")
	switch {
	case o.Small < 1000 || o.Events < o.Small:
		return o, errors.New("-small must be 1000 or more, and -events not less than that")
	case o.Amendments < 1 || o.Amendments > o.Events/10:
		return o, errors.New("-amendments must be more than 0, and at most a tenth of -events")
	}
	err = check()
	return o, err
}

// perSecond is how many requests there are at most while one row is measured at
// so many a second.
func (o growthOptions) perSecond(n float64, connections int) int64 {
	return 1 + int64((o.Warmup+o.Duration).Seconds()*n)*int64(connections*o.Rounds)
}

// runGrowth measures what becomes of Carelog as its log grows: it fills a small
// log and a large one, has the read tables rebuilt, and compares the latency of
// two servers that serve them.
func runGrowth(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseGrowthOptions(args, stderr)
	if err != nil {
		return err
	}
	result, err := measureGrowth(ctx, o, stderr)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	return result.write(o.Out, stdout)
}

// grower makes logs, and measures.
type grower struct {
	options growthOptions
	dir     string
	admin   *pgx.Conn
	stderr  io.Writer
	began   time.Time
	report  growthReport
}

func measureGrowth(ctx context.Context, o growthOptions, stderr io.Writer) (_ *growthReport, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g := &grower{options: o, stderr: stderr, began: time.Now()}
	if g.dir, err = os.MkdirTemp("", "carelog-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(g.dir)) }()
	if g.admin, err = pgx.Connect(ctx, o.Database); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer g.admin.Close(context.WithoutCancel(ctx))

	// Memory and speed of a rebuild are compared with those of a log that is long
	// enough to show them.
	middle, err := g.grow(ctx, "tenth", historyOf(max(o.Events/10, o.Small), 0))
	if err == nil {
		err = g.verify(ctx, middle)
	}
	if err := errors.Join(err, middle.drop(ctx, g.admin)); err != nil {
		return nil, err
	}
	s := &session{options: o.options, stderr: stderr}
	for i, log := range []struct {
		name    string
		history history
	}{{smallName, historyOf(o.Small, 0)}, {grownName, historyOf(o.Events, o.Amendments)}} {
		var d *database
		d, err = g.grow(ctx, log.name, log.history)
		defer func() { err = errors.Join(err, d.drop(ctx, g.admin)) }()
		if err != nil {
			return nil, fmt.Errorf("%s log: %w", log.name, err)
		}
		if s.servers[i], err = g.serve(ctx, log.name, d); err != nil {
			return nil, err
		}
		defer s.servers[i].stop()
		if err := g.prepare(ctx, s.servers[i], log.history); err != nil {
			return nil, fmt.Errorf("prepare the server of the %s log: %w", log.name, err)
		}
	}
	if g.report.Machine, err = lookAround(ctx, s.servers[0].database, o.options); err != nil {
		return nil, err
	}
	g.report.note(o)
	s.postmaster = s.servers[0].database.postmaster(ctx)
	return &g.report, g.rounds(ctx, s)
}

func (g *grower) tell(format string, args ...any) {
	fmt.Fprintf(g.stderr, "%5s  %s\n", time.Since(g.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// grow makes a database with a log, and read tables that are rebuilt from it.
func (g *grower) grow(ctx context.Context, name string, h history) (*database, error) {
	d, err := createDatabase(ctx, g.admin, g.options.Database, fmt.Sprintf("growth_%s_%d", name, os.Getpid()))
	if err != nil {
		return nil, err
	}
	migrating, err := g.serve(ctx, name, d) // makes the log
	if err != nil {
		return d, err
	}
	migrating.stop()

	g.tell("filling the %s log with %s events", name, thousands(float64(h.events())))
	begin := time.Now()
	if err := d.fill(ctx, h, g.tell); err != nil {
		return d, fmt.Errorf("fill: %w", err)
	}
	l := grownLog{Name: name, history: h, Events: h.events(), Fill: time.Since(begin).Seconds()}
	if err := d.rest(ctx); err != nil {
		return d, err
	}
	g.tell("rebuilding the read tables of the %s log", name)
	begin = time.Now()
	said, peak, err := g.operate(ctx, d, "rebuild")
	if want := fmt.Sprintf("from %d events", h.events()); err == nil && !strings.Contains(said, want) {
		err = fmt.Errorf("it did not say %q but: %s", want, said)
	}
	if err != nil {
		return d, err
	}
	l.Rebuild, l.Peak = time.Since(begin).Seconds(), float64(peak)/(1<<20)
	if err := d.rest(ctx); err != nil {
		return d, err
	}
	if err := d.conn.QueryRow(ctx, "select pg_database_size(current_database()) / 1048576.0").Scan(&l.Size); err != nil {
		return d, err
	}
	g.tell("%s log: filled in %.0f s, rebuilt in %.1f s, at most %.0f MiB; %.0f MiB on disk", name, l.Fill, l.Rebuild, l.Peak, l.Size)
	g.report.Logs = append(g.report.Logs, l)
	return d, nil
}

// serve starts the program on a log.
func (g *grower) serve(ctx context.Context, name string, d *database) (*server, error) {
	dir := filepath.Join(g.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s, err := startCarelog(ctx, g.options.Carelog, g.options.LogLevel, dir, d, g.stderr)
	if err == nil {
		s.name = name
	}
	return s, err
}

// verify has all rows of the read tables compared with the log.
func (g *grower) verify(ctx context.Context, d *database) error {
	begin := time.Now()
	said, _, err := g.operate(ctx, d, "verify")
	if err != nil {
		return fmt.Errorf("%w: %.500s", err, said)
	}
	g.tell("verified in %.1f s", time.Since(begin).Seconds())
	return nil
}

// operate runs `carelog projections` on a database. It answers what it said, and
// the most memory that it had.
func (g *grower) operate(ctx context.Context, d *database, command string) (said string, peak int64, err error) {
	var stdout bytes.Buffer
	cmd := exec.CommandContext(ctx, g.options.Carelog, "projections", command)
	cmd.Dir = g.dir // where there is no .env
	cmd.Env = append(os.Environ(), "DATABASE_URL="+d.url, secretVariable+"="+secret, "NATS_URL=", "TZ=UTC")
	cmd.Stdout, cmd.Stderr = &stdout, g.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				err = fmt.Errorf("carelog projections %s: %w", command, err)
			}
			return stdout.String(), peak, err
		case <-time.After(10 * time.Millisecond):
			peak = max(peak, peakOf(cmd.Process.Pid))
		}
	}
}

// rest does what PostgreSQL would have done while the log grew, so that it is
// not done in the midst of a measurement.
func (d *database) rest(ctx context.Context) error {
	if err := d.tidy(ctx); err != nil {
		return err
	}
	if _, err := d.conn.Exec(ctx, "checkpoint"); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// drop ends a database, if there is one.
func (d *database) drop(ctx context.Context, admin *pgx.Conn) error {
	if d == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	return errors.Join(d.conn.Close(ctx), dropDatabase(ctx, admin, d.conn.Config().Database))
}

// prepare makes what the log is not filled with: a user who registers patients,
// patients without amendments, and doctors without mappings.
func (g *grower) prepare(ctx context.Context, s *server, h history) (err error) {
	s.stock = stock{History: h, Owners: make([]string, h.owners())}
	for i := range s.stock.Owners {
		if s.stock.Owners[i], err = signToken(strconv.Itoa(i + 1)); err != nil {
			return err
		}
	}
	if s.stock.Token, err = s.token(ctx, "1"); err != nil {
		return err
	}
	// Three requests for each, as fast as one connection may be served.
	patients := int(g.options.perSecond(1000, 1)/3) + 1
	s.stock.Patients, err = s.createMany(ctx, s.stock.Token, patientsPath, patients, func(i int) string {
		return fmt.Sprintf(`{"first_name":"Bob","last_name":"Miller %d","age":0,"gender":"Male"}`, i)
	})
	if err != nil {
		return err
	}
	// So many that no pair is mapped twice in the small log.
	doctors := int(g.options.perSecond(20_000, len(g.options.Connections))/historyOf(g.options.Small, 0).Patients) + 1
	s.stock.Doctors, err = s.createMany(ctx, s.stock.Token, "/api/doctors/", doctors, func(i int) string {
		return fmt.Sprintf(`{"first_name":"Dr. John","last_name":"Miller","specialization":"Oncology","email":"john%d@example.com","phone":"+1234567890"}`, i)
	})
	if err != nil {
		return err
	}
	return s.database.rest(ctx)
}

// rounds measures every contest once in each round, for every number of
// connections. Who begins changes, as in the usual measurement.
func (g *grower) rounds(ctx context.Context, s *session) error {
	servers := map[string]*server{smallName: s.servers[0], grownName: s.servers[1]}
	for round := range g.options.Rounds {
		cell := 0
		for _, c := range contests(g.options.Amendments) {
			connections := g.options.Connections
			if c.alone {
				connections = []int{1}
			}
			if round == 0 {
				if err := c.compare(servers); err != nil {
					return err
				}
			}
			for _, n := range connections {
				cell++
				for i := range c.sides {
					side := c.sides[(i+cell+round)%2]
					r, err := anyRowNamed(side.row)
					if err != nil {
						return err
					}
					m, err := s.run(ctx, servers[side.server], r, n)
					if err != nil {
						return fmt.Errorf("%s, %d connections, %s log: %w", r.title, n, side.server, err)
					}
					m.Round = round + 1
					g.report.Runs = append(g.report.Runs, m)
					g.tell("round %d of %d  %-42s %3d connections  %s  p50 %.2f ms", m.Round, g.options.Rounds, r.title, n, side.server, m.P50)
				}
			}
		}
	}
	return nil
}

// compare makes sure that both sides do the same work.
func (c contest) compare(servers map[string]*server) error {
	var forms [2]string
	for i, side := range c.sides {
		r, err := anyRowNamed(side.row)
		if err != nil {
			return err
		}
		answer, err := servers[side.server].ask(r)
		if err == nil {
			forms[i], err = formOf(answer.body)
		}
		if err != nil {
			return fmt.Errorf("%s, %s log: %w", r.title, side.server, err)
		}
	}
	if forms[0] != forms[1] {
		return fmt.Errorf("%s: the answers are not alike:\n%s\n%s", c.title, forms[0], forms[1])
	}
	return nil
}
