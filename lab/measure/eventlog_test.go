package measure

import (
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// What the event log says that makes a trial invalid, each with a sentence of its own.
func TestEventsThatMakeATrialInvalid(t *testing.T) {
	t.Parallel()
	type event = record.Event
	begin := plan(t, time.Second).manifest.Begin
	at := func(d time.Duration, e event) event {
		e.Time = begin.Add(d)
		return e
	}
	ms := func(n time.Duration) time.Duration { return n * time.Millisecond }
	starts := func(phase, action string) event {
		return event{Event: record.ActionStarted, Phase: phase, Action: action, Process: "whoami-1"}
	}
	done := func(phase, action, err string) event {
		return event{Event: record.ActionDone, Phase: phase, Action: action, Process: "whoami-1", Error: err}
	}
	process := func(name, kind string, exit *record.Exit) event {
		return event{Event: record.ProcessEvent, Kind: kind, Process: name, Start: name, Exit: exit}
	}
	nginx := func(kind string, pid int, exit *record.Exit) event {
		return at(ms(1500), event{Event: record.NginxEvent, Kind: kind, PID: pid, Exit: exit})
	}
	killed := &record.Exit{Signal: "SIGKILL"}
	kill, died := starts("a", scenario.Kill), process("whoami-1", record.Died, killed)
	wait, waited := event{Event: record.ActionStarted, Phase: "a", Action: scenario.Wait, Wait: 1_500_000}, event{Event: record.ActionDone, Phase: "a", Action: scenario.Wait}
	end := event{Event: record.Ended}
	for _, c := range []struct {
		events []event
		want   string // "": none
	}{
		{[]event{end}, "there is no record of any request"},
		{nil, `has no event "ended"`},
		{[]event{end, {Event: record.LabError, Error: "no room"}}, "the lab failed: no room"},
		{[]event{end, {Event: record.Interrupted, Error: "interrupt"}}, "the trial was interrupted: interrupt"},
		{[]event{end, {Event: "banana"}}, `records/events.jsonl: unknown event "banana"`},
		{[]event{end, {Event: record.GeneratorKilled}}, "the generator did not finish and was killed: 1000 of 1000 planned requests have no record"},

		{[]event{end, at(0, kill), at(1, died)}, ""},
		{[]event{end, at(0, kill), at(1, died), at(2, died)}, "whoami-1 died (signal SIGKILL) 0s after the load began, and no action killed it"},
		{[]event{end, at(0, kill), at(1, died), at(2, done("a", scenario.Kill, "")), at(ms(1000), died)}, "whoami-1 died (signal SIGKILL) 1s after"},
		{[]event{end, at(0, kill), at(1, process("whoami-1", record.Died, &record.Exit{Signal: "SIGSEGV"}))}, "whoami-1 died (signal SIGSEGV) 0s after the load began, and no action killed it"},
		{[]event{end, at(0, kill), at(1, process("whoami-1", record.Died, &record.Exit{Code: 1}))}, "whoami-1 died (exit code 1)"},
		{[]event{end, at(-1, died)}, "before the load began"},
		{[]event{end, at(ms(1000), process(scenario.Nginx, record.Died, &record.Exit{Code: 1}))}, "nginx died (exit code 1) 1s after the load began: it did not log"},
		{[]event{end, process("whoami-2", record.Stopped, nil)}, ""},
		{[]event{end, process(scenario.Nginx, record.Stopped, &record.Exit{})}, ""},
		{[]event{end, process(scenario.Nginx, record.Stopped, killed)}, "nginx did not stop and had to be killed (signal SIGKILL)"},

		{[]event{end, at(0, kill)}, "phase a: kill whoami-1 did not finish"},
		{[]event{end, at(0, kill), at(1, died), at(ms(3500), done("a", scenario.Kill, ""))}, ""},
		{[]event{end, at(1, done("a", scenario.Kill, ""))}, "phase a: kill whoami-1 ended: records/events.jsonl has no event of its start"},
		{[]event{end, at(ms(200), kill), at(ms(3501), done("a", scenario.Kill, ""))}, "phase a: kill whoami-1 outlasted the phase, and took 3.301s"},
		{[]event{end, at(0, kill), at(1, done("a", scenario.Kill, "no"))}, "phase a: kill whoami-1 failed: no"},
		{[]event{end, at(ms(250), kill)}, ""},
		{[]event{end, at(ms(251), kill)}, "phase a: kill whoami-1 started 251ms late"},
		{[]event{end, at(ms(1750), starts("a", scenario.Start)), at(ms(1800), done("a", scenario.Start, "")), at(ms(2000), kill)}, "phase a: start whoami-1 started 1.75s late"},
		{[]event{end, at(0, starts("a", scenario.Start)), at(1, process("whoami-1", record.Started, nil)), at(ms(3000), done("a", scenario.Start, "")), at(ms(3250), kill)}, ""},
		{[]event{end, at(0, starts("a", scenario.Start)), at(ms(3000), done("a", scenario.Start, "")), at(ms(3251), kill)}, "phase a: kill whoami-1 started 251ms late"},
		{[]event{end, at(ms(3750), starts("b", scenario.Kill))}, ""},
		{[]event{end, at(ms(5300), starts("b", scenario.Kill))}, "phase b: kill whoami-1 started 1.8s late"},
		{[]event{end, at(ms(3600), event{Event: record.PhaseStarted, Phase: "a"})}, ""},
		{[]event{end, at(0, wait), at(ms(1750), waited)}, ""},
		{[]event{end, at(0, wait), at(ms(1751), waited)}, "phase a: a wait of 1.5s took 251ms longer"},

		{[]event{end, nginx(record.WorkerEnded, 69, killed)}, "nginx's worker 69 ended (signal SIGKILL) about 2s after the load began"},
		{[]event{end, nginx(record.WorkerReplaced, 71, nil)}, "nginx started worker 71 about 2s after the load began"},
		{[]event{end, nginx(record.Reconfigured, 0, nil)}, "nginx was reloaded about 2s after the load began"},
		{[]event{end, nginx("painted", 0, nil)}, `unknown kind "painted" of an nginx event`},
	} {
		p := plan(t, ms(3500), ms(4000))
		for _, e := range c.events {
			p.add(e)
		}
		checkReasons(t, p.finish().Reasons, c.want)
	}
}

// An action that was done has an effect on its process: an event of it, while the action runs or soon after.
func TestActionWithoutEffectMakesATrialInvalid(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(1)
	exit := func(code int, signal string) *record.Exit { return &record.Exit{Code: code, Signal: signal} }
	type event struct {
		at   time.Duration // the action takes from 0 to 100 ms
		kind string
		exit *record.Exit
	}
	const soon, late = 350 * time.Millisecond, 351 * time.Millisecond
	for _, c := range []struct {
		action string
		events []event
		want   string // "": it has its effect
	}{
		{scenario.Kill, []event{{0, record.Died, exit(0, "SIGKILL")}}, ""},
		{scenario.Kill, []event{{soon, record.Died, exit(0, "SIGKILL")}}, ""},
		{scenario.Kill, []event{{late, record.Died, exit(0, "SIGKILL")}}, "died of SIGKILL"},
		{scenario.Kill, []event{{0, record.Died, exit(1, "")}}, "died of SIGKILL"},
		{scenario.Kill, []event{{0, record.Stopped, exit(0, "SIGKILL")}}, "died of SIGKILL"},
		{scenario.Kill, nil, "died of SIGKILL"},
		{scenario.Drain, []event{{0, record.Stopped, exit(0, "")}}, ""},
		{scenario.Drain, []event{{0, record.Stopped, exit(1, "")}}, ""},
		{scenario.Drain, []event{{0, record.Stopped, exit(2, "")}}, "stopped with exit code 0 or 1"},
		{scenario.Drain, []event{{0, record.Stopped, exit(0, "SIGTERM")}}, "stopped with exit code 0 or 1"},
		{scenario.Drain, []event{{0, record.Stopped, nil}}, "stopped with exit code 0 or 1"},
		{scenario.Drain, []event{{0, record.Died, exit(0, "")}}, "stopped with exit code 0 or 1"},
		{scenario.Start, []event{{0, record.Started, nil}}, ""},
		{scenario.Start, []event{{0, record.Ready, nil}}, "started"},
		{scenario.Start, nil, "started"},
		{scenario.Restart, []event{{0, record.Stopped, exit(0, "")}, {0, record.Started, nil}}, ""},
		{scenario.Restart, []event{{0, record.Stopped, exit(0, "")}}, "started"},
		{scenario.Restart, []event{{0, record.Started, nil}}, "stopped with exit code 0 or 1"},
		{scenario.Pause, nil, ""},
		{scenario.Reload, nil, ""},
	} {
		for _, failed := range []string{"", "no luck"} {
			log := newEventLog(m)
			log.add(record.Event{Event: record.ActionStarted, Phase: "before", Action: c.action, Process: "whoami-1", Time: m.Begin})
			done := record.Event{Event: record.ActionDone, Phase: "before", Action: c.action, Process: "whoami-1", Time: m.Begin.Add(100 * time.Millisecond), Error: failed}
			for _, e := range c.events {
				if e.at > 100*time.Millisecond {
					log.add(done)
					done.Event = ""
				}
				for _, process := range []string{"whoami-2", "whoami-1"} {
					log.add(record.Event{Event: record.ProcessEvent, Kind: e.kind, Process: process, Exit: e.exit, Time: m.Begin.Add(e.at)})
				}
			}
			if done.Event != "" {
				log.add(done)
			}
			log.add(record.Event{Event: record.Ended})
			want := "phase before: " + c.action + " whoami-1 was done, and records/events.jsonl has no event that whoami-1 " + c.want
			if got := log.open(); slices.Contains(got, want) != (c.want != "" && failed == "") {
				t.Errorf("%s %v: %q, want %q", c.action, c.events, got, c.want)
			}
		}
	}
}

// A trial whose event log does not say that each planned action was done, on each of its processes, is invalid.
func TestActionWithoutEventMakesATrialInvalid(t *testing.T) {
	t.Parallel()
	do := []scenario.Action{
		{Process: &scenario.ProcessAction{Kind: scenario.Reload, Names: []string{scenario.Nginx}}},
		{Process: &scenario.ProcessAction{Kind: scenario.Pause, Names: []string{"whoami-1", "whoami-2"}}},
		{Wait: &scenario.WaitAction{For: time.Second}},
		{},
	}
	all := []string{"reload nginx", "pause whoami-1", "pause whoami-2", "wait", ""}
	for missing := range all {
		m := labtest.Manifest(1)
		m.Scenario.Phases = []scenario.Phase{{Name: "a", For: time.Second, Do: do}}
		log := newEventLog(m)
		log.add(record.Event{Event: record.PhaseStarted, Phase: "a", Time: m.Begin})
		for i, name := range all {
			kind, process, _ := strings.Cut(name, " ")
			if e := (record.Event{Event: record.ActionStarted, Phase: "a", Action: kind, Process: process, Time: m.Begin}); i != missing {
				log.add(e)
				e.Event = record.ActionDone
				log.add(e)
			}
		}
		log.add(record.Event{Event: record.Ended})
		want := "phase a: " + all[missing] + " was not done: records/events.jsonl has no event of its end"
		if got := append(log.reasons, log.open()...); len(got) != 1 || got[0] != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A trial whose event log does not say that each phase started is invalid.
func TestPhaseWithoutEventMakesATrialInvalid(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second, time.Second)
	p.request(0, time.Millisecond, record.OK, 1)
	p.add(record.Event{Event: record.PhaseStarted, Phase: "a"}, record.Event{Event: record.Ended})
	want := "phase b did not start: records/events.jsonl has no event of it"
	if reasons := p.finish().Reasons; !slices.Contains(reasons, want) || strings.Contains(strings.Join(reasons, "\n"), "phase a") {
		t.Errorf("%q", reasons)
	}
}
