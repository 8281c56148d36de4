package fleet

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// row is one line of the machine's table of processes.
type row struct {
	pid, parent, group int
	zombie             bool
}

// processes reads the table. What ends meanwhile is left out.
func processes() []row {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		panic(err) // The pattern is well formed, and Glob fails for nothing else.
	}
	all := make([]row, 0, len(names))
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil {
			if p, ok := parseStat(string(text)); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// parseStat reads "pid (command) state parent group …". The command may hold spaces and parentheses itself.
func parseStat(text string) (row, bool) {
	end := strings.LastIndexByte(text, ')')
	first, _, found := strings.Cut(text, " ")
	if end < 0 || !found {
		return row{}, false
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 3 {
		return row{}, false
	}
	pid, err1 := strconv.Atoi(first)
	parent, err2 := strconv.Atoi(fields[1])
	group, err3 := strconv.Atoi(fields[2])
	p := row{pid: pid, parent: parent, group: group, zombie: fields[0] == "Z" || fields[0] == "X"}
	return p, err1 == nil && err2 == nil && err3 == nil
}

// worker is a worker process of nginx.
type worker struct {
	pid     int
	booting bool // It was just forked, and does not serve yet: it still has its master's title.
	leaving bool // It was told to end, and still serves what it has.
}

// workers are the children of the nginx master, which tell in their title what they do.
func workers(master int) []worker {
	var all []worker
	for _, p := range processes() {
		if p.parent != master || p.zombie {
			continue
		}
		title, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline")
		if err == nil {
			all = append(all, worker{
				pid:     p.pid,
				booting: strings.Contains(string(title), "master process"),
				leaving: strings.Contains(string(title), "shutting down"),
			})
		}
	}
	return all
}
