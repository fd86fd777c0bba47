package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// machine is where the figures come from.
type machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	Memory     int64   `json:"memory_mib"` // 0: not known
	System     string  `json:"system"`
	PostgreSQL string  `json:"postgresql"`
	Settings   string  `json:"postgresql_settings"`
	Commit     float64 `json:"commit_ms"` // what one commit takes
	Carelog    string  `json:"carelog"`
	Go         string  `json:"go"` // of the yardstick
}

func lookAround(ctx context.Context, d *database, o options) (machine, error) {
	m := machine{
		CPU:    field("/proc/cpuinfo", "model name", ":"),
		Cores:  runtime.NumCPU(),
		System: strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`),
		Go:     runtime.Version(),
	}
	if m.CPU == "" {
		m.CPU = runtime.GOARCH
	}
	if m.System == "" {
		m.System = runtime.GOOS
	}
	if kib, ok := strings.CutSuffix(field("/proc/meminfo", "MemTotal", ":"), " kB"); ok {
		n, _ := strconv.ParseInt(kib, 10, 64)
		m.Memory = n >> 10
	}
	version, err := exec.CommandContext(ctx, o.Carelog, "version").Output()
	if err != nil {
		return m, fmt.Errorf("ask Carelog for its version: %w", err)
	}
	m.Carelog = strings.TrimPrefix(strings.TrimSpace(string(version)), "carelog ")
	commit, err := d.commitTime(ctx)
	if err != nil {
		return m, fmt.Errorf("measure a commit: %w", err)
	}
	m.Commit = milliseconds(commit)
	err = d.conn.QueryRow(ctx, `select split_part(current_setting('server_version'), ' ', 1),
		string_agg(name || ' ' || current_setting(name), ', ' order by name)
		from unnest('{fsync,synchronous_commit,full_page_writes,shared_buffers}'::text[]) name`).Scan(&m.PostgreSQL, &m.Settings)
	return m, err
}

func (m machine) String() string {
	memory := ""
	if m.Memory > 0 {
		memory = fmt.Sprintf(", %.1f GiB of memory", float64(m.Memory)/1024)
	}
	return fmt.Sprintf("%d cores (%s)%s, %s", m.Cores, m.CPU, memory, m.System)
}

// lines tell all of it.
func (m machine) lines() []string {
	return []string{
		m.String(),
		fmt.Sprintf("PostgreSQL %s with %s; a commit takes %.2f ms", m.PostgreSQL, m.Settings, m.Commit),
		fmt.Sprintf("Carelog %s; yardstick %s", m.Carelog, m.Go),
	}
}

// field is the value of a name's first line in a file, "" when there is none.
func field(path, name, separator string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, separator)
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
