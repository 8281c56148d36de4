package measure

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

func do(kind string, names ...string) scenario.Action {
	return scenario.Action{Process: &scenario.ProcessAction{Kind: kind, Names: names}}
}

func waitFor(d time.Duration) scenario.Action {
	return scenario.Action{Wait: &scenario.WaitAction{For: d}}
}

// busy is a manifest of two phases with every kind of order, and its lawful event log.
func busy() (record.Manifest, []record.Event) {
	m := labtest.Manifest(1)
	m.Scenario.Phases = []scenario.Phase{
		{Name: "a", For: 3 * time.Second, Do: []scenario.Action{
			{Together: []scenario.Action{do(scenario.Kill, "whoami-1"), do(scenario.Pause, "whoami-2", "whoami-3")}},
			waitFor(time.Second),
			{Repeat: &scenario.RepeatAction{Times: 2, Every: 500 * time.Millisecond, Do: []scenario.Action{do(scenario.Reload, scenario.Nginx), waitFor(100 * time.Millisecond)}}},
		}},
		{Name: "b", For: 3 * time.Second, Do: []scenario.Action{
			do(scenario.Start, "whoami-1"), do(scenario.Kill, scenario.Nginx), do(scenario.Start, scenario.Nginx), do(scenario.Kill, scenario.WorkerName(1)), do(scenario.Restart, scenario.Nginx),
		}},
		{Name: "c", For: time.Second},
	}
	var log []record.Event
	add := func(at time.Duration, e record.Event) {
		e.Time = m.Begin.Add(at)
		log = append(log, e)
	}
	phase := func(name string, at time.Duration) { add(at, record.Event{Event: record.PhaseStarted, Phase: name}) }
	operation := func(name string, n int, from, to time.Duration) {
		o := m.Scenario.Phases[m.Scenario.Phase(name)].Operations()[n]
		e := record.Event{Event: record.ActionStarted, Phase: name, Operation: n, Action: o.Kind, Process: o.Process, Wait: o.Wait.Microseconds()}
		add(from, e)
		for _, kind := range effects(&operation{Operation: o}) {
			exit := record.Exit{}
			if kind == record.Died {
				exit.Signal = "SIGKILL"
			}
			add(to, record.Event{Event: record.ProcessEvent, Kind: kind, Process: o.Process, Exit: &exit})
		}
		e.Event, e.Wait = record.ActionDone, 0
		add(to, e)
	}
	const ms = time.Millisecond
	phase("a", 0)
	operation("a", 0, 1*ms, 10*ms) // kill
	operation("a", 1, 1*ms, 5*ms)  // pause
	operation("a", 2, 5*ms, 9*ms)
	operation("a", 3, 11*ms, 1012*ms) // wait
	operation("a", 4, 1013*ms, 1100*ms)
	operation("a", 5, 1100*ms, 1200*ms)
	operation("a", 6, 1513*ms, 1600*ms)
	operation("a", 7, 1600*ms, 1700*ms)
	phase("b", 3000*ms)
	operation("b", 0, 3000*ms, 3100*ms)
	operation("b", 1, 3100*ms, 3200*ms)
	operation("b", 2, 3200*ms, 3300*ms)
	operation("b", 3, 3300*ms, 3400*ms)
	operation("b", 4, 3400*ms, 3500*ms)
	phase("c", 6000*ms)
	add(7000*ms, record.Event{Event: record.Ended})
	return m, log
}

// judged are the reasons that the event log gives.
func judged(m record.Manifest, log []record.Event) []string {
	l := newEventLog(m)
	for _, e := range log {
		l.add(e)
	}
	return append(l.reasons, l.open()...)
}

func TestLawfulEventLogGivesNoReason(t *testing.T) {
	t.Parallel()
	m, log := busy()
	if got := judged(m, log); len(got) > 0 {
		t.Errorf("%q", got)
	}
	l := newEventLog(m)
	for _, e := range log {
		l.add(e)
	}
	// Two reloads; a start of nginx, a worker that another replaces, and a restart.
	if a, b := l.resetsWithin(0, 3*time.Second), l.resetsWithin(3*time.Second, 6*time.Second); a != 2 || b != 3 {
		t.Errorf("%d and %d new rotations of nginx", a, b)
	}
}

