package measure_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/lab/load"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/lab/trial"
)

var whoami string // the instances' program, built once

// The test binary is also the generator.
func TestMain(m *testing.M) {
	labtest.Generate(load.Serve)
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		return m.Run()
	}))
}

func mixedLoads() []scenario.Load {
	rate := func(perSecond float64) scenario.Rate {
		return scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{perSecond}}
	}
	return []scenario.Load{
		{Name: "http", Protocol: scenario.HTTP, Call: scenario.Unary, Rate: rate(150), Deadline: 1500 * time.Millisecond, Retry: true},
		{Name: "unary", Protocol: scenario.GRPC, Call: scenario.Unary, Rate: rate(150), Channels: 3, Deadline: 1500 * time.Millisecond, Retry: true},
		{Name: "short", Protocol: scenario.GRPC, Call: scenario.Unary, Rate: rate(50), Channels: 2, Deadline: time.Millisecond},
		{Name: "watch", Protocol: scenario.GRPC, Call: scenario.Watch, Rate: rate(5), Channels: 1, Deadline: time.Second, Hold: 300 * time.Millisecond},
		{Name: "idle", Protocol: scenario.GRPC, Call: scenario.Idle, Rate: rate(10), Channels: 1, Deadline: 100 * time.Millisecond},
	}
}

// run runs a trial of the local fleet, and calls watch meanwhile.
func run(t *testing.T, s scenario.Scenario, watch func(dir string)) (dir string) {
	t.Helper()
	dir = proctest.Passable(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	local := fleet.Local{Nginx: labtest.Nginx(t), Whoami: whoami}
	err = trial.Run(t.Context(), trial.Setup{
		Scenario: s, Dir: dir, Nginx: "test", Trivet: self, Watch: func(*measure.Trial) { watch(dir) },
		Start: func(ctx context.Context, s scenario.Scenario, dir string, observe func(record.Event)) (trial.System, error) {
			return local.Start(ctx, s, dir, observe)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, dir string) *measure.Trial {
	t.Helper()
	m, err := measure.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func closed(t *testing.T, m *measure.Trial) measure.Result {
	t.Helper()
	r, err := m.Close()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A kill, a start, a paused instance and a reload under load: what real sources record of it fits together, live as afterwards; and when
// records of one of them are removed, it does not.
func TestRecordsOfRealTrialAreClean(t *testing.T) {
	t.Parallel()
	act := func(kind, name string) scenario.Action {
		return scenario.Action{Process: &scenario.ProcessAction{Kind: kind, Names: []string{name}}}
	}
	var live *measure.Trial
	dir := run(t, scenario.Scenario{
		Experiment: "test", Variant: scenario.Only, Seed: 5, Instances: 3, Workers: 2, Loads: mixedLoads(),
		Phases: []scenario.Phase{{Name: "before", For: time.Second}, {Name: "during", For: 2 * time.Second, Do: []scenario.Action{
			act(scenario.Kill, "whoami-2"), act(scenario.Pause, "whoami-3"), {Process: &scenario.ProcessAction{Kind: scenario.Reload, Names: []string{scenario.Nginx}}}, act(scenario.Start, "whoami-2"), act(scenario.Resume, "whoami-3"),
		}}, {Name: "after", For: time.Second}},
	}, func(dir string) {
		if live == nil {
			live = open(t, dir)
		}
		if err := live.Advance(); err != nil {
			t.Error(err)
		}
	})
	result := closed(t, live)
	if result.DiscrepancyCount > 0 || result.Ending.Event != record.Ended {
		t.Errorf("%d discrepancies: %v; %+v", result.DiscrepancyCount, result.Discrepancies, result.Ending)
	}
	if again := closed(t, open(t, dir)); !reflect.DeepEqual(again, result) {
		t.Errorf("afterwards %+v, live %+v", again, result)
	}
	for _, protocol := range []string{scenario.HTTP, scenario.GRPC} {
		for _, phase := range []string{"", "before", "during", "after"} {
			m, _ := result.Metrics(phase, protocol)
			if m.Requests == 0 || m.Executions == 0 || m.NginxAttempts == 0 {
				t.Errorf("%s %s: %+v", protocol, phase, m)
			}
			adjusted, _ := result.Adjusted(phase, protocol)
			if err := errors.Join(m.Validate(), adjusted.Validate()); err != nil {
				t.Errorf("%s %s: %v", protocol, phase, err)
			}
		}
		if m, _ := result.Metrics("", protocol); m.OK == 0 || m.FailedAttempts == 0 || m.RoundRobin.Configurations != 2 {
			t.Errorf("%s: %+v", protocol, m)
		}
	}
	spoil(t, dir)
	forge(t, dir)
}

// spoil removes the records that one source at a time has of the last requests that were OK: of others there may lawfully be none.
func spoil(t *testing.T, dir string) {
	t.Helper()
	ids := okIDs(t, dir)
	ids = ids[max(0, len(ids)-10):]
	for _, name := range []string{record.AccessLogFile, record.InstancesFile, record.ClientFile} {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kept := slices.DeleteFunc(strings.SplitAfter(string(whole), "\n"), func(line string) bool {
			return slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(line, `"id":"`+id+`"`) })
		})
		if err := os.WriteFile(path, []byte(strings.Join(kept, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := closed(t, open(t, dir)); r.DiscrepancyCount < len(ids) || len(r.Reasons) == 0 {
			t.Errorf("%d discrepancies without %s of %q", r.DiscrepancyCount, name, ids)
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// okIDs are the IDs of the requests that were OK, in the order in which they ended.
func okIDs(t *testing.T, dir string) (ids []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, record.ClientFile))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var c record.Client
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		if c.Outcome == record.OK {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// While 240 streams are open, nginx and the client have no record of any, and their shares are known all the same.
func TestProgressOfRealStreamsShowsShares(t *testing.T) {
	t.Parallel()
	var most map[string]int
	run(t, scenario.Scenario{
		Experiment: "test", Variant: scenario.Only, Seed: 6, Instances: 3, Workers: 2,
		Loads: []scenario.Load{{
			Name: scenario.GRPC, Protocol: scenario.GRPC, Call: scenario.Watch, Rate: scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{240}}, Channels: 3,
			Deadline: 5 * time.Second, Hold: 4 * time.Second,
		}},
		Phases: []scenario.Phase{{Name: "during", For: time.Second}},
	}, func(dir string) {
		m := open(t, dir)
		defer m.Close()
		if err := m.Advance(); err != nil {
			t.Error(err)
		}
		if p := m.Progress(); p.Protocols[scenario.GRPC] == (measure.Counts{}) {
			most = p.Executions[scenario.GRPC]
		}
	})
	sum := 0
	for _, n := range most {
		sum += n
	}
	if sum != 240 || len(most) != 3 {
		t.Errorf("with all streams open the shares are %v, want 240 over 3 instances", most)
	}
}
