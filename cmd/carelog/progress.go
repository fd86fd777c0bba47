package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how many things of how many are done, how fast, and how long it will
// take: as a bar on a terminal, elsewhere as a line now and then.
type progress struct {
	w     io.Writer
	what  string                   // they are
	bar   *progressbar.ProgressBar // nil elsewhere, and before the first step
	lines bool
	began time.Time
	told  time.Time // the last line
}

// progressLines is how often a line tells of the progress.
const progressLines = 5 * time.Second

func newProgress(w io.Writer, what string) *progress {
	file, ok := w.(*os.File)
	now := time.Now()
	return &progress{w: w, what: what, lines: !ok || !term.IsTerminal(int(file.Fd())), began: now, told: now}
}

// show takes a step.
func (p *progress) show(done, total int64) {
	if p.lines {
		p.line(done, total)
	} else {
		p.draw(done, total)
	}
}

// line tells of the progress when it is time to.
func (p *progress) line(done, total int64) {
	if time.Since(p.told) < progressLines {
		return
	}
	p.told = time.Now()
	rate := float64(done) / time.Since(p.began).Seconds()
	left := "" // unknown
	if rate > 0 {
		left = fmt.Sprintf(", %v left", time.Duration(float64(total-done)/rate*float64(time.Second)).Round(time.Second))
	}
	fmt.Fprintf(p.w, "%d of %d %s, %.0f a second%s\n", done, total, p.what, rate, left)
}

func (p *progress) draw(done, total int64) {
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.w), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(p.what), progressbar.OptionFullWidth())
	}
	p.bar.ChangeMax64(total)
	_ = p.bar.Set64(done) // a terminal that is gone shows nothing
}

// end clears the bar.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
