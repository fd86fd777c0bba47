package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// options say what is measured.
type options struct {
	Database    string // URL of a PostgreSQL server on which databases may be created
	Carelog     string // the program
	LogLevel    string // Carelog's
	Rounds      int
	Warmup      time.Duration
	Duration    time.Duration
	Rows        []row
	Connections []int
	Out         string // where figures and chart go, without .json and .svg
	Args        string // as given
}

func parseOptions(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	names := flags.String("rows", strings.Join(rowNames(), ","), "`rows` to measure")
	check := o.addFlags(flags, "1,8,32,128", "bin/bench", "`path` of figures and chart, without .json and .svg")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.Args = strings.Join(args, " ")
	if o.Rows, err = rowsNamed(*names); err != nil {
		return o, err
	}
	err = check()
	return o, err
}

// addFlags adds the flags that all measurements have. Check must be called when
// they have been read.
func (o *options) addFlags(flags *flag.FlagSet, connections, out, outUsage string) (check func() error) {
	flags.StringVar(&o.Database, "database", os.Getenv("CARELOG_TEST_DATABASE_URL"),
		"`URL` of a PostgreSQL server, as its superuser; the databases are made on it (default $CARELOG_TEST_DATABASE_URL)")
	flags.StringVar(&o.Carelog, "carelog", "bin/carelog", "Carelog's `program`")
	flags.StringVar(&o.LogLevel, "log-level", "warn", "Carelog's `level` of logging; info writes a line for each request")
	flags.IntVar(&o.Rounds, "rounds", 3, "`number` of times that everything is measured")
	flags.DurationVar(&o.Warmup, "warmup", time.Second, "`duration` of the load before each measured interval")
	flags.DurationVar(&o.Duration, "duration", 3*time.Second, "`duration` of each measured interval")
	flags.StringVar(&connections, "connections", connections, "`numbers` of connections to measure with")
	flags.StringVar(&o.Out, "out", out, outUsage)
	return func() (err error) {
		for text := range strings.SplitSeq(connections, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > 10_000 {
				return fmt.Errorf("-connections: %q is not a number of connections", text)
			}
			o.Connections = append(o.Connections, n)
		}
		switch {
		case flags.NArg() > 0:
			return fmt.Errorf("what is %q?", flags.Arg(0))
		case o.Rounds < 1 || o.Duration <= 0 || o.Warmup < 0:
			return errors.New("-rounds and -duration must be more than 0")
		case o.Database == "":
			return errors.New("no PostgreSQL server: start one by make, or name one by -database")
		}
		o.Carelog, err = filepath.Abs(o.Carelog)
		return err
	}
}

// doctors is how many there must be for mappings never to repeat, at 20,000 a
// second.
func (o options) doctors() int {
	one := (o.Warmup + o.Duration).Seconds() * 20_000
	return 1 + int(one)*len(o.Connections)*o.Rounds/stockPatients
}
