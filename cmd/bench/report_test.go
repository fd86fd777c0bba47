package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// example is a report of two rows, in which Carelog is half as fast in the first
// round, as fast in the second, twice as fast in the third.
func example() *report {
	r := &report{
		Machine: machine{CPU: `A & B <"C">`, Cores: 2, Memory: 8192, System: "Linux", PostgreSQL: "15.18", Settings: "fsync on", Commit: 0.2},
		Command: "make bench", Date: "2026-01-02", Rows: []string{"post", "get"}, Connections: []int{1, 8}, Rounds: 3,
	}
	for round := 1; round <= 3; round++ {
		for _, row := range r.Rows {
			for _, connections := range r.Connections {
				y := run{Round: round, Server: yardstickName, Row: row, Connections: connections, Throughput: 10_000, P50: 1, P99: 10, Memory: 20, LoadCPU: 0.1}
				c := y
				c.Server, c.Throughput, c.Memory, c.FromBus = carelogName, 2_500*float64(int(1)<<round), 100+float64(round), 1000
				r.Runs = append(r.Runs, c, y)
			}
		}
	}
	return r
}

func TestTable(t *testing.T) {
	table := example().table()
	for _, want := range []string{
		"- 2 cores (A & B <\"C\">), 8.0 GiB of memory, Linux\n",
		"\n| POST patient | 1 | 10,000 / 10,000 | **1.00** (0.50–2.00) | ≥ 0.28 met; p50 ≤ 1.3 ms met | 1.00 / 1.00 | 10.0 / 10.0 | – / – | – / – | 20 / 103 |\n|  | 8 |",
		"\n| GET patient | 1 | 10,000 / 10,000 | **1.00** (0.50–2.00) |  |",
		"over NATS: 12,000; from the log: 0.",
		"used 10 % (10 % to 10 %) of a core",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("without %q", want)
		}
	}
	slow := example()
	for i := range slow.Runs {
		if slow.Runs[i].Server == carelogName {
			slow.Runs[i].Throughput, slow.Runs[i].P50 = 2_000, 1.31
		}
	}
	if want := "≥ 0.28 missed; p50 ≤ 1.3 ms missed"; !strings.Contains(slow.table(), want) {
		t.Errorf("without %q:\n%s", want, slow.table())
	}
	if t.Failed() {
		t.Log(table)
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 3, 2, 1}, 2.5}} {
		if got := median(test.values); got != test.want {
			t.Errorf("%v: %v", test.values, got)
		}
	}
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "bench")
	var stdout bytes.Buffer
	r := example()
	if err := r.write(path, &stdout); err != nil {
		t.Fatal(err)
	}
	var back report
	text, err := os.ReadFile(path + ".json")
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil || back.table() != stdout.String() {
		t.Errorf("the table of the JSON is another: %v", err)
	}
	svg, err := os.ReadFile(path + ".svg")
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg)
	for _, part := range []string{"POST patient", "GET patient", "A &amp; B &lt;", "connections"} {
		if !bytes.Contains(svg, []byte(part)) {
			t.Errorf("the chart is without %q", part)
		}
	}
	os.Remove(path + ".svg")
	stdout.Reset()
	if err := execute(t.Context(), []string{"report", path}, nil, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(path + ".svg")
	if err != nil || !bytes.Equal(svg, again) || stdout.String() != r.table() {
		t.Errorf("made again of the figures, the report is another: %v", err)
	}
	if lines := bytes.Count(svg, []byte("<polyline")); lines != 2*(2+4) {
		t.Errorf("%d lines", lines)
	}
}

// TestChartOfOddFigures: whatever was measured, the chart can be read.
func TestChartOfOddFigures(t *testing.T) {
	for _, figures := range []run{{}, {Throughput: 0.4, P50: 0.0001, P99: 0.0001}, {Throughput: 1e6, P50: 1, P99: 1}, {Throughput: 999, P50: 1e4, P99: 1e5}} {
		r := example()
		for i, m := range r.Runs {
			figures.Round, figures.Server, figures.Row, figures.Connections = m.Round, m.Server, m.Row, m.Connections
			r.Runs[i] = figures
		}
		svg := chart(r)
		wellFormed(t, svg)
		for _, bad := range []string{"NaN", "Inf"} {
			if bytes.Contains(svg, []byte(bad)) {
				t.Errorf("%+v: %s in the chart", figures, bad)
			}
		}
	}
}

func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, svg)
		}
	}
}

func TestStat(t *testing.T) {
	line := "1234 (a ) (b) S 77 1 1 0 -1 4194304 10 20 0 0 250 50 1000 7 20 0 1 0 5 6 7"
	got, err := parseStat([]byte(line))
	want := stat{name: "a ) (b", parent: 77, own: 3 * time.Second, reaped: 10070 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "1 (a", "1 (a) S 2"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a line", bad)
		}
	}
}
