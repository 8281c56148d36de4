package fleet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"trivet/lab/scenario"
)

// A worker is a process that nginx's master has forked.
type worker struct {
	pid     int
	started uint64 // since the machine's start, in ticks
	booting bool   // just forked, not serving yet: it still has its master's title
	leaving bool   // shutting down, still finishing requests
	helper  bool   // it serves no requests: of the cache
}

// serves reports whether the worker takes connections.
func (w worker) serves() bool { return !w.booting && !w.leaving && !w.helper }

// workers are the children of an nginx master, those that were started first first. Their titles say what they do.
func workers(master int) []worker {
	var all []worker
	for _, p := range children(master) {
		if p.parent != master || p.zombie() {
			continue
		}
		title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		if err == nil && len(title) > 0 { // Without one it has just ended.
			w := worker{pid: p.pid, started: p.started, booting: bytes.Contains(title, []byte("master process")), leaving: bytes.Contains(title, []byte("shutting down"))}
			w.helper = !w.booting && !w.leaving && !bytes.Contains(title, []byte("worker process"))
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b worker) int { return cmp.Or(cmp.Compare(a.started, b.started), cmp.Compare(a.pid, b.pid)) })
	return all
}

// awaitWorkers returns when a master's workers serve. A process that is no master, by its title, has none.
func awaitWorkers(ctx context.Context, master func() int) error {
	return poll(ctx, func(context.Context) error {
		pid := master()
		title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && !bytes.Contains(title, []byte("master process")) {
			return nil
		}
		all := workers(pid)
		if !slices.ContainsFunc(all, worker.serves) || slices.ContainsFunc(all, func(w worker) bool { return w.booting }) {
			return errors.New("nginx has no worker yet that serves")
		}
		return nil
	})
}

// children are the children of a process with one thread. Not every kernel lists them; there, they are all processes of the machine.
func children(parent int) []stat {
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	if err != nil {
		return processes()
	}
	var all []stat
	for pid := range strings.FieldsSeq(string(list)) {
		if s, ok := readStat("/proc/" + pid + "/stat"); ok {
			all = append(all, s)
		}
	}
	return all
}

// workerNumbers are the numbers in the names of nginx's workers (see scenario.WorkerName). Those that take connections have numbers from 1
// on. A worker keeps its number while it takes connections; one that is started in the place of another gets the number of that one. After
// a reload or another start of nginx, the numbers are new, in the order in which the workers were started.
type workerNumbers struct {
	mu     sync.Mutex
	master int
	byPID  map[int]int
}

// forget makes all numbers new.
func (n *workerNumbers) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byPID = nil
}

// of are the workers by number, from all that a master has now.
func (n *workerNumbers) of(master int, all []worker) map[int]worker {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.master != master {
		n.master, n.byPID = master, nil
	}
	numbers, byNumber := make(map[int]int), make(map[int]worker)
	for _, w := range all {
		if number, ok := n.byPID[w.pid]; ok && w.serves() {
			numbers[w.pid], byNumber[number] = number, w
		}
	}
	next := 1
	for _, w := range all {
		if _, known := numbers[w.pid]; known || !w.serves() {
			continue
		}
		for ; byNumber[next].pid != 0; next++ {
		}
		numbers[w.pid], byNumber[next] = next, w
	}
	n.byPID = numbers
	return byNumber
}

// serving is the PID of the worker of that number, if it takes connections; else 0.
func (f *Fleet) serving(number int) int {
	master := f.Process(scenario.Nginx).PID()
	return f.numbers.of(master, workers(master))[number].pid
}

// Processes are the PIDs of all processes that run, by name. Workers of nginx that are leaving have numbers after those of the others.
func (f *Fleet) Processes() map[string]int {
	all := make(map[string]int)
	for _, p := range f.processes {
		if pid := p.PID(); pid != 0 {
			all[p.name] = pid
		}
	}
	master := all[scenario.Nginx]
	if master == 0 || !f.balancer.Info().Workers {
		return all
	}
	now := workers(master)
	last := 0
	for number, w := range f.numbers.of(master, now) {
		all[scenario.WorkerName(number)] = w.pid
		last = max(last, number)
	}
	for _, w := range now {
		if w.leaving {
			last++
			all[scenario.WorkerName(last)] = w.pid
		}
	}
	return all
}

// parseStarted is the 22nd field of /proc/PID/stat, from the third on; 0 if there are fewer.
func parseStarted(fields []string) uint64 {
	if len(fields) < 20 {
		return 0
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0
	}
	return started
}
