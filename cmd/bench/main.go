// Command bench measures Carelog against a yardstick in one run, by `make bench`:
//
//	bench [run]      starts both servers, loads them in turns, writes the report
//	bench yardstick  is the other server (yardstick.go)
//	bench load       is the load generator (load.go)
//	bench report     makes table and chart of figures that were measured before
//	bench saturation offers more than it can carry (saturation.go), by `make bench-saturation`
//	bench offer      is the load generator for that (offer.go)
//	bench growth     measures Carelog with a long log against a short one (growth.go), by `make bench-growth`
//
// The first is run.go, and starts the next two. What comes out is a
// ratio. Absolute figures depend on the machine, and on what else it does; the
// ratio of two servers that take turns on it hardly does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	command := "run"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	switch command {
	case "run":
		return runBench(ctx, args, stdout, stderr)
	case "yardstick":
		return runYardstick(ctx, args)
	case "load":
		return runLoad(ctx, stdin, stdout)
	case "report":
		return runReport(args, stdout)
	case "growth":
		return runGrowth(ctx, args, stdout, stderr)
	case "saturation":
		return runSaturation(ctx, args, stdout, stderr)
	case "offer":
		return runOffer(ctx, stdin, stdout)
	}
	return fmt.Errorf("there is no command %q: they are run, growth, saturation, yardstick, load, offer and report", command)
}
