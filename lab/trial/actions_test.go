package trial

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trivet/lab/experiment"
	"trivet/lab/ledger"
	"trivet/lab/load"
)

// Each action does what docs/records.md and the keys' comments say, one after the other, and the diary tells all of it in that order.
func TestActions(t *testing.T) {
	t.Parallel()
	s := setup(t, `
question: Does each action do what it says?
load:
  - {protocol: http, rate: 100/s, retry: true}
  - {name: calls, protocol: grpc, rate: 100/s, retry: true, deadline: 3s}
phases:
  - {name: before, for: 200ms}
  - name: during
    for: 4s
    do:
      - {kill: whoami-1}
      - {start: whoami-1}
      - {drain: whoami-2}
      - {start: whoami-2}
      - {stop: whoami-3}
      - {wait: 300ms}
      - {cont: whoami-3}
      - {restart: [whoami-2, whoami-3]}
      - {reload: nginx}
  - {name: after, for: 300ms}
expect: ["during.http.failed == 0"]
`)
	var watched atomic.Int32
	s.Watch = func(book *ledger.Ledger) {
		watched.Add(1)
		if live := book.Live(); len(live.Protocols) != 2 {
			t.Errorf("%+v", live)
		}
	}
	if err := Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	gone(t, s.Dir)
	if watched.Load() == 0 {
		t.Error("nobody could watch")
	}
	all := events(t, s.Dir)
	told := words(all)
	began := slices.Index(told, "phase before")
	for _, name := range []string{"nginx", "whoami-1", "whoami-2", "whoami-3"} {
		if first := told[:max(0, began)]; !slices.Contains(first, name+" started") || !slices.Contains(first, name+" ready") {
			t.Errorf("%s was not ready before the first phase: %q", name, first)
		}
	}
	want := append([]string{"phase before", "phase during"}, wantActions...)
	want = append(want, "phase after", "nginx stopped (exit code 0)")
	if got := told[began:min(len(told), began+len(want))]; !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	end := slices.Sorted(slices.Values(told[len(told)-4:]))
	if !slices.Equal(end, []string{"end", "whoami-1 stopped (exit code 0)", "whoami-2 stopped (exit code 0)", "whoami-3 stopped (exit code 0)"}) || told[len(told)-1] != "end" {
		t.Errorf("the end: %q", told[len(told)-4:])
	}
	book, balance := closed(t, s.Dir)
	theyDidIt(t, s.Dir, all, book.Scene().Begin.Add(s.File.Length()))
	if faults := reasons(balance); len(faults) > 0 {
		t.Errorf("invalid: %q", faults)
	}
	likeThePlan(t, s, book.Scene())
	if f, ok := book.Figures("", load.HTTP); !ok || f.Requests != 450 || f.OK == 0 || f.Turn.Generations != 2 {
		t.Errorf("%+v", f)
	}
}

// wantActions are the events of TestActions' phase.
var wantActions = []string{
	"during: action kill whoami-1", "whoami-1 died (signal SIGKILL)", "during: done kill whoami-1",
	"during: action start whoami-1", "whoami-1 started", "whoami-1 ready", "during: done start whoami-1",
	"during: action drain whoami-2", "whoami-2 stopped (exit code 0)", "during: done drain whoami-2",
	"during: action start whoami-2", "whoami-2 started", "whoami-2 ready", "during: done start whoami-2",
	"during: action stop whoami-3", "during: done stop whoami-3",
	"during: action wait", "during: done wait",
	"during: action cont whoami-3", "during: done cont whoami-3",
	"during: action restart whoami-2", "whoami-2 stopped (exit code 0)", "whoami-2 started", "whoami-2 ready", "during: done restart whoami-2",
	"during: action restart whoami-3", "whoami-3 stopped (exit code 0)", "whoami-3 started", "whoami-3 ready", "during: done restart whoami-3",
	"during: action reload nginx", "during: done reload nginx",
}

