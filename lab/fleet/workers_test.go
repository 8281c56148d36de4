package fleet

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

func TestWorkersKeepTheirNumbers(t *testing.T) {
	t.Parallel()
	var n workerNumbers
	for _, step := range []struct {
		name   string
		master int
		now    []worker
		forget bool
		want   map[int]int // PIDs by number
	}{
		{"two start", 1, []worker{{pid: 10}, {pid: 11}}, false, map[int]int{1: 10, 2: 11}},
		{"the first is killed", 1, []worker{{pid: 11}}, false, map[int]int{2: 11}},
		{"another boots", 1, []worker{{pid: 11}, {pid: 12, booting: true}}, false, map[int]int{2: 11}},
		{"another in its place", 1, []worker{{pid: 11}, {pid: 12}}, false, map[int]int{1: 12, 2: 11}},
		{"a process of the cache", 1, []worker{{pid: 11}, {pid: 12}, {pid: 13, helper: true}}, false, map[int]int{1: 12, 2: 11}},
		{"a reload begins", 1, []worker{{pid: 11}, {pid: 12}, {pid: 14}, {pid: 15}}, false, map[int]int{1: 12, 2: 11, 3: 14, 4: 15}},
		{"the old ones leave", 1, []worker{{pid: 11, leaving: true}, {pid: 14}, {pid: 15}}, false, map[int]int{3: 14, 4: 15}},
		{"the reload is over", 1, []worker{{pid: 11, leaving: true}, {pid: 14}, {pid: 15}}, true, map[int]int{1: 14, 2: 15}},
		{"another start", 2, []worker{{pid: 15}, {pid: 16}}, false, map[int]int{1: 15, 2: 16}},
		{"down", 0, nil, false, map[int]int{}},
	} {
		if step.forget {
			n.forget()
		}
		got := map[int]int{}
		for number, w := range n.of(step.master, step.now) {
			got[number] = w.pid
		}
		if !maps.Equal(got, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
}

func TestProcessesAreNamed(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 2))
	all := f.Processes()
	if got, want := slices.Sorted(maps.Keys(all)), []string{"nginx", "nginx-worker-1", "nginx-worker-2", "whoami-1", "whoami-2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	now := workers(all[scenario.Nginx])
	if len(now) != 2 || now[0].pid != all["nginx-worker-1"] || now[1].pid != all["nginx-worker-2"] || now[0].started == 0 || now[0].started > now[1].started {
		t.Errorf("%v, workers %+v", all, now)
	}
	if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Kill, Process: "whoami-1"}); err != nil {
		t.Fatal(err)
	}
	if pid := f.Processes()["whoami-1"]; pid == all["whoami-1"] {
		t.Errorf("whoami-1 has the PID %d, with which it was killed", pid)
	}
}

// eventKinds are the events of nginx in a channel.
func eventKinds(events chan Event) (all []string) {
	for len(events) > 0 {
		if e := <-events; e.Process == scenario.Nginx {
			text := e.Kind
			if e.Exit != nil {
				text += " " + e.Exit.String()
			}
			all = append(all, text)
		}
	}
	return all
}

