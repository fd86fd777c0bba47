package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/carelog/carelog/projections"
)

func TestFillProgress(t *testing.T) {
	steps := []projections.Step{
		{Stage: projections.Filling, Position: 0, Target: 200},
		{Stage: projections.Filling, Position: 50, Target: 200},
		{Stage: projections.Filling, Position: 210, Target: 210},
		{Stage: projections.Waiting, Position: 210, Target: 210},
		{Stage: projections.Filling, Position: 210, Target: 220},
		{Stage: projections.Waiting, Position: 220, Target: 220},
		{Stage: projections.Switching, Position: 220, Target: 220},
	}
	const waits = "readers hold the tables for long: trying to switch until they do not\n"

	var lines bytes.Buffer
	p := newFillProgress(&lines)
	for _, s := range steps {
		p.began, p.told = time.Now().Add(-10*time.Second), time.Time{}
		p.show(s)
	}
	p.end()
	want := "0 of 200 events, 0 a second\n50 of 200 events, 5 a second, 30s left\n210 of 210 events, 21 a second, 0s left\n" +
		waits + "210 of 220 events, 21 a second, 0s left\n"
	if got := lines.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}

	var terminal bytes.Buffer
	p = newFillProgress(&terminal)
	p.lines = false
	for _, s := range steps {
		p.show(s)
	}
	p.end()
	if got := terminal.String(); !strings.Contains(got, "(0/200, ") || strings.Count(got, waits) != 1 || !strings.HasSuffix(strings.TrimRight(got, " \r"), waits) {
		t.Errorf("got %q", got)
	}
}
