package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestThePageShowsWhatWasMeasured: the table of the page is that of the figures
// and the chart beside it.
func TestThePageShowsWhatWasMeasured(t *testing.T) {
	page, err := os.ReadFile("../../deploy/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	figures, err := os.ReadFile("../../deploy/bench.json")
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(figures, &r); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), r.table()) {
		t.Errorf("the page's table is not that of deploy/bench.json, which is:\n%s", r.table())
	}
	drawn, err := os.ReadFile("../../deploy/bench.svg")
	if err != nil || string(drawn) != string(chart(&r)) {
		t.Errorf("deploy/bench.svg is not the chart of deploy/bench.json: %v", err)
	}
	if !strings.Contains(string(page), "](bench.svg)") {
		t.Error("the page does not show the chart")
	}
}

// TestThePageShowsTheGrowth: so it does with that.
func TestThePageShowsTheGrowth(t *testing.T) {
	page, err := os.ReadFile("../../deploy/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	figures, err := os.ReadFile("../../deploy/growth.json")
	if err != nil {
		t.Fatal(err)
	}
	var r growthReport
	if err := json.Unmarshal(figures, &r); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), r.table()) {
		t.Errorf("the page's table is not that of deploy/growth.json, which is:\n%s", r.table())
	}
}
