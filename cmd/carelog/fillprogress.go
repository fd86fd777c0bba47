package main

import (
	"fmt"
	"io"

	"github.com/carelog/carelog/projections"
)

// fillProgress shows how far tables are filled.
type fillProgress struct {
	*progress
	last  projections.Step
	waits bool // for readers, which was told
}

func newFillProgress(w io.Writer) *fillProgress {
	return &fillProgress{progress: newProgress(w, "events")}
}

// show takes a step.
func (p *fillProgress) show(s projections.Step) {
	p.last = s
	switch {
	case s.Stage == projections.Waiting && !p.waits:
		p.waits = true
		p.end()
		fmt.Fprintln(p.w, "readers hold the tables for long: trying to switch until they do not")
	case s.Stage != projections.Filling:
		p.end()
	default:
		p.progress.show(int64(s.Position), int64(s.Target))
	}
}