// After each nothing is a finding: actions requested it all.
func TestDoCarriesOutEachKindOnNginx(t *testing.T) {
	t.Parallel()
	events := make(chan Event, 100)
	o := testOptions(t, 1)
	o.NoRestart, o.Observe = true, func(e Event) { events <- e }
	f := begin(t, o)
	eventKinds(events)
	for _, step := range []struct {
		kind         string
		want         []string // events
		down, paused bool
	}{
		{scenario.Kill, []string{"died signal SIGKILL"}, true, false},
		{scenario.Start, []string{"started", "ready"}, false, false},
		{scenario.Pause, nil, false, true},
		{scenario.Resume, nil, false, false},
		{scenario.Drain, []string{"stopped exit code 0"}, true, false},
		{scenario.Start, []string{"started", "ready"}, false, false},
		{scenario.Restart, []string{"stopped exit code 0", "started", "ready"}, false, false},
		{scenario.Reload, nil, false, false},
		{scenario.Pause, nil, false, true},
		{scenario.Kill, []string{"died signal SIGKILL"}, true, false},
		{scenario.Start, []string{"started", "ready"}, false, false},
		{scenario.Pause, nil, false, true}, // The end of the fleet resumes it.
	} {
		if !f.Can(scenario.Operation{Kind: step.kind, Process: scenario.Nginx}) {
			t.Errorf("it cannot %s nginx", step.kind)
		}
		before := f.Processes()
		if err := f.Do(t.Context(), scenario.Operation{Kind: step.kind, Process: scenario.Nginx}); err != nil {
			t.Errorf("%s: %v", step.kind, err)
		}
		if got := eventKinds(events); !slices.Equal(got, step.want) {
			t.Errorf("%s: events %q, want %q", step.kind, got, step.want)
		}
		if !step.down { // It is ready as soon as one worker serves.
			eventually(t, "all workers serve", func() bool { return len(f.Processes()) == 4 })
		}
		now := f.Processes()
		for _, name := range []string{scenario.Nginx, scenario.WorkerName(1), scenario.WorkerName(2)} {
			switch pid := now[name]; {
			case step.down && (pid != 0 || runs(before[name])):
				t.Errorf("%s: %s still runs", step.kind, name)
			case !step.down && (pid == 0 || paused(pid) != step.paused):
				t.Errorf("%s: %s has pid %d, paused %v", step.kind, name, pid, paused(pid))
			}
		}
		switch _, err := net.Dial("tcp", f.HTTP()); {
		case step.down && !errors.Is(err, syscall.ECONNREFUSED):
			t.Errorf("%s: %v", step.kind, err)
		case !step.down && !step.paused && instanceAt(t, f.HTTP()) != "whoami-1":
			t.Errorf("%s: nginx does not serve", step.kind)
		}
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if got := eventKinds(events); !slices.Equal(got, []string{"stopped exit code 0"}) {
		t.Errorf("the end: %q", got)
	}
	if all, err := f.Findings(); err != nil || len(all) > 0 {
		t.Errorf("findings %+v, %v", all, err)
	}
}

// The first worker is killed by actions, twice, and one by hand: only that one is a finding.
func TestDoCarriesOutEachKindOnAWorker(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.NoRestart = true
	f := begin(t, o)
	first, second := f.Processes()["nginx-worker-1"], f.Processes()["nginx-worker-2"]
	for _, kind := range []string{scenario.Pause, scenario.Resume, scenario.Pause, scenario.Kill} {
		if err := f.Do(t.Context(), scenario.Operation{Kind: kind, Process: "nginx-worker-1"}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if is := paused(first); is != (kind == scenario.Pause) || paused(second) {
			t.Errorf("after %s: paused %v, the other %v", kind, is, paused(second))
		}
	}
	if runs(first) {
		t.Error("the killed worker runs")
	}
	if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Kill, Process: "nginx-worker-1"}); err != nil { // It waits for another.
		t.Error(err)
	}
	eventually(t, "another worker", func() bool { return f.Processes()["nginx-worker-1"] != 0 })
	if f.Processes()["nginx-worker-2"] != second {
		t.Errorf("worker 2 has pid %d, and had %d", f.Processes()["nginx-worker-2"], second)
	}
	if err := syscall.Kill(second, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the master has logged its worker's end", func() bool {
		log, err := os.ReadFile(f.LogFile(scenario.Nginx))
		return err == nil && strings.Contains(string(log), fmt.Sprintf("worker process %d exited on signal 9", second))
	})
	for _, test := range [][3]string{
		{scenario.Kill, "nginx-worker-9", "nginx has no nginx-worker-9 that takes connections"},
		{scenario.Drain, "nginx-worker-1", "no such action on a worker of nginx: drain"},
	} {
		if err := f.Do(t.Context(), scenario.Operation{Kind: test[0], Process: test[1]}); err == nil || err.Error() != test[2] {
			t.Errorf("%s %s: %v, want %s", test[0], test[1], err, test[2])
		}
	}
	if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Kill, Process: scenario.Nginx}); err != nil {
		t.Error(err)
	}
	if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Kill, Process: "nginx-worker-1"}); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("got %v", err)
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	all, err := f.Findings()
	if got, want := summaries(all), []string{fmt.Sprintf("%s %d signal SIGKILL", record.WorkerEnded, second)}; err != nil || !slices.Equal(got, want) {
		t.Errorf("findings %q, %v; want %q", got, err, want)
	}
}

func TestCanSaysWhatDoDoes(t *testing.T) {
	t.Parallel()
	f := &Fleet{balancer: nginxBalancer{}, processes: []*Process{{name: scenario.Nginx}, {name: "whoami-1"}}}
	processes := map[string][]string{
		scenario.Nginx: scenario.NginxKinds, "whoami-1": scenario.InstanceKinds, "nginx-worker-1": scenario.WorkerKinds, "whoami-2": nil, scenario.Generator: nil,
		scenario.Edge: nil, scenario.Authority: nil,
	}
	check := func(what string, certificates map[string][]string) {
		for process, kinds := range processes {
			kinds = slices.Concat(kinds, certificates[process])
			for _, kind := range scenario.Kinds {
				if got, want := f.Can(scenario.Operation{Kind: kind, Process: process}), slices.Contains(kinds, kind); got != want {
					t.Errorf("%s: %s %s: %v, want %v", what, kind, process, got, want)
				}
			}
		}
	}
	check("plain", nil)
	f.options.TLS = true
	check("TLS", map[string][]string{scenario.Edge: scenario.IssueKinds[:5], scenario.Authority: scenario.AuthorityKinds})
	f.options.TLS, f.options.MTLS = false, true
	check("mutual TLS", map[string][]string{scenario.Nginx: scenario.IssueKinds, "whoami-1": slices.Concat(scenario.IssueKinds[:5], scenario.TrustKinds), scenario.Authority: scenario.AuthorityKinds})
}
