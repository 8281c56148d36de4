package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// stat is what /proc/PID/stat says of a process or thread.
type stat struct {
	pid, parent, group int
	state              string // R, S, D, Z (zombie), T (stopped) …; see proc(5)
	started            uint64 // since the machine's start, in ticks; 0: unknown
}

func (s stat) zombie() bool { return s.state == "Z" || s.state == "X" }

// processes are those of this machine, without those that end meanwhile.
func processes() []stat { return stats("/proc/[0-9]*/stat") }

func stats(pattern string) []stat {
	names, err := filepath.Glob(pattern)
	if err != nil {
		panic(err) // The patterns are well formed, and Glob fails for nothing else.
	}
	all := make([]stat, 0, len(names))
	for _, name := range names {
		if s, ok := readStat(name); ok {
			all = append(all, s)
		}
	}
	return all
}

// readStat reads a file; false if the process is gone.
func readStat(path string) (stat, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return stat{}, false
	}
	return parseStat(string(text))
}

// parseStat reads "pid (command) state parent group …". The command may contain spaces and parentheses.
func parseStat(text string) (stat, bool) {
	end := strings.LastIndexByte(text, ')')
	first, _, found := strings.Cut(text, " ")
	if end < 0 || !found {
		return stat{}, false
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 3 {
		return stat{}, false
	}
	pid, err1 := strconv.Atoi(first)
	parent, err2 := strconv.Atoi(fields[1])
	group, err3 := strconv.Atoi(fields[2])
	return stat{pid: pid, parent: parent, group: group, state: fields[0], started: parseStarted(fields)}, err1 == nil && err2 == nil && err3 == nil
}

// paused reports whether every thread of a process is stopped.
func paused(pid int) bool {
	threads := stats(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return len(threads) > 0 && !slices.ContainsFunc(threads, func(t stat) bool { return t.state != "T" })
}

// pausedGroup reports whether every thread of a process with one thread's children, and of those, is stopped.
func pausedGroup(pid int) bool {
	return paused(pid) && !slices.ContainsFunc(children(pid), func(p stat) bool { return p.parent == pid && !p.zombie() && !paused(p.pid) })
}

// runs reports whether a process runs.
func runs(pid int) bool {
	p, ok := readStat(fmt.Sprintf("/proc/%d/stat", pid))
	return ok && !p.zombie()
}

// groupRuns reports whether a process of the group runs.
func groupRuns(group int) bool {
	return slices.ContainsFunc(processes(), func(p stat) bool { return p.group == group && !p.zombie() })
}
