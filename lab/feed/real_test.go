package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
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

var programs string // the directory of the instances' programs, built once

// The test binary is also the generator.
func TestMain(m *testing.M) {
	labtest.Generate(load.Serve)
	os.Exit(labtest.WithPrograms(func(dir string) int {
		programs = dir
		return m.Run()
	}, "whoami", "front"))
}

// shown is what a page holds: what came before under the same number is replaced.
type shown struct {
	trial    Trial
	bins     map[int]Bin
	events   map[int]Event
	states   map[string]State
	failures map[string]Failure
}

func newShown() *shown {
	return &shown{bins: make(map[int]Bin), events: make(map[int]Event), states: make(map[string]State), failures: make(map[string]Failure)}
}

// apply takes messages as a page gets them, through JSON.
func (s *shown) apply(t *testing.T, all []Message) *shown {
	t.Helper()
	for line := range bytes.Lines(text(t, toAny(all)...)) {
		var m Message
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Trial != nil:
			s.trial = *m.Trial
		case m.Bins != nil:
			for _, b := range m.Bins.Bins {
				s.bins[b.N] = b
			}
		case m.Event != nil:
			s.events[m.Event.N] = *m.Event
		case m.State != nil:
			s.states[fmt.Sprint(m.State.Instance, m.State.At)] = *m.State
		case m.Failures != nil:
			for _, f := range m.Failures.Requests {
				s.failures[f.ID] = f
			}
		}
	}
	return s
}

func toAny[T any](all []T) (any []any) {
	for _, one := range all {
		any = append(any, one)
	}
	return any
}

// read is what is shown of a trial directory that is read afterwards.
func read(t *testing.T, dir string) *shown {
	t.Helper()
	source, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	advanced(t, source)
	return newShown().apply(t, source.Snapshot())
}

func advanced(t *testing.T, source interface{ Advance() error }) {
	t.Helper()
	if err := source.Advance(); err != nil {
		t.Fatal(err)
	}
}

