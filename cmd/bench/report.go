package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report is everything that was measured.
type report struct {
	Machine     machine  `json:"machine"`
	Command     string   `json:"command"`
	Date        string   `json:"date"`
	Conditions  []string `json:"conditions"`
	Rows        []string `json:"rows"`
	Connections []int    `json:"connections"`
	Rounds      int      `json:"rounds"`
	Runs        []run    `json:"runs"`
}

// run is one interval of one server. What the system does not tell is 0.
type run struct {
	Round       int     `json:"round"`
	Server      string  `json:"server"`
	Row         string  `json:"row"`
	Connections int     `json:"connections"`
	Requests    int64   `json:"requests"`
	Throughput  float64 `json:"requests_per_second"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	Longest     float64 `json:"longest_ms"`
	ServerCPU   float64 `json:"server_cpu_seconds_per_1000"`
	PostgresCPU float64 `json:"postgres_cpu_seconds_per_1000"`
	Memory      float64 `json:"server_resident_mib"`
	LoadCPU     float64 `json:"load_generator_cpu_share"` // of one core
	OtherCPU    float64 `json:"other_cpu_cores"`          // of all other processes
	FromBus     int64   `json:"events_from_bus"`
	FromLog     int64   `json:"events_from_log"`
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (r *report) note(o options) {
	r.Command = strings.TrimSpace("make bench " + benchArgs(o.Args))
	r.Date = time.Now().UTC().Format(time.DateOnly)
	r.Rounds, r.Connections = o.Rounds, o.Connections
	for _, row := range o.Rows {
		r.Rows = append(r.Rows, row.name)
	}
	r.Conditions = []string{
		fmt.Sprintf("rounds: %d, in each the servers in turns, %v measured after %v of the same load", o.Rounds, o.Duration, o.Warmup),
		fmt.Sprintf("both servers with %d connections to one PostgreSQL server, in a database each", databaseConns),
		fmt.Sprintf("Carelog with NATS inside the process and log level %s (at info it writes a line for each request, as the yardstick does not)", o.LogLevel),
		"load: a process of its own with one thread, closed loop, keep-alive, every answer checked",
	}
}

func benchArgs(args string) string {
	if args == "" {
		return ""
	}
	return `BENCH="` + args + `"`
}

// cell is what the runs of one row and one number of connections come to.
type cell struct {
	row         row
	connections int
	yardstick   run // medians over the rounds; of the memory the most
	carelog     run
	ratio       float64 // of throughput: the median of those of the rounds
	lowest      float64 // of them
	highest     float64
}

func (r *report) cells() (cells []cell) {
	for _, name := range r.Rows {
		row, err := rowNamed(name)
		if err != nil {
			continue
		}
		for _, connections := range r.Connections {
			c := cell{row: row, connections: connections}
			yardstick, carelog := r.of(yardstickName, c), r.of(carelogName, c)
			if len(yardstick) == 0 || len(yardstick) != len(carelog) {
				continue
			}
			var ratios []float64
			for i := range yardstick {
				ratios = append(ratios, carelog[i].Throughput/yardstick[i].Throughput)
			}
			c.yardstick, c.carelog, c.ratio = summarise(yardstick), summarise(carelog), median(ratios)
			c.lowest, c.highest = slices.Min(ratios), slices.Max(ratios)
			cells = append(cells, c)
		}
	}
	return cells
}

// of answers a server's runs for a cell, in order of the rounds.
func (r *report) of(server string, c cell) (runs []run) {
	for _, m := range r.Runs {
		if m.Server == server && m.Row == c.row.name && m.Connections == c.connections {
			runs = append(runs, m)
		}
	}
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.Round, b.Round) })
	return runs
}

func summarise(runs []run) run {
	of := func(value func(run) float64) float64 {
		values := make([]float64, len(runs))
		for i, r := range runs {
			values[i] = value(r)
		}
		return median(values)
	}
	s := run{
		Throughput:  of(func(r run) float64 { return r.Throughput }),
		P50:         of(func(r run) float64 { return r.P50 }),
		P99:         of(func(r run) float64 { return r.P99 }),
		ServerCPU:   of(func(r run) float64 { return r.ServerCPU }),
		PostgresCPU: of(func(r run) float64 { return r.PostgresCPU }),
		LoadCPU:     of(func(r run) float64 { return r.LoadCPU }),
	}
	for _, r := range runs {
		s.Memory = max(s.Memory, r.Memory)
	}
	return s
}

// median of values, of which there is at least one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// runReport writes table and chart anew, of the figures of a path without .json.
func runReport(args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return errors.New("bench report wants the path of the figures, without .json")
	}
	figures, err := os.ReadFile(args[0] + ".json")
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(figures, &r); err != nil {
		return err
	}
	return r.write(args[0], stdout)
}

// write writes the table to w, and figures and chart to files.
func (r *report) write(path string, w io.Writer) error {
	if err := writeFigures(path, r); err != nil {
		return err
	}
	if err := os.WriteFile(path+".svg", chart(r), 0o644); err != nil {
		return err
	}
	_, err := io.WriteString(w, r.table())
	return err
}

// writeFigures writes a report as JSON to the path and .json.
func writeFigures(path string, report any) error {
	figures, err := json.MarshalIndent(report, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path+".json", append(figures, '\n'), 0o644)
}
