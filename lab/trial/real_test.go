package trial

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// The tests in this file run trials of the local fleet.

// local starts a fleet of that instances' program.
func local(t *testing.T, whoami string) Start {
	t.Helper()
	l := fleet.Local{Nginx: labtest.Nginx(t), Whoami: whoami}
	return func(ctx context.Context, s scenario.Scenario, dir string, observe func(record.Event)) (System, error) {
		return l.Start(ctx, s, dir, observe)
	}
}

// program is an instances' program that knows its settings and then does something else.
func program(t *testing.T, instead string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "whoami")
	text := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = config ]; then exec %s \"$@\"; fi\n%s\n", whoami, instead)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// checked is the result of a trial's records, which must not contradict each other, and must be valid but for a busy machine.
func checked(t *testing.T, dir string) measure.Result {
	t.Helper()
	r := result(t, dir)
	if r.DiscrepancyCount > 0 {
		t.Errorf("%d discrepancies, the first: %v", r.DiscrepancyCount, r.Discrepancies[0])
	}
	if reasons := blameless(r); len(reasons) > 0 {
		t.Errorf("invalid: %q", reasons)
	}
	return r
}

// blameless are the reasons why a trial is invalid, without those of a busy machine.
func blameless(r measure.Result) []string {
	return slices.DeleteFunc(slices.Clone(r.Reasons), labtest.Busy)
}

// Each action does what docs/records.md says, one after the other, and the event log has all of it in that order.
func TestActionsDoWhatTheySay(t *testing.T) {
	t.Parallel()
	s := during(4*time.Second, on(scenario.Kill, "whoami-1"), on(scenario.Start, "whoami-1"), on(scenario.Drain, "whoami-2"), on(scenario.Start, "whoami-2"),
		on(scenario.Pause, "whoami-3"), wait(300*time.Millisecond), on(scenario.Resume, "whoami-3"), on(scenario.Restart, "whoami-2", "whoami-3"), reload)
	s.Phases = []scenario.Phase{{Name: "before", For: 200 * time.Millisecond}, s.Phases[0], {Name: "after", For: 300 * time.Millisecond}}
	s.Loads = []scenario.Load{httpLoad(100), grpcLoad("calls", 100)}
	s.Loads[0].Deadline, s.Loads[1].Deadline = 5*time.Second, 3*time.Second
	set := setup(t, s, local(t, whoami))
	if err := run(t, t.Context(), set); err != nil {
		t.Fatal(err)
	}
	checkGone(t, set.Dir)
	all := events(t, set.Dir)
	got := words(all)
	first := slices.Index(got, "phase before")
	for _, name := range []string{"nginx", "whoami-1", "whoami-2", "whoami-3"} {
		if before := got[:max(0, first)]; !slices.Contains(before, name+" started") || !slices.Contains(before, name+" ready") {
			t.Errorf("%s was not ready before the first phase: %q", name, before)
		}
	}
	want := append([]string{"phase before", "phase during"}, wantActions...)
	want = append(want, "phase after", "nginx stopped (exit code 0)")
	if part := got[first:min(len(got), first+len(want))]; !slices.Equal(part, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(part, "\n"), strings.Join(want, "\n"))
	}
	end := slices.Sorted(slices.Values(got[len(got)-4:]))
	if !slices.Equal(end, []string{"ended", "whoami-1 stopped (exit code 0)", "whoami-2 stopped (exit code 0)", "whoami-3 stopped (exit code 0)"}) || got[len(got)-1] != "ended" {
		t.Errorf("the end: %q", got[len(got)-4:])
	}
	r := checked(t, set.Dir)
	checkActions(t, set.Dir, all, r.Manifest.Begin.Add(s.Length()))
	if m, ok := r.Metrics("", scenario.HTTP); !ok || m.Requests != 450 || m.OK == 0 || m.RoundRobin.Configurations != 2 {
		t.Errorf("%+v", m)
	}
}

// wantActions are the events of TestActionsDoWhatTheySay's phase.
var wantActions = []string{
	"during: action_started kill whoami-1", "whoami-1 died (signal SIGKILL)", "during: action_done kill whoami-1",
	"during: action_started start whoami-1", "whoami-1 started", "whoami-1 ready", "during: action_done start whoami-1",
	"during: action_started drain whoami-2", "whoami-2 stopped (exit code 0)", "during: action_done drain whoami-2",
	"during: action_started start whoami-2", "whoami-2 started", "whoami-2 ready", "during: action_done start whoami-2",
	"during: action_started pause whoami-3", "during: action_done pause whoami-3",
	"during: action_started wait", "during: action_done wait",
	"during: action_started resume whoami-3", "during: action_done resume whoami-3",
	"during: action_started restart whoami-2", "whoami-2 stopped (exit code 0)", "whoami-2 started", "whoami-2 ready", "during: action_done restart whoami-2",
	"during: action_started restart whoami-3", "whoami-3 stopped (exit code 0)", "whoami-3 started", "whoami-3 ready", "during: action_done restart whoami-3",
	"during: action_started reload nginx", "during: action_done reload nginx",
}

