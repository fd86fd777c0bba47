package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
)

// The chart's measures, in pixels. A row of the table is a column here, with
// throughput above latency.
const (
	panelWidth   = 150
	panelHeight  = 120
	columnWidth  = 206
	topOfFirst   = 92 // of the throughput's panels
	topOfSecond  = 270
	chartHeight  = 462
	leftOfPanels = 54
	leastWidth   = 760 // of the title
)

const chartStyle = `
	text { font: 11px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a; }
	.back { fill: #ffffff; }
	.title { font-size: 14px; font-weight: 600; fill: #24292f; }
	.head { font-size: 12px; font-weight: 600; fill: #24292f; }
	.grid { stroke: #d8dee4; stroke-width: 1; }
	.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
	.any { stroke: #57606a; }
	.p99 { stroke-dasharray: 4 3; }
	.yardstick { stroke: #9a6700; } circle.yardstick { fill: #9a6700; }
	.carelog { stroke: #0969da; } circle.carelog { fill: #0969da; }
	@media (prefers-color-scheme: dark) {
		text { fill: #8d96a0; }
		.back { fill: #0d1117; }
		.title, .head { fill: #e6edf3; }
		.grid { stroke: #30363d; }
		.any { stroke: #8d96a0; }
		.yardstick { stroke: #d29922; } circle.yardstick { fill: #d29922; }
		.carelog { stroke: #4493f8; } circle.carelog { fill: #4493f8; }
	}
`

// chart draws throughput and latency by connections, as SVG.
func chart(r *report) []byte {
	c := &canvas{}
	width := max(leftOfPanels+len(r.Rows)*columnWidth, leastWidth)
	c.print(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`, width, chartHeight, width, chartHeight)
	c.print(`<title>Carelog and the yardstick: throughput and latency by connections</title>`)
	c.print(`<style>%s</style>`, chartStyle)
	c.print(`<rect class="back" width="%d" height="%d" rx="6"/>`, width, chartHeight)
	c.text(20, 28, "title", "start", "Requests per second, and latency, by the number of connections")
	c.text(20, 48, "", "start", fmt.Sprintf("%s; PostgreSQL %s; %s", r.Machine, r.Machine.PostgreSQL, r.Date))
	c.legend(leftOfPanels, chartHeight-16)

	cells := r.cells()
	for i, name := range r.Rows {
		var of []cell
		for _, cell := range cells {
			if cell.row.name == name {
				of = append(of, cell)
			}
		}
		if len(of) == 0 {
			continue
		}
		left := float64(leftOfPanels + i*columnWidth)
		c.text(left, topOfFirst-14, "head", "start", of[0].row.title)
		c.throughput(left, of)
		c.latency(left, of)
	}
	c.print(`</svg>`)
	return c.Bytes()
}

// scale places a value in a panel: 0 is its bottom, 1 its top.
type scale func(float64) float64

func (c *canvas) throughput(left float64, cells []cell) {
	most := 0.0
	for _, cell := range cells {
		most = max(most, cell.yardstick.Throughput, cell.carelog.Throughput)
	}
	step := niceStep(most / 3)
	top := max(1, math.Ceil(most/step)) * step
	linear := func(v float64) float64 { return v / top }
	for v := 0.0; v <= top; v += step {
		c.gridLine(left, topOfFirst, linear, v, shortNumber(v))
	}
	c.connections(left, topOfFirst, cells)
	c.lines(left, topOfFirst, cells, linear, "", func(r run) float64 { return r.Throughput })
	if left == leftOfPanels {
		c.unit(topOfFirst, "requests/s")
	}
}

// latency has a logarithmic axis: the values of 1 and 128 connections are two
// orders of magnitude apart.
func (c *canvas) latency(left float64, cells []cell) {
	least, most := math.Inf(1), 0.0
	for _, cell := range cells {
		for _, r := range []run{cell.yardstick, cell.carelog} {
			least, most = min(least, r.P50), max(most, r.P99)
		}
	}
	low := math.Floor(math.Log10(max(least, 0.001)))
	high := max(math.Ceil(math.Log10(max(most, 0.001))), low+1)
	logarithmic := func(v float64) float64 { return (math.Log10(max(v, 0.001)) - low) / (high - low) }
	for decade := low; decade <= high; decade++ {
		v := math.Pow(10, decade)
		c.gridLine(left, topOfSecond, logarithmic, v, fmt.Sprintf("%g", v))
	}
	c.connections(left, topOfSecond, cells)
	c.lines(left, topOfSecond, cells, logarithmic, "", p50)
	c.lines(left, topOfSecond, cells, logarithmic, "p99", p99)
	if left == leftOfPanels {
		c.unit(topOfSecond, "milliseconds")
	}
}

// canvas is the text of an SVG.
type canvas struct{ bytes.Buffer }

func (c *canvas) print(format string, args ...any) {
	fmt.Fprintf(c, format, args...)
	c.WriteByte('\n')
}

func (c *canvas) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">`, x, y, class, anchor)
	xml.EscapeText(c, []byte(text))
	c.print(`</text>`)
}