// run runs a trial of the local fleet, which is shown meanwhile, and wants the same to be shown afterwards.
func run(t *testing.T, s scenario.Scenario) (dir string, all *shown) {
	t.Helper()
	dir = proctest.Passable(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	local := fleet.Local{Nginx: labtest.Nginx(t), Whoami: filepath.Join(programs, "whoami"), Front: filepath.Join(programs, "front")}
	var live *TrialSource
	all = newShown()
	watch := func() {
		if live == nil {
			if live, err = Open(dir, 0); err != nil {
				t.Fatal(err)
			}
		}
		advanced(t, live)
		all.apply(t, live.Changed())
	}
	err = trial.Run(t.Context(), trial.Setup{
		Scenario: s, Dir: dir, Nginx: "test", Trivet: self, Watch: func(*measure.Trial) { watch() },
		Start: func(ctx context.Context, s scenario.Scenario, dir string, observe func(record.Event)) (trial.System, error) {
			return local.Start(ctx, s, dir, observe)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	watch()
	all.equal(t, "live", newShown().apply(t, live.Snapshot()), "its snapshot")
	all.equal(t, "live", read(t, dir), "afterwards")
	if err := live.Close(); err != nil {
		t.Error(err)
	}
	return dir, all
}

func (s *shown) equal(t *testing.T, what string, other *shown, otherwise string) {
	t.Helper()
	if !reflect.DeepEqual(s.trial, other.trial) {
		t.Errorf("%s %+v\n%s %+v", what, s.trial, otherwise, other.trial)
	}
	same(t, what, s.bins, otherwise, other.bins)
	same(t, what, s.events, otherwise, other.events)
	same(t, what, s.states, otherwise, other.states)
	same(t, what, s.failures, otherwise, other.failures)
}

func same[K comparable, V any](t *testing.T, what string, all map[K]V, otherwise string, others map[K]V) {
	t.Helper()
	differences := 0
	for key := range others {
		if _, ok := all[key]; !ok {
			t.Errorf("%s has none of %v, and %s %+v", what, key, otherwise, others[key])
		}
	}
	for key, one := range all {
		if other, ok := others[key]; !ok || !reflect.DeepEqual(one, other) {
			if differences++; differences < 10 {
				t.Errorf("%s %s%s %s", what, text(t, one), otherwise, text(t, other))
			}
		}
	}
}

// sums are those over all bins.
type sums struct {
	flows     map[string]*Flow
	instances map[string]map[string]*Instant
	open      int
	late      int
}

func (s *shown) sums() sums {
	all := sums{flows: make(map[string]*Flow), instances: make(map[string]map[string]*Instant)}
	last := 0
	for n, b := range s.bins {
		last = max(last, n)
		for flow, of := range b.Flows {
			if all.flows[flow] == nil {
				all.flows[flow] = &Flow{}
			}
			sum := all.flows[flow]
			addInts(sum, *of)
			sum.Latency.merge(of.Latency)
			sum.FailedLatency.merge(of.FailedLatency)
		}
		for name, flows := range b.Instances {
			if all.instances[name] == nil {
				all.instances[name] = make(map[string]*Instant)
			}
			for flow, of := range flows {
				if all.instances[name][flow] == nil {
					all.instances[name][flow] = &Instant{}
				}
				addInts(all.instances[name][flow], *of)
			}
		}
		if b.Generator != nil {
			all.late += b.Generator.Late
		}
	}
	for _, flows := range s.bins[last].Instances {
		for _, of := range flows {
			all.open += of.Open
		}
	}
	return all
}

// addInts adds all numbers of a struct.
func addInts(sum, of any) {
	to, from := reflect.ValueOf(sum).Elem(), reflect.ValueOf(of)
	for i := range to.NumField() {
		if to.Field(i).Kind() == reflect.Int {
			to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
		}
	}
}

// at is an instance's sum over all flows of one number.
func (s sums) at(instance string, of func(Instant) int) (n int) {
	for _, one := range s.instances[instance] {
		n += of(*one)
	}
	return n
}

// overAll is the sum over all instances of one number of a flow.
func (s sums) overAll(flow string, of func(Instant) int) (n int) {
	for _, flows := range s.instances {
		if one := flows[flow]; one != nil {
			n += of(*one)
		}
	}
	return n
}

var flowNumbers = map[string]struct {
	feed     func(Flow) int
	measured func(measure.Metrics) int
}{
	"requests":          {func(f Flow) int { return f.Requests }, func(m measure.Metrics) int { return m.Requests }},
	"sum of outcomes":   {func(f Flow) int { return f.OK + f.InstanceErrors + f.NginxErrors + f.Incomplete + f.Dropped }, func(m measure.Metrics) int { return m.Requests }},
	"ok":                {func(f Flow) int { return f.OK }, func(m measure.Metrics) int { return m.OK }},
	"instance errors":   {func(f Flow) int { return f.InstanceErrors }, func(m measure.Metrics) int { return m.InstanceErrors }},
	"nginx errors":      {func(f Flow) int { return f.NginxErrors }, func(m measure.Metrics) int { return m.NginxErrors }},
	"incomplete":        {func(f Flow) int { return f.Incomplete }, func(m measure.Metrics) int { return m.Incomplete }},
	"dropped":           {func(f Flow) int { return f.Dropped }, func(m measure.Metrics) int { return m.Dropped }},
	"client attempts":   {func(f Flow) int { return f.ClientAttempts }, func(m measure.Metrics) int { return m.ClientAttempts }},
	"nginx attempts":    {func(f Flow) int { return f.NginxAttempts }, func(m measure.Metrics) int { return m.NginxAttempts }},
	"failed attempts":   {func(f Flow) int { return f.FailedAttempts }, func(m measure.Metrics) int { return m.FailedAttempts }},
	"in doubt":          {func(f Flow) int { return f.InDoubt }, func(m measure.Metrics) int { return m.InDoubt }},
	"no live upstreams": {func(f Flow) int { return f.NoLiveUpstreams }, func(m measure.Metrics) int { return m.NoLiveUpstreams }},
	"local replies":     {func(f Flow) int { return f.LocalReplies }, func(m measure.Metrics) int { return m.LocalReplies }},
	"latencies":         {func(f Flow) int { return f.Latency.count() }, func(m measure.Metrics) int { return m.Latency.Count }},
	"failed latencies":  {func(f Flow) int { return f.FailedLatency.count() }, func(m measure.Metrics) int { return m.FailedLatency.Count }},
}

// differences are where the sums over all bins are not what package measure counted. Each load has a name of its own.
func differences(s sums, r measure.Result) (all []string) {
	compare := func(got, want int, what string, args ...any) {
		if got != want {
			all = append(all, fmt.Sprintf(what, args...)+fmt.Sprintf(": %d, measured %d", got, want))
		}
	}
	flows := make(map[string][]measure.Metrics)
	var calls []measure.Metrics
	for _, l := range r.Manifest.Scenario.Loads {
		m, _ := r.Metrics("", l.Name)
		flows[Flows[flowOf(l)]] = append(flows[Flows[flowOf(l)]], m)
		for depth := 1; ; depth++ {
			of, ok := r.Metrics("", scenario.HopGroup(l.Name, depth))
			if !ok {
				break
			}
			calls = append(calls, of)
		}
	}
	sum := func(of []measure.Metrics, number func(measure.Metrics) int) (n int) {
		for _, m := range of {
			n += number(m)
		}
		return n
	}
	var everything []measure.Metrics
	late := 0
	for flow, of := range flows {
		everything = append(everything, of...)
		if s.flows[flow] == nil {
			s.flows[flow] = &Flow{}
		}
		for name, number := range flowNumbers {
			compare(number.feed(*s.flows[flow]), sum(of, number.measured), "%s: %s", flow, name)
		}
		late += sum(of, func(m measure.Metrics) int { return m.Late })
		compare(s.overAll(flow, func(i Instant) int { return i.OK }), sum(of, func(m measure.Metrics) int { return sumOf(m.OKByInstance) }), "%s: ok of all instances", flow)
		if len(calls) == 0 {
			compare(s.overAll(flow, func(i Instant) int { return i.Arrivals }), sum(of, func(m measure.Metrics) int { return m.Executions }), "%s: executions", flow)
			compare(s.overAll(flow, func(i Instant) int { return i.Attempts }), sum(of, func(m measure.Metrics) int { return m.NginxAttempts }), "%s: attempts at all instances", flow)
			compare(s.overAll(flow, func(i Instant) int { return i.Failed }), sum(of, func(m measure.Metrics) int { return m.FailedAttempts }), "%s: failed attempts at all instances", flow)
		}
		for _, i := range r.Manifest.Instances {
			one := s.instances[i.Name][flow]
			if one == nil {
				one = &Instant{}
			}
			compare(one.OK, sum(of, func(m measure.Metrics) int { return m.OKByInstance[i.Name] }), "%s: ok of %s", flow, i.Name)
			if len(calls) == 0 {
				compare(one.First, sum(of, func(m measure.Metrics) int { return m.FirstAttempts[i.Name] }), "%s: first attempts at %s", flow, i.Name)
			}
		}
	}
	compare(s.late, late, "late")
	both := slices.Concat(everything, calls)
	for _, i := range r.Manifest.Instances {
		compare(s.at(i.Name, func(i Instant) int { return i.First }), sum(both, func(m measure.Metrics) int { return m.FirstAttempts[i.Name] }), "first attempts at %s, calls included", i.Name)
	}
	total := func(of func(Instant) int) (n int) {
		for name := range s.instances {
			n += s.at(name, of)
		}
		return n
	}
	executions := func(m measure.Metrics) int { return m.Executions }
	compare(total(func(i Instant) int { return i.Arrivals - i.Hops }), sum(everything, executions), "executions")
	compare(total(func(i Instant) int { return i.Hops }), sum(calls, executions), "executions of calls")
	compare(total(func(i Instant) int { return i.Calls }), sum(calls, func(m measure.Metrics) int { return m.Requests }), "calls")
	compare(total(func(i Instant) int { return i.Attempts }), sum(both, func(m measure.Metrics) int { return m.NginxAttempts }), "attempts at all instances, calls included")
	compare(total(func(i Instant) int { return i.Failed }), sum(both, func(m measure.Metrics) int { return m.FailedAttempts }), "failed attempts at all instances, calls included")
	compare(s.open, 0, "in flight at the end")
	return all
}

func sumOf(counts map[string]int) (n int) {
	for _, one := range counts {
		n += one
	}
	return n
}

func measured(t *testing.T, dir string) measure.Result {
	t.Helper()
	m, err := measure.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Close()
	if err != nil {
		t.Fatal(err)
	}
	if r.DiscrepancyCount > 0 {
		t.Errorf("%d discrepancies: %v", r.DiscrepancyCount, r.Discrepancies)
	}
	return r
}

// checkSums wants the sums of a trial to be what was measured, and to differ when the records lack one of a kind.
func checkSums(t *testing.T, dir string, all *shown, kinds map[string]string) measure.Result {
	t.Helper()
	r := measured(t, dir)
	for _, d := range differences(all.sums(), r) {
		t.Error(d)
	}
	for _, l := range r.Manifest.Scenario.Loads {
		m, _ := r.Metrics("", l.Name)
		h := all.sums().flows[Flows[flowOf(l)]].Latency
		if want := m.Latency.P99; want != nil && h.count() == m.Latency.Count { // The only load of its flow.
			if got := h.percentile(990); math.Abs(got-float64(want.Microseconds())) > 1+0.011*float64(want.Microseconds()) { // Both are rounded.
				t.Errorf("%s: p99 %.0f µs, measured %v", l.Name, got, *want)
			}
		}
	}
	for name, part := range kinds {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(string(whole), "\n")
		lost := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, part) && !strings.Contains(l, record.ProbeIDPrefix) })
		if lost < 0 {
			t.Fatalf("%s has no %s", name, part)
		}
		if err := os.WriteFile(path, []byte(strings.Join(slices.Delete(lines, lost, lost+1), "")), 0o644); err != nil {
			t.Fatal(err)
		}
		if d := differences(read(t, dir).sums(), r); len(d) == 0 {
			t.Errorf("%s without a line of %s: the sums are the same", name, part)
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func act(kind string, names ...string) scenario.Action {
	return scenario.Action{Process: &scenario.ProcessAction{Kind: kind, Names: names}}
}

func perSecond(n float64) scenario.Rate {
	return scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{n}}
}

// Instances are killed, paused and started again under load of all kinds: what the page shows is what package measure counts, and says what
// happened.
func TestSumsOverBinsAreWhatIsMeasured(t *testing.T) {
	t.Parallel()
	deadline := 1500 * time.Millisecond
	dir, all := run(t, scenario.Scenario{
		Experiment: "test", Variant: scenario.Only, Seed: 5, Instances: 3, Workers: 2,
		Loads: []scenario.Load{
			{Name: "web", Protocol: scenario.HTTP, Call: scenario.Unary, Rate: perSecond(150), Deadline: deadline},
			{Name: "calls", Protocol: scenario.GRPC, Call: scenario.Unary, Rate: perSecond(150), Channels: 3, Deadline: deadline, Retry: true},
			{Name: "short", Protocol: scenario.GRPC, Call: scenario.Unary, Rate: perSecond(50), Channels: 2, Deadline: time.Millisecond},
			{Name: "watch", Protocol: scenario.GRPC, Call: scenario.Watch, Rate: perSecond(5), Channels: 1, Deadline: time.Second, Hold: 300 * time.Millisecond},
			{Name: "idle", Protocol: scenario.GRPC, Call: scenario.Idle, Rate: perSecond(10), Channels: 1, Deadline: 100 * time.Millisecond},
		},
		Phases: []scenario.Phase{{Name: "before", For: time.Second}, {Name: "during", For: 1500 * time.Millisecond, Do: []scenario.Action{
			act(scenario.Kill, "whoami-2"), act(scenario.Pause, "whoami-3"), act(scenario.Reload, scenario.Nginx), {Wait: &scenario.WaitAction{For: 300 * time.Millisecond}}, act(scenario.Start, "whoami-2"), act(scenario.Resume, "whoami-3"),
		}}, {Name: "after", For: time.Second}},
	})
	r := checkSums(t, dir, all, map[string]string{record.ClientFile: `"outcome":"ok"`, record.AccessLogFile: `"upstream_status":"200"`, record.InstancesFile: `"arrival"`})
	if m, _ := r.Metrics("", scenario.GRPC); m.FailedAttempts == 0 || m.InDoubt == 0 {
		t.Errorf("nothing failed: %+v", m)
	}
	failed := 0
	for _, f := range all.sums().flows {
		failed += f.InstanceErrors + f.NginxErrors + f.Incomplete
	}
	if len(all.failures) != failed {
		t.Errorf("%d failures are shown of %d", len(all.failures), failed)
	}
	if len(all.bins) < 35 || len(all.trial.Lacks) > 0 {
		t.Errorf("%d bins, lacks %q", len(all.bins), all.trial.Lacks)
	}
	var texts []string
	for n := range len(all.events) {
		texts = append(texts, all.events[n].Text)
	}
	want := []string{"phase before", "phase during", "whoami-2 killed", "whoami-3 paused", "nginx reloaded", "whoami-2 started", "whoami-3 resumed", "phase after"}
	if !slices.Equal(slices.DeleteFunc(texts, func(text string) bool { return !slices.Contains(want, text) }), want) {
		t.Errorf("%q", texts)
	}
	for instance, process := range map[string][]string{"whoami-1": {Running}, "whoami-2": {Running, Gone, Starting, Running}, "whoami-3": {Running, Paused, Running}} {
		if got := all.processes(instance); !slices.Equal(got, process) {
			t.Errorf("%s was %q, want %q", instance, got, process)
		}
	}
}

// processes are the states of an instance's process, one after the other.
func (s *shown) processes(instance string) (all []string) {
	var states []State
	for _, one := range s.states {
		if one.Instance == instance {
			states = append(states, one)
		}
	}
	slices.SortFunc(states, func(a, b State) int { return int(a.At - b.At) })
	for _, one := range states {
		all = append(all, one.Process)
	}
	return slices.Compact(all)
}

// Instances call each other, by way of nginx: what they are called for by others is theirs, and no request of the load.
func TestSumsOverBinsAreWhatIsMeasuredOfCallsBetweenInstances(t *testing.T) {
	t.Parallel()
	dir, all := run(t, scenario.Scenario{
		Experiment: "test", Variant: scenario.Only, Seed: 6, Instances: 3, Front: 2, Workers: 2,
		Loads: []scenario.Load{
			{Name: "chain", Protocol: scenario.GRPC, Call: scenario.Unary, Rate: perSecond(30), Channels: 2, Deadline: 5 * time.Second, Hops: []string{"grpc*3,http", "http,grpc*2"}, Retry: true},
			{Name: "pages", Protocol: scenario.HTTP, Call: scenario.Unary, Rate: perSecond(30), Deadline: 5 * time.Second, Request: scenario.Request{Path: scenario.FrontPath}},
		},
		Phases: []scenario.Phase{{Name: "before", For: 1500 * time.Millisecond, Do: []scenario.Action{{Wait: &scenario.WaitAction{For: 500 * time.Millisecond}}, act(scenario.Kill, "whoami-2")}}},
	})
	checkSums(t, dir, all, map[string]string{record.ClientFile: `"outcome":"ok"`, record.AccessLogFile: `"upstream_status":"200"`, record.InstancesFile: `"outgoing"`})
	if calls := all.sums().at("front-1", func(i Instant) int { return i.Calls }); calls == 0 {
		t.Error("front-1 made no call")
	}
}

// Of dropped and late requests there are no real ones that cost little.
func TestSumsOverBinsAreWhatIsMeasuredOfDroppedRequests(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(40)
	h := labtest.History{Manifest: m}
	for i := range 40 {
		all := labtest.Ordinary(m, i)
		switch client := all[3].(record.Client); i % 4 {
		case 1:
			client.Outcome, client.Reason, client.Code, client.Instance, client.Attempts, client.Latency, client.Service = record.Dropped, record.Overdue, "", "", 0, 0, 0
			client.Late = 1_500_000
			all = []any{client}
		case 2:
			client.Late, client.Latency = 300_000, 300_900
			all[3] = client
		}
		h.Records = append(h.Records, all...)
	}
	dir := labtest.TrialDir(t, m, h.Files(t))
	measuring, err := measure.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := measuring.Close()
	if err != nil {
		t.Fatal(err)
	}
	all := read(t, dir)
	for _, d := range differences(all.sums(), r) {
		t.Error(d)
	}
	if s := all.sums(); s.flows[HTTP].Dropped != 10 || s.late != 10 {
		t.Errorf("%d dropped, %d late", s.flows[HTTP].Dropped, s.late)
	}
}