// An event log that lacks any event, has one twice, or at another time, phase or place, makes the trial invalid.
func TestEachEventOfAnActionIsNeeded(t *testing.T) {
	t.Parallel()
	m, lawful := busy()
	for i, e := range lawful {
		if e.Event == record.Ended || e.Event == record.ProcessEvent {
			continue
		}
		name := fmt.Sprintf("%s of %s %d, phase %s", e.Event, e.ActionName(), e.Operation, e.Phase)
		for what, change := range map[string]func([]record.Event) []record.Event{
			"missing": func(log []record.Event) []record.Event { return slices.Delete(log, i, i+1) },
			"twice":   func(log []record.Event) []record.Event { return slices.Insert(log, i+1, e) },
			"earlier": func(log []record.Event) []record.Event {
				log[i].Time = m.Begin.Add(-time.Second)
				return log
			},
			"of another phase": func(log []record.Event) []record.Event {
				log[i].Phase = map[string]string{"a": "b", "b": "c", "c": "a"}[e.Phase]
				return log
			},
			"of an unknown phase": func(log []record.Event) []record.Event {
				log[i].Phase = "never"
				return log
			},
			"another operation": func(log []record.Event) []record.Event {
				if log[i].Operation += 100; e.Event == record.PhaseStarted {
					return nil
				}
				return log
			},
			"of another process": func(log []record.Event) []record.Event {
				if log[i].Process = "whoami-9"; e.Event == record.PhaseStarted {
					return nil
				}
				return log
			},
			"much later": func(log []record.Event) []record.Event {
				log[i].Time = e.Time.Add(4 * time.Second)
				return log
			},
		} {
			if got := judged(m, change(slices.Clone(lawful))); len(got) == 0 {
				t.Errorf("%s: %s: no reason", name, what)
			}
		}
	}
}

