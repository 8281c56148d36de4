package ledger

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/lab/load"
)

// A run is a real one: a fleet, a generator, and the records of both.
type run struct {
	dir    string
	fleet  *fleet.Fleet
	scene  Scene
	live   *Ledger // which read along
	mu     sync.Mutex
	events *os.File
}

func (r *run) event(t *testing.T, e Event) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.V = SceneVersion; e.Time.IsZero() {
		e.Time = time.Now()
	}
	line, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.events.Write(append(line, '\n')); err != nil {
		t.Error(err)
	}
}

// do does one action, as the laboratory does.
func (r *run) do(t *testing.T, phase, verb, target string, what func() error) {
	t.Helper()
	r.event(t, Event{Event: ActionBegan, Phase: phase, Verb: verb, Target: target})
	done := Event{Event: ActionDone, Phase: phase, Verb: verb, Target: target}
	if err := what(); err != nil {
		done.Error = err.Error()
	}
	r.event(t, done)
}

// carryOut runs streams against three instances, with two workers, while actions are done from the first request on.
func carryOut(t *testing.T, phases []Phase, streams []load.Stream, act func(*run)) *run {
	t.Helper()
	r := &run{dir: proctest.Passable(t)}
	if err := os.Mkdir(filepath.Join(r.dir, "records"), 0o711); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.events, err = os.Create(filepath.Join(r.dir, EventsFile)); err != nil {
		t.Fatal(err)
	}
	defer r.events.Close()
	r.fleet, err = fleet.Start(t.Context(), fleet.Options{
		Instances: 3, Workers: 2, Whoami: whoami, Nginx: labtest.Nginx(t), Dir: r.dir, NoRestart: true,
		Env: []string{"RECORDS=" + filepath.Join(r.dir, InstancesFile), "REFLECTION=true"},
		Observe: func(e fleet.Event) {
			r.event(t, Event{Time: e.Time, Event: ProcessIs, Kind: string(e.Kind), Name: e.Name, PID: e.PID, Exit: e.Exit})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.fleet.Stop(context.WithoutCancel(t.Context()))
	plan := r.set(phases, streams)
	if err := r.scene.Write(r.dir); err != nil {
		t.Fatal(err)
	}
	if r.live, err = Open(r.dir); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	generator, err := load.Start(self, plan)
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Until(plan.Begin))
	r.event(t, Event{Event: PhaseBegan, Phase: phases[0].Name})
	acted := make(chan struct{})
	go func() { defer close(acted); act(r) }()
	r.follow(t, generator)
	<-acted
	if err := r.fleet.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	r.event(t, Event{Event: Ended})
	return r
}

// follow reads along until the load is over.
func (r *run) follow(t *testing.T, generator *load.Generator) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-generator.Done():
			if err := generator.Wait(); err != nil {
				t.Error(err)
			}
			return
		case <-tick.C:
			if err := r.live.Advance(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (r *run) set(phases []Phase, streams []load.Stream) load.Plan {
	f := r.fleet
	r.scene = Scene{
		V: SceneVersion, Experiment: "test", Variant: "only", Seed: 5, Begin: time.Now().Add(700 * time.Millisecond), Phases: phases,
		HTTP: f.HTTP(), GRPC: f.GRPC(), Workers: 2,
	}
	for _, name := range f.Names() {
		r.scene.Instances = append(r.scene.Instances, Instance{Name: name, HTTP: f.Process(name).HTTP(), GRPC: f.Process(name).GRPC()})
	}
	plan := load.Plan{
		Seed: r.scene.Seed, HTTP: f.HTTP(), GRPC: f.GRPC(), Records: filepath.Join(r.dir, ClientFile), Begin: r.scene.Begin, For: r.scene.end(), Streams: streams,
	}
	for _, s := range streams {
		r.scene.Loads = append(r.scene.Loads, Load{Name: s.Protocol + s.Call, Protocol: s.Protocol, Planned: s.Count(plan.For)})
		r.scene.Settle = max(r.scene.Settle, s.Deadline+time.Second)
	}
	return plan
}

// A kill, a start, a stopped instance and a reload under load: what real witnesses say of it fits together, to whom reads along as to
// whom reads later; and when something is taken from one of them, it does not.
func TestARealRunBalances(t *testing.T) {
	t.Parallel()
	rate := func(perSecond float64) []load.Point { return []load.Point{{Rate: perSecond}} }
	phases := []Phase{{"before", time.Second}, {"during", 2 * time.Second}, {"after", time.Second}}
	r := carryOut(t, phases, []load.Stream{
		{Protocol: load.HTTP, Call: load.Unary, Rate: rate(150), Deadline: 300 * time.Millisecond, Retry: true},
		{Protocol: load.GRPC, Call: load.Unary, Rate: rate(150), Channels: 3, Deadline: 300 * time.Millisecond, Retry: true},
		{Protocol: load.GRPC, Call: load.Unary, Rate: rate(50), Channels: 2, Deadline: time.Millisecond},
		{Protocol: load.GRPC, Call: load.Watch, Rate: rate(5), Channels: 1, Deadline: time.Second, Hold: 300 * time.Millisecond},
		{Protocol: load.GRPC, Call: load.Silent, Rate: rate(10), Channels: 1, Deadline: 100 * time.Millisecond},
	}, func(r *run) {
		<-time.After(time.Until(r.scene.Begin.Add(time.Second)))
		second, third := r.fleet.Process("whoami-2"), r.fleet.Process("whoami-3")
		r.do(t, "during", "kill", "whoami-2", func() error { return second.Signal(syscall.SIGKILL) })
		r.do(t, "during", "stop", "whoami-3", func() error { return third.Signal(syscall.SIGSTOP) })
		r.do(t, "during", "reload", "nginx", func() error { return r.fleet.Reload(t.Context()) })
		r.do(t, "during", "start", "whoami-2", func() error { return second.Start(t.Context()) })
		r.do(t, "during", "cont", "whoami-3", func() error { return third.Signal(syscall.SIGCONT) })
	})
	live, err := r.live.Close()
	if err != nil || !live.Balanced() {
		t.Errorf("%d breaches, %v: %v", live.Total, err, live.Breaches)
	}
	later, balance := closed(t, r.dir)
	if !reflect.DeepEqual(balance, live) {
		t.Errorf("later %+v, along the way %+v", balance, live)
	}
	for _, name := range []string{load.HTTP, load.GRPC} {
		for _, phase := range []string{"", "before", "during", "after"} {
			one, _ := r.live.Figures(phase, name)
			other, _ := later.Figures(phase, name)
			if !reflect.DeepEqual(one, other) || one.OK == 0 || one.Executions == 0 || one.NginxAttempts == 0 {
				t.Errorf("%s %s: along the way %+v, later %+v", phase, name, one, other)
			}
		}
		if f, _ := later.Figures("during", name); f.FailedAttempts == 0 || f.Turn.Generations != 2 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	r.spoil(t)
}

// spoil takes what one witness at a time says of the last requests that were answered: of others it may lawfully say nothing.
func (r *run) spoil(t *testing.T) {
	t.Helper()
	answered := r.answered(t)
	answered = answered[max(0, len(answered)-10):]
	for _, name := range []string{NginxFile, InstancesFile, ClientFile} {
		whole, err := os.ReadFile(filepath.Join(r.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		kept := slices.DeleteFunc(strings.SplitAfter(string(whole), "\n"), func(line string) bool {
			return slices.ContainsFunc(answered, func(id string) bool { return strings.Contains(line, `"id":"`+id+`"`) })
		})
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(strings.Join(kept, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, balance := closed(t, r.dir); balance.Total < len(answered) || balance.Valid() {
			t.Errorf("%d breaches without %s of %q", balance.Total, name, answered)
		}
		if err := os.WriteFile(filepath.Join(r.dir, name), whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, balance := closed(t, r.dir); !balance.Balanced() {
		t.Errorf("it does not balance when all is as it was: %v", balance.Breaches)
	}
}

// answered are the ids of the requests that were OK, in the order in which they were.
func (r *run) answered(t *testing.T) (ids []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, ClientFile))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var one load.Record
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		if one.Outcome == load.OK {
			ids = append(ids, one.ID)
		}
	}
	return ids
}
