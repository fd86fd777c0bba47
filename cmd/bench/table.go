package main

import (
	"fmt"
	"slices"
	"strings"
)

// table is the report in Markdown.
func (r *report) table() string {
	w := &strings.Builder{}
	fmt.Fprintf(w, "`%s`, %s\n\n", r.Command, r.Date)
	for _, condition := range append(r.Machine.lines(), r.Conditions...) {
		fmt.Fprintf(w, "- %s\n", condition)
	}
	fmt.Fprint(w, "\nOf two figures the first is the yardstick's, the second Carelog's. They are medians over the rounds; the ratio is the median of\n"+
		"those of the rounds, with the lowest and the highest; memory is the most there was.\n\n")
	header := []string{"", "connections", "requests/s", "ratio", "bar", "p50 ms", "p99 ms",
		"server CPU s/1,000", "PostgreSQL CPU s/1,000", "server MiB"}
	fmt.Fprintf(w, "| %s |\n|---|---:|---:|---:|---|%s\n", strings.Join(header, " | "), strings.Repeat("---:|", 5))
	title := ""
	for _, c := range r.cells() {
		first := c.row.title
		if first == title {
			first = ""
		}
		title = c.row.title
		y, o := c.yardstick, c.carelog
		fmt.Fprintf(w, "| %s | %d | %s / %s | **%.2f** (%.2f–%.2f) | %s | %s | %s | %s | %s | %s |\n",
			first, c.connections, thousands(y.Throughput), thousands(o.Throughput), c.ratio, c.lowest, c.highest, c.bars(),
			pair("%.2f", y.P50, o.P50), pair("%.1f", y.P99, o.P99), pair("%.3f", y.ServerCPU, o.ServerCPU),
			pair("%.3f", y.PostgresCPU, o.PostgresCPU), pair("%.0f", y.Memory, o.Memory))
	}
	fmt.Fprintf(w, "\nEvents that reached the read tables over NATS: %s; from the log: %s. ",
		r.sum(func(m run) int64 { return m.FromBus }), r.sum(func(m run) int64 { return m.FromLog }))
	fmt.Fprintf(w, "The load generator used %s of a core", r.spread("%.0f %%", func(m run) float64 { return 100 * m.LoadCPU }))
	fmt.Fprintf(w, ",\nand all that was not measured %s cores.\n", r.spread("%.2f", func(m run) float64 { return m.OtherCPU }))
	return w.String()
}

// spread writes the median of a figure, the lowest and the highest.
func (r *report) spread(format string, of func(run) float64) string {
	var values []float64
	for _, m := range r.Runs {
		values = append(values, of(m))
	}
	if len(values) == 0 || slices.Max(values) == 0 {
		return "–"
	}
	return fmt.Sprintf(format+" ("+format+" to "+format+")", median(values), slices.Min(values), slices.Max(values))
}

func (r *report) sum(of func(run) int64) string {
	var sum int64
	for _, m := range r.Runs {
		sum += of(m)
	}
	return thousands(float64(sum))
}

// pair writes the yardstick's and Carelog's; what is 0 is not known.
func pair(format string, values ...float64) string {
	var texts []string
	for _, v := range values {
		text := "–"
		if v > 0 {
			text = fmt.Sprintf(format, v)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " / ")
}

func thousands(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// bar is what Carelog must reach in a cell.
type bar struct {
	row         string
	connections int
	text        string
	reached     func(cell) bool
}

func atLeast(row string, connections int, ratio float64) bar {
	return bar{row, connections, fmt.Sprintf("≥ %v", ratio), func(c cell) bool { return c.ratio >= ratio }}
}

func atMost(row string, connections int, what string, limit float64, unit string, value func(run) float64) bar {
	return bar{row, connections, fmt.Sprintf("%s ≤ %v %s", what, limit, unit), func(c cell) bool { return value(c.carelog) <= limit }}
}

func p50(r run) float64    { return r.P50 }
func p99(r run) float64    { return r.P99 }
func memory(r run) float64 { return r.Memory }

// bars are the aims of the project: ratios hold on any machine, times on one
// whose disk takes a commit in 0.2 ms.
var bars = []bar{
	atLeast("post", 1, 0.28),
	atLeast("post", 8, 0.35),
	atLeast("post", 32, 0.65),
	atLeast("post", 128, 0.9),
	atLeast("get", 32, 0.9),
	atMost("post", 1, "p50", 1.3, "ms", p50),
	atMost("post", 8, "p50", 3, "ms", p50),
	atMost("post", 8, "p99", 12, "ms", p99),
	atMost("post", 32, "memory", 150, "MiB", memory),
}

// bars lists the cell's, and whether they are reached.
func (c cell) bars() string {
	var texts []string
	for _, b := range bars {
		if b.row != c.row.name || b.connections != c.connections {
			continue
		}
		verdict := "missed"
		if b.reached(c) {
			verdict = "met"
		}
		texts = append(texts, b.text+" "+verdict)
	}
	return strings.Join(texts, "; ")
}