// checkActions compares the event log with the other sources. The load is over at the end.
func checkActions(t *testing.T, dir string, all []record.Event, end time.Time) {
	t.Helper()
	for name, starts := range map[string]int{"whoami-1": 2, "whoami-2": 3, "whoami-3": 2, "nginx": 1} {
		pids := map[int]bool{}
		for _, e := range only(all, record.Started, name) {
			pids[e.PID] = true
		}
		if len(pids) != starts {
			t.Errorf("%s: processes %v, want %d", name, pids, starts)
		}
	}
	for _, e := range all {
		if e.Error != "" {
			t.Errorf("%+v", e)
		}
	}
	paused, resumed := only(all, record.ActionDone, "whoami-3")[0].Time, only(all, record.ActionStarted, "whoami-3")[1].Time
	calls := map[int]int{}
	eachLine(t, filepath.Join(dir, record.InstancesFile), func(c record.Call) {
		calls[c.PID]++
		if c.Instance == "whoami-3" && c.Time.After(paused) && c.Time.Before(resumed) {
			t.Errorf("paused at %v and resumed at %v, it wrote %+v", paused, resumed, c)
		}
	})
	reloaded := only(all, record.ActionDone, "nginx")[0].Time
	if reloaded.After(end.Add(-time.Second)) {
		t.Logf("the machine is so busy that the load was over when all actions were done, at %v", end)
		return
	}
	for _, e := range all {
		if e.Kind == record.Started && e.Process != scenario.Nginx && calls[e.PID] == 0 {
			t.Errorf("%s, pid %d, got no request", e.Process, e.PID)
		}
	}
	before, after := map[int]bool{}, map[int]bool{}
	eachLine(t, filepath.Join(dir, record.AccessLogFile), func(l struct {
		PID      int     `json:"pid"`
		End      float64 `json:"end"`
		Duration float64 `json:"duration"`
	}) {
		if l.End-l.Duration < seconds(only(all, record.ActionStarted, "nginx")[0].Time) {
			before[l.PID] = true
		} else if l.End-l.Duration > seconds(reloaded) {
			after[l.PID] = true
		}
	})
	// An old worker may go on for a moment, with a client that has not read yet that the worker is leaving.
	maps.DeleteFunc(after, func(pid int, _ bool) bool { return before[pid] })
	if len(after) == 0 {
		t.Errorf("no new worker served after the reload, but only %v", before)
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// eachLine calls with each record of a file.
func eachLine[T any](t *testing.T, path string, with func(T)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var r T
		if err := json.Unmarshal(scanner.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v", scanner.Bytes(), err)
		}
		with(r)
	}
}

// The trial ends, the requests that hung at the paused instance are accounted for, and nothing is left.
func TestPausedInstanceDoesNotKeepTheTrialFromItsEnd(t *testing.T) {
	t.Parallel()
	s := during(700*time.Millisecond, on(scenario.Pause, "whoami-2"))
	s.Phases = []scenario.Phase{{Name: "before", For: 300 * time.Millisecond}, s.Phases[0]}
	s.Loads = []scenario.Load{httpLoad(60), grpcLoad(scenario.GRPC, 60)}
	s.Loads[0].Deadline, s.Loads[1].Deadline = 300*time.Millisecond, 300*time.Millisecond
	set := setup(t, s, local(t, whoami))
	if err := run(t, t.Context(), set); err != nil {
		t.Fatal(err)
	}
	checkGone(t, set.Dir)
	r := checked(t, set.Dir)
	for _, group := range []string{scenario.HTTP, scenario.GRPC} {
		if m, _ := r.Metrics("during", group); len(r.Reasons) == 0 && m.Failed == 0 || m.Incomplete != m.Failed || m.Reasons[record.Deadline] != m.Failed {
			t.Errorf("%s: %+v", group, m)
		}
	}
	if e := last(t, set.Dir); e.Event != record.Ended {
		t.Errorf("%+v", e)
	}
}

// An instance is paused then, and requests hang at it.
func TestInterruptedWhileAnInstanceIsPausedLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	s := setup(t, during(10*time.Minute, on(scenario.Pause, "whoami-2"), wait(9*time.Minute)), local(t, whoami))
	s.Watch = func(m *measure.Trial) {
		if m.Progress().Protocols[scenario.HTTP].Failed > 0 {
			cancel(errSignal)
		}
	}
	checkInterrupted(t, s, run(t, ctx, s))
	got := words(events(t, s.Dir))
	if !slices.Contains(got, "during: action_started wait") || slices.Contains(got, "during: action_done wait") {
		t.Errorf("%q", got)
	}
}

