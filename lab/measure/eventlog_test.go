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
	process := func(name, kind string, exit *record.Exit) event {
		return event{Event: record.ProcessEvent, Kind: kind, Process: name, Start: name, Exit: exit}
	}
	nginx := func(kind string, pid int, exit *record.Exit) event {
		return at(ms(1500), event{Event: record.NginxEvent, Kind: kind, PID: pid, Exit: exit})
	}
	health := func(process, kind string) event {
		return event{Event: record.HealthEvent, Kind: kind, Process: process}
	}
	killed := &record.Exit{Signal: "SIGKILL"}
	died := process("whoami-1", record.Died, killed)
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

		{[]event{end, at(-1, died)}, "before the load began"},
		{[]event{end, at(ms(1000), died)}, "whoami-1 died (signal SIGKILL) 1s after the load began, and no action killed it"},
		{[]event{end, at(ms(1000), process(scenario.Nginx, record.Died, &record.Exit{Code: 1}))}, "nginx died (exit code 1) 1s after the load began: it did not log"},
		{[]event{end, process("whoami-2", record.Stopped, nil)}, ""},
		{[]event{end, process(scenario.Nginx, record.Stopped, &record.Exit{})}, ""},
		{[]event{end, process(scenario.Nginx, record.Stopped, killed)}, "nginx did not stop and had to be killed (signal SIGKILL)"},

		{[]event{at(-ms(100), health("whoami-1", record.Serving)), at(ms(1000), health("whoami-1", record.NoResponse)), health("whoami-1", record.NotServing), end}, ""},
		{[]event{end, health("whoami-1", "fine")}, `records/events.jsonl: unknown kind "fine" of a health event`},
		{[]event{end, health("nginx", record.Serving)}, `records/events.jsonl: health of "nginx", which is no instance`},

		{[]event{end, at(ms(3600), event{Event: record.PhaseStarted, Phase: "a"})}, ""},
		{[]event{end, at(ms(3751), event{Event: record.PhaseStarted, Phase: "a"})}, "phase a started 3.751s after the load began, which is not its time"},
		{[]event{end, at(ms(3494), event{Event: record.PhaseStarted, Phase: "b"})}, "phase b started 3.494s after"},
		{[]event{end, at(ms(3500), event{Event: record.PhaseStarted, Phase: "b"})}, ""},
		{[]event{end, at(0, event{Event: record.PhaseStarted, Phase: "a"}), at(1, event{Event: record.PhaseStarted, Phase: "a"})}, "phase a started twice"},
		{[]event{end, at(0, event{Event: record.PhaseStarted, Phase: "c"})}, "records/events.jsonl has phase c, which manifest.json does not"},

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
			m.Scenario.Phases[0].Do = []scenario.Action{{Process: &scenario.ProcessAction{Kind: c.action, Names: []string{"whoami-1"}}}}
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

// A trial whose event log does not say that each phase started is invalid.
func TestPhaseWithoutEventMakesATrialInvalid(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second, time.Second)
	p.request(0, time.Millisecond, record.OK, 1)
	p.add(record.Event{Event: record.PhaseStarted, Phase: "a", Time: p.manifest.Begin}, record.Event{Event: record.Ended})
	want := "phase b did not start: records/events.jsonl has no event of it"
	if reasons := p.finish().Reasons; !slices.Contains(reasons, want) || strings.Contains(strings.Join(reasons, "\n"), "phase a") {
		t.Errorf("%q", reasons)
	}
}
