package measure

import (
	"fmt"
	"slices"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// An eventLog is what the lab's events say about the trial's validity, and when nginx started its round robin anew.
type eventLog struct {
	manifest record.Manifest
	phase    string            // the last that has started
	started  map[string]bool   // phases
	running  []record.Event    // actions
	planned  map[operation]int // how often each is still to be done
	last     time.Duration     // when the last action was done, since the start of the trial
	effects  []effect          // of actions, as long as no event shows them
	resets   []span            // when nginx started its round robin anew
	reasons  []string
	killed   bool         // the generator, at the end
	ending   record.Event // of Ended, LabError or Interrupted the last
}

// An operation is an action on a process in a phase.
type operation struct{ phase, kind, process string }

func operationOf(e record.Event) operation { return operation{e.Phase, e.Action, e.Process} }

// A span is a time since the start of the trial.
type span struct{ from, to time.Duration }

func newEventLog(m record.Manifest) eventLog {
	l := eventLog{manifest: m, started: make(map[string]bool), planned: make(map[operation]int)}
	for _, p := range m.Scenario.Phases {
		for _, o := range p.Operations() {
			l.planned[operation{p.Name, o.Kind, o.Process}]++
		}
	}
	return l
}

func (l *eventLog) reason(what string, args ...any) {
	l.reasons = append(l.reasons, fmt.Sprintf(what, args...))
}

func (l *eventLog) add(e record.Event) {
	switch e.Event {
	case record.PhaseStarted:
		l.phase, l.started[e.Phase] = e.Phase, true
	case record.ActionStarted:
		l.running = append(l.running, e)
		l.checkStart(e)
		l.expectEffects(e)
	case record.ActionDone:
		l.done(e)
	case record.ProcessEvent:
		l.process(e)
	case record.NginxEvent:
		l.nginx(e)
	case record.Probe:
	case record.GeneratorKilled:
		l.killed = true
	case record.Ended:
		l.ending = e
	case record.LabError:
		l.ending = e
		l.reason("the lab failed: %s", e.Error)
	case record.Interrupted:
		l.ending = e
		l.reason("the trial was interrupted: %s", e.Error)
	default:
		l.reason("%s: unknown event %q", record.EventsFile, e.Event)
	}
}

func (l *eventLog) since(e record.Event) time.Duration { return e.Time.Sub(l.manifest.Begin) }

// checkStart checks that an action started as planned: with its phase, or after the action before it. A phase without actions starts when
// the load's plan says, whenever its event is written.
func (l *eventLog) checkStart(e record.Event) {
	from, _ := l.bounds(e.Phase)
	if late := l.since(e) - max(from, l.last); late > MaxLateness {
		l.reason("phase %s: %s started %v late; give the lab more of the machine", e.Phase, e.ActionName(), late.Round(time.Millisecond))
	}
}

func (l *eventLog) done(e record.Event) {
	started, wait := e.Time, time.Duration(0)
	i := slices.IndexFunc(l.running, func(r record.Event) bool { return operationOf(r) == operationOf(e) })
	if i >= 0 {
		started, wait = l.running[i].Time, time.Duration(l.running[i].Wait)*time.Microsecond
		l.running = slices.Delete(l.running, i, i+1)
	}
	l.endEffects(e)
	l.last = l.since(e)
	l.planned[operationOf(e)]--
	_, to := l.bounds(e.Phase)
	switch over := e.Time.Sub(started) - wait; {
	case e.Error != "":
		l.reason("phase %s: %s failed: %s", e.Phase, e.ActionName(), e.Error)
	case i < 0:
		l.reason("phase %s: %s ended: %s has no event of its start", e.Phase, e.ActionName(), record.EventsFile)
	case wait > 0 && over > MaxLateness:
		l.reason("phase %s: a wait of %v took %v longer; give the lab more of the machine", e.Phase, wait, over.Round(time.Millisecond))
	case l.last > to:
		l.reason("phase %s: %s outlasted the phase, and took %v; make the phase longer", e.Phase, e.ActionName(), e.Time.Sub(started).Round(time.Millisecond))
	}
	if e.Action == scenario.Reload {
		l.resets = append(l.resets, span{started.Sub(l.manifest.Begin), l.last})
	}
}

// bounds are when a phase starts and ends; of an unknown one, the end of the trial.
func (l *eventLog) bounds(phase string) (from, to time.Duration) {
	if i := l.manifest.Scenario.Phase(phase); i >= 0 {
		return l.manifest.Scenario.Bounds(i)
	}
	return l.manifest.Scenario.Length(), l.manifest.Scenario.Length()
}

func (l *eventLog) process(e record.Event) {
	at, nginx, requested := l.since(e), e.Process == scenario.Nginx, l.takeEffect(e)
	switch {
	case e.Kind == record.Started && nginx && at > 0:
		l.resets = append(l.resets, span{at, at})
	case e.Kind == record.Died && nginx:
		l.reason("nginx died (%s) %s: it did not log the requests that were open, nor any until it was started again", exit(e), when(at))
	case e.Kind == record.Stopped && nginx && e.Exit != nil && e.Exit.Killed():
		l.reason("nginx did not stop and had to be killed (%s) %s: it did not log the requests that were open", exit(e), when(at))
	case e.Kind == record.Died && !requested:
		l.reason("%s died (%s) %s, and no action killed it; its log is in the trial directory", e.Process, exit(e), when(at))
	}
}

// nginx takes what no action requested. nginx's log has whole seconds.
func (l *eventLog) nginx(e record.Event) {
	about := (l.since(e) + time.Second/2).Round(time.Second)
	at := when(about)
	if about >= 0 {
		at = "about " + at
	}
	switch e.Kind {
	case record.WorkerEnded:
		l.reason("nginx's worker %d ended (%s) %s, and no action requested that: it did not log the requests that were open", e.PID, exit(e), at)
	case record.WorkerReplaced:
		l.reason("nginx started worker %d %s in place of one that ended, and no action requested that", e.PID, at)
	case record.Reconfigured:
		l.reason("nginx was reloaded %s, and no action requested that", at)
	default:
		l.reason("%s: unknown kind %q of an nginx event", record.EventsFile, e.Kind)
	}
}

func exit(e record.Event) string {
	if e.Exit == nil {
		return "exit unknown"
	}
	return e.Exit.String()
}

func when(at time.Duration) string {
	if at < 0 {
		return "before the load began"
	}
	return fmt.Sprintf("%v after the load began", at.Round(time.Millisecond))
}

// resetsWithin counts how often nginx started its round robin anew in a time.
func (l *eventLog) resetsWithin(from, to time.Duration) int {
	n := 0
	for _, r := range l.resets {
		if r.to >= from && r.from < to {
			n++
		}
	}
	return n
}

// open are the reasons for what was not over when everything had been read.
func (l *eventLog) open() []string {
	var all []string
	for _, p := range l.manifest.Scenario.Phases {
		if l.ending.Event == record.Ended && !l.started[p.Name] {
			all = append(all, fmt.Sprintf("phase %s did not start: %s has no event of it", p.Name, record.EventsFile))
		}
		for _, s := range l.missing(p) {
			all = append(all, fmt.Sprintf("phase %s: %s was not done: %s has no event of its end", p.Name, s, record.EventsFile))
		}
	}
	for _, e := range l.running {
		all = append(all, fmt.Sprintf("phase %s: %s did not finish", e.Phase, e.ActionName()))
	}
	if l.ending.Event == record.Ended {
		all = append(all, l.withoutEffect()...)
	}
	if l.ending.Event == "" {
		all = append(all, fmt.Sprintf("%s has no event %q: the trial was broken off, or still runs", record.EventsFile, record.Ended))
	}
	return all
}

// missing are the planned actions of a phase that were not done in a trial that has ended, each once.
func (l *eventLog) missing(p scenario.Phase) []string {
	var all []string
	for _, o := range p.Operations() {
		if l.ending.Event == record.Ended && l.planned[operation{p.Name, o.Kind, o.Process}] > 0 && !slices.Contains(all, o.Name()) {
			all = append(all, o.Name())
		}
	}
	return all
}
