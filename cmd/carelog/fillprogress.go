package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/carelog/carelog/projections"
)

// fillProgress shows how far tables are filled: as a bar on a terminal, elsewhere
// as a line now and then.
type fillProgress struct {
	w     io.Writer
	bar   *progressbar.ProgressBar // nil elsewhere, and before the first step
	lines bool
	last  projections.Step
	began time.Time // of the filling
	told  time.Time // the last line
	waits bool      // for readers, which was told
}

// fillLines is how often a line tells of the progress.
const fillLines = 5 * time.Second

func newFillProgress(w io.Writer) *fillProgress {
	file, ok := w.(*os.File)
	now := time.Now()
	return &fillProgress{w: w, lines: !ok || !term.IsTerminal(int(file.Fd())), began: now, told: now}
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
	case p.lines:
		p.line()
	default:
		p.draw()
	}
}

// line tells of the progress when it is time to.
func (p *fillProgress) line() {
	if time.Since(p.told) < fillLines {
		return
	}
	p.told = time.Now()
	rate := float64(p.last.Position) / time.Since(p.began).Seconds()
	left := "" // unknown
	if rate > 0 {
		left = fmt.Sprintf(", %v left", time.Duration(float64(p.last.Target-p.last.Position)/rate*float64(time.Second)).Round(time.Second))
	}
	fmt.Fprintf(p.w, "%d of %d events, %.0f a second%s\n", p.last.Position, p.last.Target, rate, left)
}

func (p *fillProgress) draw() {
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(int64(p.last.Target),
			progressbar.OptionSetWriter(p.w), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("events"), progressbar.OptionFullWidth())
	}
	p.bar.ChangeMax64(int64(p.last.Target))
	_ = p.bar.Set64(int64(p.last.Position)) // a terminal that is gone shows nothing
}

// end clears the bar.
func (p *fillProgress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
