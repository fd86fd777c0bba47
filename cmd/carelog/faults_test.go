package main

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// What `make faults` sets.
const (
	faultsDuration = "CARELOG_FAULTS_DURATION" // default: one fault, the one that no other test has
	faultsSeed     = "CARELOG_TEST_SEED"       // replays a run: the same faults in the same order
)

// TestFaults hurts a whole installation under load, in every way there is, one
// after the other in an order that the seed decides, and reports in figures. In
// the end nothing that was answered may be missing, nothing be there twice or
// unasked, what clients saw must be linearizable, and the tables equal the log.
func TestFaults(t *testing.T) {
	t.Parallel()
	duration, seed := faultsSettings(t)
	s := newSite(t, true)
	r := rand.New(rand.NewPCG(seed, 0))
	stop := s.load(3, seed)
	defer stop()
	kinds := []fault{{"everything killed at once", killEverything}}
	if duration > 0 {
		kinds = slices.Concat(kinds, processFaults, carrierFaults, databaseFaults, connectionFaults, networkFaults)
	}
	began, count, injected := time.Now(), 0, map[string]bool{}
	enough := func() bool { return t.Failed() || count > 0 && time.Since(began) >= duration }
	for !enough() {
		for _, i := range r.Perm(len(kinds)) {
			if enough() {
				break
			}
			pause(t.Context(), time.Duration(r.IntN(1000))*time.Millisecond) // of peace
			t.Logf("%v: %s", time.Since(began).Round(time.Second), kinds[i].name)
			s.suffer(t, kinds[i], r)
			injected[kinds[i].name] = true
			count++
		}
	}
	stop()
	took := time.Since(began)
	balance := s.settle(t)
	calls := 0
	for _, h := range s.practice {
		calls += len(h.operations)
	}
	fmt.Printf("\nFAULTS: %d, of %d kinds, in %v; %s=%d\n%s\n%d events in the log; %d histories of %d calls checked for linearizability\n\n%s\n",
		count, len(injected), took.Round(time.Second), faultsSeed, seed, balance, query[int](t, s.url, `select max(position) from events`), len(s.practice)+1, calls, s.report())
}

// killEverything is what a machine does that crashes, but for the disk.
func killEverything(t *testing.T, s *site, _ *rand.Rand) time.Time {
	if err := syscall.Kill(s.postgres.postmaster(t), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	s.broker.end(t, syscall.SIGKILL)
	for i := range s.servers {
		s.servers[i].Load().kill(t)
		s.servers[i].Load().client.CloseIdleConnections()
	}
	s.broker.start(t)
	s.awaitBack(t)
	for i := range s.servers {
		s.startServer(t, i)
	}
	return time.Now()
}

func faultsSettings(t *testing.T) (duration time.Duration, seed uint64) {
	t.Helper()
	seed = 1
	if text := os.Getenv(faultsDuration); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", faultsDuration, err)
		}
		seed = rand.Uint64()
	}
	if text := os.Getenv(faultsSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", faultsSeed, err)
		}
	}
	t.Logf("%s=%d", faultsSeed, seed)
	return duration, seed
}

// report is a table of how long things took.
func (s *site) report() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.TabIndent)
	fmt.Fprintln(table, "times\tmedian\tmax\t  until well again after / of")
	for _, what := range slices.SortedFunc(maps.Keys(s.measured), cmp.Compare) {
		all := slices.Sorted(slices.Values(s.measured[what]))
		fmt.Fprintf(table, "%d\t%v\t%v\t  %s\n", len(all), all[(len(all)-1)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond), what)
	}
	table.Flush()
	return text.String()
}
