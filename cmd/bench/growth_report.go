package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// growthReport is what was measured of growth.
type growthReport struct {
	Machine     machine    `json:"machine"`
	Command     string     `json:"command"`
	Date        string     `json:"date"`
	Conditions  []string   `json:"conditions"`
	Connections []int      `json:"connections"`
	Amendments  int64      `json:"amendments"` // of one patient of the grown log
	Logs        []grownLog `json:"logs"`
	Runs        []run      `json:"runs"` // Server is the log's name
}

// grownLog is a log that was filled, and what its rebuild took.
type grownLog struct {
	history
	Name    string  `json:"name"`
	Events  int64   `json:"events"`
	Fill    float64 `json:"fill_seconds"`
	Rebuild float64 `json:"rebuild_seconds"`
	Peak    float64 `json:"rebuild_peak_mib"` // resident memory of the process; 0: not known
	Size    float64 `json:"database_mib"`
}

func (r *growthReport) note(o growthOptions) {
	r.Command = strings.TrimSpace("make bench-growth " + benchArgs(o.Args))
	r.Date = time.Now().UTC().Format(time.DateOnly)
	r.Connections, r.Amendments = o.Connections, o.Amendments
	r.Conditions = []string{
		fmt.Sprintf("rounds: %d, in each the servers in turns, %v measured after %v of the same load", o.Rounds, o.Duration, o.Warmup),
		fmt.Sprintf("a server for each log, with %d connections to one PostgreSQL server, NATS inside the process, and log level %s", databaseConns, o.LogLevel),
		"logs: filled by SQL with what Carelog would have written; vacuumed, analysed and with a checkpoint before the first round, vacuumed after each run",
		"any of all: one after the other, far apart; pages that are not in shared_buffers then come from the cache of the operating system",
	}
}

// growthBar is how many times longer anything may take in the grown log.
const growthBar = 1.5

// growthCell is what the runs of a contest come to with one number of connections.
type growthCell struct {
	contest
	connections int
	sides       [2]run     // medians over the rounds; of the memory the most
	p50, p99    [3]float64 // ratios of the second side to the first: the median of those of the rounds, the lowest, the highest
}

func (r *growthReport) cells() (cells []growthCell) {
	for _, c := range contests(r.Amendments) {
		connections := r.Connections
		if c.alone {
			connections = []int{1}
		}
		for _, n := range connections {
			first, second := r.of(c.sides[0], n), r.of(c.sides[1], n)
			if len(first) == 0 || len(first) != len(second) {
				continue
			}
			cells = append(cells, growthCell{
				contest: c, connections: n, sides: [2]run{summarise(first), summarise(second)},
				p50: ratios(first, second, p50), p99: ratios(first, second, p99),
			})
		}
	}
	return cells
}

// of answers the runs of a side, in order of the rounds.
func (r *growthReport) of(s side, connections int) (runs []run) {
	for _, m := range r.Runs {
		if m.Server == s.server && m.Row == s.row && m.Connections == connections {
			runs = append(runs, m)
		}
	}
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.Round, b.Round) })
	return runs
}

func ratios(first, second []run, of func(run) float64) [3]float64 {
	var all []float64
	for i := range first {
		all = append(all, of(second[i])/of(first[i]))
	}
	return [3]float64{median(all), slices.Min(all), slices.Max(all)}
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

// table is the report in Markdown.
func (r *growthReport) table() string {
	w := &strings.Builder{}
	fmt.Fprintf(w, "`%s`, %s\n\n", r.Command, r.Date)
	conditions := append(r.Machine.lines()[:2:2], "Carelog "+r.Machine.Carelog)
	for _, condition := range append(conditions, r.Conditions...) {
		fmt.Fprintf(w, "- %s\n", condition)
	}
	r.logTable(w)
	fmt.Fprintf(w, "\nOf two figures the first is the small log's, the second the grown one's. They are medians over the rounds; a ratio is the median of\n"+
		"those of the rounds, with the lowest and the highest; memory is the most there was. The bar is a ratio of %v.\n\n", growthBar)
	fmt.Fprintf(w, "|  | connections | p50 ms | ratio | bar | p99 ms | ratio | bar | PostgreSQL CPU s/1,000 | server MiB |\n|---|---:|---:|---:|---|---:|---:|---|---:|---:|\n")
	title := ""
	for _, c := range r.cells() {
		first := c.title
		if first == title {
			first = ""
		}
		title = c.title
		a, b := c.sides[0], c.sides[1]
		fmt.Fprintf(w, "| %s | %d | %s | **%.2f** (%.2f–%.2f) | %s | %s | %.2f (%.2f–%.2f) | %s | %s | %s |\n", first, c.connections,
			pair("%.2f", a.P50, b.P50), c.p50[0], c.p50[1], c.p50[2], verdict(c.p50[0] <= growthBar),
			pair("%.1f", a.P99, b.P99), c.p99[0], c.p99[1], c.p99[2], verdict(c.p99[0] <= growthBar),
			pair("%.3f", a.PostgresCPU, b.PostgresCPU), pair("%.0f", a.Memory, b.Memory))
	}
	return w.String()
}

// logTable shows the logs, and the rebuilds.
func (r *growthReport) logTable(w io.Writer) {
	fmt.Fprintf(w, "\n| log | events | patients | database MiB | filled in s | read tables rebuilt in s | events/s | process MiB |\n|---|%s\n", strings.Repeat("---:|", 7))
	byLength := func(a, b grownLog) int { return cmp.Compare(a.Events, b.Events) }
	for _, l := range slices.SortedStableFunc(slices.Values(r.Logs), byLength) {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %.0f | %.1f | %s | %s |\n", l.Name, thousands(float64(l.Events)), thousands(float64(l.Patients)),
			thousands(l.Size), l.Fill, l.Rebuild, thousands(l.speed()), pair("%.0f", l.Peak))
	}
	tenth, grown := r.log("tenth"), r.log(grownName)
	slower := tenth.speed() / grown.speed()
	fmt.Fprintf(w, "\nAn event of the grown log takes a rebuild **%.2f** times as long as one of the log that is a tenth as long (bar %v: %s).",
		slower, growthBar, verdict(slower <= growthBar))
	if tenth.Peak > 0 && grown.Peak > 0 {
		most := max(1.25*tenth.Peak, tenth.Peak+16)
		fmt.Fprintf(w, " Its\nprocess had %.0f MiB at most, against %.0f (bar %.0f: %s).", grown.Peak, tenth.Peak, most, verdict(grown.Peak <= most))
	}
	fmt.Fprintln(w)
}

func (l grownLog) speed() float64 { return float64(l.Events) / l.Rebuild }

func (r *growthReport) log(name string) grownLog {
	i := slices.IndexFunc(r.Logs, func(l grownLog) bool { return l.Name == name })
	if i < 0 {
		return grownLog{}
	}
	return r.Logs[i]
}

// write writes the table to w, and the figures to a file.
func (r *growthReport) write(path string, w io.Writer) error {
	if err := writeFigures(path, r); err != nil {
		return err
	}
	_, err := io.WriteString(w, r.table())
	return err
}