// theyDidIt asks the other witnesses whether what the diary of TestActions tells is true. At the end the load is over.
func theyDidIt(t *testing.T, dir string, all []ledger.Event, end time.Time) {
	t.Helper()
	for name, lives := range map[string]int{"whoami-1": 2, "whoami-2": 3, "whoami-3": 2, "nginx": 1} {
		pids := map[int]bool{}
		for _, e := range only(all, "started", name) {
			pids[e.PID] = true
		}
		if len(pids) != lives {
			t.Errorf("%s: processes %v, want %d", name, pids, lives)
		}
	}
	for _, e := range all {
		if e.Error != "" {
			t.Errorf("%+v", e)
		}
	}
	if waits := only(all, "action", ""); len(waits) != 1 || waits[0].Wait != 300_000 {
		t.Errorf("waits: %+v", waits)
	}
	stopped, going := only(all, "done", "whoami-3")[0].Time, only(all, "action", "whoami-3")[1].Time
	if going.Sub(stopped) < 300*time.Millisecond {
		t.Errorf("the wait took %v", going.Sub(stopped))
	}
	answers := map[int]int{}
	lines(t, filepath.Join(dir, ledger.InstancesFile), func(c ledger.Call) {
		answers[c.PID]++
		if c.Instance == "whoami-3" && c.Time.After(stopped) && c.Time.Before(going) {
			t.Errorf("stopped at %v, and going on at %v, it wrote %+v", stopped, going, c)
		}
	})
	reloaded := only(all, "done", "nginx")[0].Time
	if reloaded.After(end.Add(-time.Second)) {
		t.Logf("the machine is so busy that the load was over when all was done, at %v", end)
		return
	}
	for _, e := range all {
		if e.Kind == "started" && e.Name != "nginx" && answers[e.PID] == 0 {
			t.Errorf("%s, pid %d, was never asked anything", e.Name, e.PID)
		}
	}
	old, fresh := map[int]bool{}, map[int]bool{}
	lines(t, filepath.Join(dir, ledger.NginxFile), func(l struct {
		PID      int     `json:"pid"`
		End      float64 `json:"end"`
		Duration float64 `json:"duration"`
	}) {
		if l.End-l.Duration < seconds(only(all, "action", "nginx")[0].Time) {
			old[l.PID] = true
		} else if l.End-l.Duration > seconds(reloaded) {
			fresh[l.PID] = true
		}
	})
	// An old worker may go on for a moment, with a caller who has not read yet that it is leaving.
	maps.DeleteFunc(fresh, func(pid int, _ bool) bool { return old[pid] })
	if len(fresh) == 0 {
		t.Errorf("no new worker served after the reload, but only %v", old)
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// lines calls with each record of a file.
func lines[T any](t *testing.T, path string, with func(T)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var record T
		if err := json.Unmarshal(scanner.Bytes(), &record); err != nil {
			t.Fatalf("%s: %v", scanner.Bytes(), err)
		}
		with(record)
	}
}

// likeThePlan compares the scene with the experiment.
func likeThePlan(t *testing.T, s Setup, set ledger.Scene) {
	t.Helper()
	wantLoads := []ledger.Load{{Name: "http", Protocol: load.HTTP, Planned: 450, Deadline: 5 * time.Second}, {Name: "calls", Protocol: load.GRPC, Planned: 450, Deadline: 3 * time.Second}}
	wantPhases := []ledger.Phase{{Name: "before", For: 200 * time.Millisecond}, {Name: "during", For: 4 * time.Second}, {Name: "after", For: 300 * time.Millisecond}}
	if !slices.Equal(set.Loads, wantLoads) || !slices.Equal(set.Phases, wantPhases) {
		t.Errorf("loads %+v, phases %+v", set.Loads, set.Phases)
	}
	if set.Experiment != "test" || set.Variant != experiment.Only || set.Seed != 1 || set.Nginx != s.Nginx.Version.String() || set.Trivet == "" ||
		set.Workers != 2 || len(set.Instances) != 3 || set.HTTP == "" || set.GRPC == "" || set.Settle < 4*time.Second {
		t.Errorf("%+v", set)
	}
}

// An action that fails is in the diary with its reason, and makes the run invalid: nobody knows what was measured then. What follows is
// done all the same.
func TestActionsThatFail(t *testing.T) {
	t.Parallel()
	s := setup(t, `
question: What if an action fails?
load: [{protocol: http, rate: 50/s, retry: true}]
phases: [{name: during, for: 2s}]
expect: ["during.http.failed == 0"]
`)
	program := filepath.Join(t.TempDir(), "whoami")
	if err := os.Symlink(whoami, program); err != nil {
		t.Fatal(err)
	}
	s.Whoami = program
	first := true
	s.Watch = func(*ledger.Ledger) { // It is called before the load begins.
		if !first {
			return
		}
		first = false
		if err := os.Remove(program); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(s.Dir, "conf", "nginx.conf"), []byte("nonsense;\n"), 0o644); err != nil {
			t.Error(err)
		}
	}
	two := []string{"whoami-2"}
	// Most of this experiment.Read refuses.
	s.Variant.Phases[0].Do = []experiment.Action{
		{Verb: experiment.Start, Targets: two}, // It runs: there is nothing to do.
		{Verb: experiment.Drain, Targets: two},
		{Verb: experiment.Stop, Targets: two},
		{Verb: experiment.Cont, Targets: two},
		{Verb: experiment.Start, Targets: two},
		{Verb: experiment.Reload, Targets: []string{"nginx"}},
		{Verb: "paint", Targets: two},
		{Verb: experiment.Wait, Wait: time.Millisecond},
	}
	if err := Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	gone(t, s.Dir)
	var got []string
	for _, e := range events(t, s.Dir) {
		if e.Event == ledger.ActionDone {
			text, _, _ := strings.Cut(e.Verb+": "+e.Error, "\n")
			got = append(got, strings.TrimSpace(text))
		}
	}
	want := []string{
		"start:", "drain:", "stop: whoami-2 is down: os: process already finished", "cont: whoami-2 is down: os: process already finished",
		"start: whoami-2 ended before it was ready (not started: fork/exec " + program + ": no such file or directory)",
		"reload: nginx refuses its configuration:", "paint: no such action: paint", "wait:",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	_, balance := closed(t, s.Dir)
	for _, part := range []string{"phase during: stop whoami-2 failed: whoami-2 is down", "cont whoami-2 failed", "start whoami-2 failed", "reload nginx failed"} {
		if !strings.Contains(strings.Join(balance.Reasons, "\n"), part) {
			t.Errorf("no reason %q in %q", part, balance.Reasons)
		}
	}
	if e := last(t, s.Dir); e.Event != ledger.Ended {
		t.Errorf("%+v", e)
	}
}

// An instance that is stopped when the load is over: the run ends, what hung in its hands is accounted for, and nothing is left.
func TestAnInstanceThatIsStoppedAtTheEnd(t *testing.T) {
	t.Parallel()
	s := setup(t, `
question: Does it end?
load:
  - {protocol: http, rate: 60/s, retry: true, deadline: 300ms}
  - {protocol: grpc, rate: 60/s, retry: true, deadline: 300ms}
phases: [{name: before, for: 300ms}, {name: hung, for: 700ms, do: [{stop: whoami-2}]}]
expect: ["hung.http.failed > 0"]
`)
	if err := Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	gone(t, s.Dir)
	book, balance := closed(t, s.Dir)
	if faults := reasons(balance); len(faults) > 0 {
		t.Errorf("invalid: %q", faults)
	}
	for _, name := range []string{load.HTTP, load.GRPC} {
		if f, _ := book.Figures("hung", name); balance.Valid() && f.Failed == 0 || f.AtClient != f.Failed || f.Reasons[load.Deadline] != f.Failed {
			t.Errorf("%+v", f)
		}
	}
	if e := last(t, s.Dir); e.Event != ledger.Ended {
		t.Errorf("%+v", e)
	}
}

// What one variant sets is in its own folder, and for its own fleet.
func TestAVariantsOwnSettings(t *testing.T) {
	t.Parallel()
	s := setup(t, `
question: Is a variant what it says?
fleet: {instances: 2, workers: 1}
nginx: {set: [{context: upstream whoami_http, directive: random}]}
load: [{protocol: http, rate: 30/s}]
phases: [{name: during, for: 100ms}]
expect: ["during.http.failed == 0"]
`)
	if err := Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	book, balance := closed(t, s.Dir)
	if faults := reasons(balance); len(faults) > 0 || len(book.Scene().Instances) != 2 || book.Scene().Workers != 1 {
		t.Errorf("%q: %+v", faults, book.Scene())
	}
	if text, err := os.ReadFile(filepath.Join(s.Dir, "conf", "upstreams.conf")); err != nil || !strings.Contains(string(text), "random;") {
		t.Errorf("%v: %s", err, text)
	}
	if text, err := os.ReadFile(filepath.Join(s.Dir, "conf", "site", "process.conf")); err != nil || !strings.Contains(string(text), "worker_processes 1;") {
		t.Errorf("%v: %s", err, text)
	}
}