func TestScenarioSetsInstancesWorkersAndEdits(t *testing.T) {
	t.Parallel()
	s := during(100 * time.Millisecond)
	s.Instances, s.Workers, s.Edits = 2, 1, []confedit.Edit{{Context: "upstream whoami_http", Directive: "random"}}
	set := setup(t, s, local(t, whoami))
	if err := run(t, t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if r := checked(t, set.Dir); len(r.Manifest.Instances) != 2 {
		t.Errorf("%+v", r.Manifest)
	}
	for file, want := range map[string]string{"upstreams.conf": "random;", "site/process.conf": "worker_processes 1;"} {
		if text, err := os.ReadFile(filepath.Join(set.Dir, "conf", file)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%v: no %q in %s", err, want, text)
		}
	}
}

// Nothing of it is a finding, and nginx serves in the end.
func TestActionsOnNginxAndItsWorkers(t *testing.T) {
	t.Parallel()
	s := during(6*time.Second,
		repeat(2, 500*time.Millisecond, on(scenario.Kill, scenario.WorkerName(1))),
		together(on(scenario.Pause, scenario.WorkerName(2)), on(scenario.Kill, "whoami-1")), on(scenario.Resume, scenario.WorkerName(2)),
		on(scenario.Pause, scenario.Nginx), on(scenario.Resume, scenario.Nginx),
		on(scenario.Restart, scenario.Nginx), on(scenario.Kill, scenario.Nginx), on(scenario.Start, scenario.Nginx),
	)
	set := setup(t, s, local(t, whoami))
	if err := run(t, t.Context(), set); err != nil {
		t.Fatal(err)
	}
	checkGone(t, set.Dir)
	all := events(t, set.Dir)
	done := map[int]bool{}
	for _, e := range all {
		if e.Event == record.ActionDone {
			done[e.Operation] = true
		}
		if e.Error != "" || e.Event == record.NginxEvent {
			t.Errorf("%+v", e)
		}
	}
	if want := len(s.Phases[0].Operations()); len(done) != want {
		t.Errorf("%d of %d operations are done: %q", len(done), want, words(all))
	}
	var nginx []string
	for _, line := range words(all) {
		if strings.HasPrefix(line, "nginx ") {
			nginx = append(nginx, line)
		}
	}
	if want := []string{
		"nginx started", "nginx ready", "nginx stopped (exit code 0)", "nginx started", "nginx ready", "nginx died (signal SIGKILL)", "nginx started", "nginx ready",
		"nginx stopped (exit code 0)",
	}; !slices.Equal(nginx, want) {
		t.Errorf("got %q, want %q", nginx, want)
	}
}

// Each has an ID of its own, which the event log has before nginx or an instance has it.
func TestProbesAreInTheEventLog(t *testing.T) {
	t.Parallel()
	s := setup(t, during(100*time.Millisecond), local(t, whoami))
	if err := run(t, t.Context(), s); err != nil {
		t.Fatal(err)
	}
	announced := map[string]time.Time{}
	for _, e := range events(t, s.Dir) {
		if e.Event == record.Probe {
			if _, again := announced[e.ID]; again || !strings.HasPrefix(e.ID, record.ProbeIDPrefix) {
				t.Errorf("%+v", e)
			}
			announced[e.ID] = e.Time
		}
	}
	arrived := map[string]bool{}
	eachLine(t, filepath.Join(s.Dir, record.InstancesFile), func(c record.Call) {
		if strings.HasPrefix(c.ID, record.ProbeIDPrefix) {
			arrived[c.ID] = true
			if at, ok := announced[c.ID]; !ok || c.Time.Before(at) {
				t.Errorf("announced %v, at %v: %+v", ok, at, c)
			}
		}
	})
	logged := map[string]bool{}
	eachLine(t, filepath.Join(s.Dir, record.AccessLogFile), func(l struct{ ID string }) {
		if strings.HasPrefix(l.ID, record.ProbeIDPrefix) {
			logged[l.ID] = true
			if _, ok := announced[l.ID]; !ok {
				t.Errorf("%s is not announced", l.ID)
			}
		}
	})
	if len(arrived) < 2 || len(logged) < 2 {
		t.Errorf("announced %v, arrived %v, logged %v: want one over each protocol", announced, arrived, logged)
	}
}

// once makes a Watch that is called once, before the load begins.
func once(do func()) func(*measure.Trial) {
	var o sync.Once
	return func(*measure.Trial) { o.Do(do) }
}

// Such processes stay down, and the trial goes on to its end: it is invalid, and each death is a reason.
func TestDeathsThatNoActionRequestedMakeTheTrialInvalid(t *testing.T) {
	t.Parallel()
	s := setup(t, during(1500*time.Millisecond), local(t, whoami))
	names := []string{"whoami-2", scenario.Nginx}
	s.Watch = once(func() {
		for _, name := range names {
			if err := syscall.Kill(only(events(t, s.Dir), record.Started, name)[0].PID, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	})
	if err := run(t, t.Context(), s); err != nil {
		t.Fatal(err)
	}
	checkGone(t, s.Dir)
	all := events(t, s.Dir)
	reasons := strings.Join(result(t, s.Dir).Reasons, "\n")
	for _, name := range names {
		if len(only(all, record.Started, name)) != 1 || len(only(all, record.Died, name)) != 1 || len(only(all, record.Stopped, name)) != 0 {
			t.Errorf("%s: %q", name, words(all))
		}
		if !strings.Contains(reasons, name+" died (signal SIGKILL)") {
			t.Errorf("%s is not in the reasons: %s", name, reasons)
		}
	}
	if e := last(t, s.Dir); e.Event != record.Ended {
		t.Errorf("%+v", e)
	}
}

// A worker is killed, and nginx is reloaded by hand, beside a reload by an action: only nginx's log shows either.
func TestWhatNoActionRequestedOfNginxMakesTheTrialInvalid(t *testing.T) {
	t.Parallel()
	s := setup(t, during(1500*time.Millisecond, wait(500*time.Millisecond), reload), local(t, whoami))
	s.Watch = once(func() {
		nginx := only(events(t, s.Dir), record.Started, scenario.Nginx)[0].PID
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nginx, nginx))
		var worker int
		if _, none := fmt.Sscan(string(text), &worker); err != nil || none != nil {
			t.Error(err, none)
			return
		}
		if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		eventually(t, "nginx logs the end of its worker", func() bool {
			text, err := os.ReadFile(filepath.Join(s.Dir, "logs", "error.log"))
			return err == nil && strings.Contains(string(text), fmt.Sprintf("worker process %d exited on signal 9", worker))
		})
		if err := syscall.Kill(nginx, syscall.SIGHUP); err != nil {
			t.Error(err)
		}
	})
	if err := run(t, t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range events(t, s.Dir) {
		if e.Event == record.NginxEvent {
			found = append(found, e.Kind)
		}
	}
	slices.Sort(found)
	if want := []string{record.Reconfigured, record.WorkerEnded}; !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	reasons := strings.Join(result(t, s.Dir).Reasons, "\n")
	for _, part := range []string{"(signal SIGKILL)", "nginx was reloaded"} {
		if strings.Count(reasons, part) != 1 {
			t.Errorf("want one %q in the reasons: %s", part, reasons)
		}
	}
	if e := last(t, s.Dir); e.Event != record.Ended {
		t.Errorf("%+v", e)
	}
}

// Requests are missing in the records then, which must not look like a result.
func TestSourceThatCannotWriteItsRecordsIsAnError(t *testing.T) {
	t.Parallel()
	nginxFull := during(200 * time.Millisecond)
	nginxFull.Edits = []confedit.Edit{{Context: "http", Directive: "access_log /dev/full requests"}}
	for name, s := range map[string]Setup{
		"nginx":    setup(t, nginxFull, local(t, whoami)),
		"instance": setup(t, during(200*time.Millisecond), local(t, program(t, "RECORDS=/dev/full exec "+whoami+` "$@"`))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := run(t, t.Context(), s)
			if !errors.Is(err, record.ErrRunDir) || !strings.Contains(strings.ToLower(err.Error()), "no space left on device") {
				t.Errorf("got %v", err)
			}
			if e := last(t, s.Dir); e.Event != record.LabError || !strings.Contains(strings.ToLower(e.Error), "no space left on device") {
				t.Errorf("%+v", e)
			}
			checkGone(t, s.Dir)
		})
	}
}

func TestInstanceThatDoesNotStartIsAnErrorWithItsOutput(t *testing.T) {
	t.Parallel()
	s := setup(t, during(time.Second), local(t, program(t, "echo out of luck; exit 3")))
	err := run(t, t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("got %v", err)
	}
	if e := last(t, s.Dir); e.Event != record.LabError || !strings.Contains(e.Error, "out of luck") {
		t.Errorf("%+v", e)
	}
	checkGone(t, s.Dir)
}
