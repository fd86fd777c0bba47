package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// What processes have used is read from Linux's /proc. Elsewhere the figures
// are 0, and left out of the report.

// tick is the unit of times in /proc: USER_HZ is 100 on all of Linux's common
// architectures.
const tick = 10 * time.Millisecond

// stat is what /proc tells of a process.
type stat struct {
	name   string
	parent int
	own    time.Duration // CPU time
	reaped time.Duration // CPU time of its children that have ended
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

// parseStat reads proc_pid_stat(5): the second field is the name in
// parentheses, which may hold anything; the others are numbers and a letter.
func parseStat(text []byte) (stat, error) {
	open, shut := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return stat{}, fmt.Errorf("not a line of /proc: %q", text)
	}
	fields := strings.Fields(string(text[shut+1:])) // from the third on
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("not a line of /proc: %q", text)
	}
	number := func(field int) (n int64) {
		n, _ = strconv.ParseInt(fields[field-3], 10, 64)
		return n
	}
	return stat{
		name:   string(text[open+1 : shut]),
		parent: int(number(4)),
		own:    time.Duration(number(14)+number(15)) * tick,
		reaped: time.Duration(number(16)+number(17)) * tick,
	}, nil
}

// cpuOf is the CPU time of one process.
func cpuOf(pid int) time.Duration {
	s, err := readStat(pid)
	if err != nil {
		return 0
	}
	return s.own
}

// cpuOfAll is the CPU time of a process and its children, those that have ended
// included.
func cpuOfAll(parent int) time.Duration {
	s, err := readStat(parent)
	if err != nil {
		return 0
	}
	sum := s.own + s.reaped
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil && s.parent == parent { // else it has ended
			sum += s.own
		}
	}
	return sum
}

// cpuOfMachine is the CPU time of all processes, and what a hypervisor has given
// to other machines.
func cpuOfMachine() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var sum time.Duration
	// proc_stat(5): cpu user nice system idle iowait irq softirq steal; what guests
	// have used is part of user.
	for i, field := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, _ := strconv.ParseInt(field, 10, 64)
		sum += time.Duration(n) * tick
	}
	return sum
}

// residentOf is the memory of a process that is in RAM, in bytes.
func residentOf(pid int) int64 { return memoryOf(pid, "VmRSS:") }

// peakOf is the most that it was so far.
func peakOf(pid int) int64 { return memoryOf(pid, "VmHWM:") }

func memoryOf(pid int, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}
