package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestReadmeShowsWhatWasMeasured: the table of the README is that of the
// figures and the chart beside it.
func TestReadmeShowsWhatWasMeasured(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
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
	if !strings.Contains(string(readme), r.table()) {
		t.Errorf("the README's table is not that of deploy/bench.json, which is:\n%s", r.table())
	}
	drawn, err := os.ReadFile("../../deploy/bench.svg")
	if err != nil || string(drawn) != string(chart(&r)) {
		t.Errorf("deploy/bench.svg is not the chart of deploy/bench.json: %v", err)
	}
	if !strings.Contains(string(readme), "](deploy/bench.svg)") {
		t.Error("the README does not show the chart")
	}
}

// TestReadmeShowsTheGrowth: so it does with that.
func TestReadmeShowsTheGrowth(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
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
	if !strings.Contains(string(readme), r.table()) {
		t.Errorf("the README's table is not that of deploy/growth.json, which is:\n%s", r.table())
	}
}