// An action of which both events are missing, or all of a phase's, is named.
func TestMissingActionsAreNamed(t *testing.T) {
	t.Parallel()
	m, lawful := busy()
	for n, o := range m.Scenario.Phases[0].Operations() {
		log := slices.DeleteFunc(slices.Clone(lawful), func(e record.Event) bool {
			return e.Phase == "a" && e.Event != record.PhaseStarted && e.Operation == n || e.Event == record.ProcessEvent && e.Process == o.Process && o.Kind == scenario.Kill && e.Time.Before(m.Begin.Add(time.Second))
		})
		want := "phase a: " + o.Name() + " was not done: records/events.jsonl has no event of it"
		if got := judged(m, log); !slices.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	log := slices.DeleteFunc(slices.Clone(lawful), func(e record.Event) bool { return e.Phase == "b" })
	got := strings.Join(judged(m, log), "\n")
	for _, want := range []string{"phase b did not start", "phase b: kill nginx was not done", "phase b: start whoami-1 was not done", "nginx died (signal SIGKILL) 3.2s after the load began: it did not log"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// What each action did late, early, for too long or in vain.
func TestActionsThatMakeATrialInvalid(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, c := range []struct {
		change func(*record.Event) // of "a", operation 3: a wait of 1 s from 11 ms
		event  string
		want   string // "": none
	}{
		{func(e *record.Event) { e.Time = e.Time.Add(249 * ms) }, record.ActionStarted, "ended 752ms after its start"},
		{func(e *record.Event) { e.Time = e.Time.Add(251 * ms) }, record.ActionStarted, "wait started 252ms late; give the lab"},
		{func(e *record.Event) { e.Time = e.Time.Add(-5 * ms) }, record.ActionStarted, ""},
		{func(e *record.Event) { e.Time = e.Time.Add(-7 * ms) }, record.ActionStarted, "wait started 6ms early"},
		{func(e *record.Event) { e.Wait-- }, record.ActionStarted, "a wait is of 999.999ms in records/events.jsonl, and of 1s in manifest.json"},
		{func(e *record.Event) { e.Time = e.Time.Add(250 * ms) }, record.ActionDone, "a wait of 1s took 251ms longer"},
		{func(e *record.Event) { e.Time = e.Time.Add(2500 * ms) }, record.ActionDone, "a wait of 1s took 2.501s longer"},
		{func(e *record.Event) { e.Error = "no" }, record.ActionDone, "phase a: wait failed: no"},
	} {
		m, log := busy()
		for i := range log {
			if log[i].Phase == "a" && log[i].Event == c.event && log[i].Operation == 3 {
				c.change(&log[i])
			}
		}
		got := strings.Join(judged(m, log), "\n")
		if !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	// The last action of a phase, which no other one follows.
	m, log := busy()
	i := slices.IndexFunc(log, func(e record.Event) bool { return e.Phase == "b" && e.Operation == 4 && e.Event == record.ActionDone })
	log[i].Time = m.Begin.Add(6001 * ms)
	if got := judged(m, log); !slices.Contains(got, "phase b: restart nginx outlasted the phase, and took 2.601s; make the phase longer") {
		t.Errorf("%q", got)
	}
	// A trial that has not ended.
	if got := judged(m, log[:2]); !slices.Contains(got, "phase a: kill whoami-1 did not finish: records/events.jsonl has no event of its end") {
		t.Errorf("%q", got)
	}
}

// Deaths are requested by one action each, while it runs or soon after.
func TestDeathsAreRequested(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		process, exit string
		at            time.Duration
		want          string // "": requested
	}{
		{"whoami-1", `{"signal":"SIGKILL"}`, 10 * time.Millisecond, ""},
		{"whoami-1", `{"signal":"SIGSEGV"}`, 10 * time.Millisecond, "whoami-1 died (signal SIGSEGV) 10ms after the load began, and no action killed it"},
		{"whoami-1", `{"code":1}`, 10 * time.Millisecond, "whoami-1 died (exit code 1)"},
		{"whoami-2", `{"signal":"SIGKILL"}`, 10 * time.Millisecond, "whoami-2 died (signal SIGKILL)"},
	} {
		m, log := busy()
		for i := range log {
			if log[i].Event == record.ProcessEvent && log[i].Kind == record.Died && log[i].Process == "whoami-1" {
				log[i].Process, log[i].Exit = c.process, &record.Exit{}
				if err := json.Unmarshal([]byte(c.exit), log[i].Exit); err != nil {
					t.Fatal(err)
				}
			}
		}
		got := strings.Join(judged(m, log), "\n")
		if !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Actions pause a process from the start of a pause to the end of what ends it; those on nginx are on its workers too.
func TestPausedTimes(t *testing.T) {
	t.Parallel()
	l := eventLog{}
	add := func(at time.Duration, kind, process string, done bool) {
		l.pauses = append(l.pauses, pauseEvent{at, kind, process, done})
	}
	worker := scenario.WorkerName(1)
	add(1, scenario.Pause, "whoami-1", false)
	add(2, scenario.Pause, "whoami-1", true)
	add(5, scenario.Resume, "whoami-1", false)
	add(6, scenario.Resume, "whoami-1", true)
	add(10, scenario.Pause, scenario.Nginx, false)
	add(12, scenario.Resume, worker, true)
	add(14, scenario.Reload, scenario.Nginx, true)
	add(15, scenario.Kill, scenario.Nginx, true)
	add(20, scenario.Pause, worker, false)
	const end = 1<<63 - 1
	for process, want := range map[string][]span{
		"whoami-1": {{1, 6}}, "whoami-2": nil, scenario.Nginx: {{10, 15}}, worker: {{10, 12}, {20, end}}, scenario.WorkerName(2): {{10, 15}}, scenario.Generator: nil,
	} {
		if got := l.paused(process); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", process, got, want)
		}
	}
}