func (c *canvas) gridLine(left, top float64, place scale, v float64, label string) {
	y := top + panelHeight*(1-place(v))
	c.print(`<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%[2]v"/>`, left, y, left+panelWidth)
	c.text(left-6, y+4, "", "end", label)
}

// connections labels the horizontal axis. Its places are evenly spaced.
func (c *canvas) connections(left, top float64, cells []cell) {
	for i, cell := range cells {
		c.text(left+across(i, len(cells)), top+panelHeight+16, "", "middle", fmt.Sprint(cell.connections))
	}
	if left == leftOfPanels {
		c.text(left+panelWidth/2, top+panelHeight+31, "", "middle", "connections")
	}
}

func across(i, n int) float64 {
	return panelWidth * (float64(i) + 0.5) / float64(n)
}

func (c *canvas) lines(left, top float64, cells []cell, place scale, class string, value func(run) float64) {
	for _, name := range []string{"yardstick", "carelog"} {
		var points bytes.Buffer
		for i, cell := range cells {
			r := cell.yardstick
			if name == "carelog" {
				r = cell.carelog
			}
			x, y := left+across(i, len(cells)), top+panelHeight*(1-place(value(r)))
			fmt.Fprintf(&points, "%.1f,%.1f ", x, y)
			c.print(`<circle class="%s" cx="%.1f" cy="%.1f" r="2.5"/>`, name, x, y)
		}
		c.print(`<polyline class="line %s %s" points="%s"/>`, name, class, bytes.TrimSpace(points.Bytes()))
	}
}

// unit stands beside the first panel, from bottom to top.
func (c *canvas) unit(top float64, text string) {
	c.print(`<text transform="translate(14 %.1f) rotate(-90)" text-anchor="middle">%s</text>`, top+panelHeight/2.0, text)
}

func (c *canvas) legend(x, y float64) {
	for _, entry := range []struct{ class, text string }{
		{"carelog", "Carelog"}, {"yardstick", "yardstick"}, {"any", "p50"}, {"any p99", "p99"},
	} {
		c.print(`<line class="line %s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%[3]v"/>`, entry.class, x, y-4, x+24)
		c.text(x+30, y, "", "start", entry.text)
		x += 50 + 7*float64(len(entry.text))
	}
}

// niceStep is the least of 1, 2, 5, 10, 20 … that is not less.
func niceStep(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(max(v, 1))))
	for _, factor := range []float64{1, 2, 5} {
		if factor*decade >= v {
			return factor * decade
		}
	}
	return 10 * decade
}

// shortNumber writes 12000 as 12k.
func shortNumber(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%gk", v/1000)
	}
	return fmt.Sprintf("%g", v)
}
