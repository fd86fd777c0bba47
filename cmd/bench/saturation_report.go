package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// saturationReport is everything that `bench saturation` has measured.
type saturationReport struct {
	options saturationOptions
	machine machine
	results []saturation
}

// table is the report in Markdown.
func (r *saturationReport) table() string {
	w := &strings.Builder{}
	o := r.options
	fmt.Fprintf(w, "`%s`, %s\n\n", strings.TrimSpace("make bench-saturation "+benchArgs(o.Args)), time.Now().UTC().Format(time.DateOnly))
	for _, line := range r.machine.lines() {
		fmt.Fprintf(w, "- %s\n", line)
	}
	fmt.Fprintf(w, "- carried: by 128 connections in a closed loop\n")
	fmt.Fprintf(w, "- offered: for %v, over %d connections, at times that do not depend on the answers; latencies count from those times\n", o.Duration, o.over)
	fmt.Fprintf(w, "- Carelog with log level %s; it shares the machine with PostgreSQL and the load generator\n\n", o.LogLevel)
	header := []string{"", "carried/s", "offered/s", "accepted/s", "shed/s", "errors", "p50 ms", "p99 ms", "longest ms", "MiB before", "MiB at most", "others' cores"}
	fmt.Fprintf(w, "| %s |\n|---|%s\n", strings.Join(header, " | "), strings.Repeat("---:|", len(header)-1))
	for _, s := range r.results {
		fmt.Fprintf(w, "| %s |\n", strings.Join(s.cells(), " | "))
	}
	for _, s := range r.results {
		if note := s.note(); note != "" {
			fmt.Fprintf(w, "\n%s: %s\n", s.row.title, note)
		}
	}
	return w.String()
}

func (s saturation) cells() []string {
	o := s.offered
	rate := func(n int64) string { return thousands(float64(n) / o.Elapsed.Seconds()) }
	took := func(d time.Duration) string { return fmt.Sprintf("%.0f", milliseconds(d)) }
	return []string{
		s.row.title, thousands(s.carried.Throughput), rate(o.Sent), rate(o.Accepted), rate(o.Shed), fmt.Sprint(o.Failed),
		took(o.P50), took(o.P99), took(o.Longest), fmt.Sprintf("%.0f", s.before), fmt.Sprintf("%.0f", s.peak), fmt.Sprintf("%.2f", s.others),
	}
}

// note tells when less was offered than should have been.
func (s saturation) note() string {
	sent := float64(s.offered.Sent) / s.offered.Elapsed.Seconds()
	if sent >= 0.97*s.asked {
		return ""
	}
	return fmt.Sprintf("%s/s were to be offered, and %.1f times what is carried could be: for the others no connection was free in time. "+
		"The load generator used %.0f %% of a core.", thousands(s.asked), sent/s.carried.Throughput,
		100*s.offered.CPU.Seconds()/s.offered.Elapsed.Seconds())
}

// check tells all that the server did wrong.
func (r *saturationReport) check() error {
	var wrong []error
	for _, s := range r.results {
		if err := s.check(); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", s.row.title, err))
		}
	}
	return errors.Join(wrong...)
}
