package measure

import (
	"fmt"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// early is by how much an event may be before its planned time: times are cut to microseconds, and of two that follow from each other one
// is read again.
const early = 5 * time.Millisecond

// An operation is what the event log says about one operation of a phase.
type operation struct {
	scenario.Operation
	phase, index int
	started      *time.Duration // since the start of the phase
	ended        *time.Duration
}

// operationsOf are those of a scenario, by phase.
func operationsOf(s scenario.Scenario) [][]*operation {
	all := make([][]*operation, len(s.Phases))
	for i, phase := range s.Phases {
		for n, o := range phase.Operations() {
			all[i] = append(all[i], &operation{Operation: o, phase: i, index: n})
		}
	}
	return all
}

// operation is the planned one that an event belongs to; nil, and a reason, if it belongs to none.
func (l *eventLog) operation(e record.Event) *operation {
	phase := l.manifest.Scenario.Phase(e.Phase)
	if phase >= 0 && e.Operation >= 0 && e.Operation < len(l.operations[phase]) {
		if o := l.operations[phase][e.Operation]; o.Kind == e.Action && o.Process == e.Process {
			return o
		}
	}
	if e.Error == "" { // Else that it failed is reason enough.
		l.reason("phase %s: %s has %s as operation %d, which %s does not", e.Phase, record.EventsFile, e.ActionName(), e.Operation, record.ManifestFile)
	}
	return nil
}

// inPhase is the time of an event since the start of a phase.
func (l *eventLog) inPhase(phase int, e record.Event) time.Duration {
	from, _ := l.manifest.Scenario.Bounds(phase)
	return l.since(e) - from
}

// start takes the event of an operation's start.
func (l *eventLog) start(e record.Event) {
	o := l.operation(e)
	switch {
	case o == nil:
		return
	case o.started != nil:
		l.reason("phase %s: %s started twice: %s has two events of it", e.Phase, o.Name(), record.EventsFile)
		return
	case o.Kind == scenario.Wait && e.Wait != o.Wait.Microseconds():
		l.reason("phase %s: a wait is of %v in %s, and of %v in %s", e.Phase, time.Duration(e.Wait)*time.Microsecond, record.EventsFile, o.Wait, record.ManifestFile)
	}
	at := l.inPhase(o.phase, e)
	o.started = &at
	l.checkStart(o)
	l.expectEffects(o)
	l.pauses = append(l.pauses, pauseEvent{l.since(e), o.Kind, o.Process, false})
}

// checkStart checks that an operation started when it was planned: with its phase, when those before it were done, or at its time.
func (l *eventLog) checkStart(o *operation) {
	times := func(of func(*operation) *time.Duration) func(int) (time.Duration, bool) {
		return func(i int) (time.Duration, bool) {
			if at := of(l.operations[o.phase][i]); at != nil {
				return *at, true
			}
			return 0, false
		}
	}
	phase := l.manifest.Scenario.Phases[o.phase].Name
	planned, ok := o.Planned(times(func(o *operation) *time.Duration { return o.started }), times(func(o *operation) *time.Duration { return o.ended }))
	switch late := *o.started - planned; {
	case !ok:
		l.reason("phase %s: %s started before what it had to wait for was done", phase, o.Name())
	case late > MaxLateness:
		l.reason("phase %s: %s started %v late; give the lab more of the machine", phase, o.Name(), round(late))
	case late < -early:
		l.reason("phase %s: %s started %v early", phase, o.Name(), round(-late))
	}
}

// done takes the event of an operation's end.
func (l *eventLog) done(e record.Event) {
	if e.Error != "" {
		l.reason("phase %s: %s failed: %s", e.Phase, e.ActionName(), e.Error)
	}
	o := l.operation(e)
	switch {
	case o == nil:
		return
	case o.ended != nil:
		l.reason("phase %s: %s ended twice: %s has two events of it", e.Phase, o.Name(), record.EventsFile)
		return
	}
	at := l.inPhase(o.phase, e)
	o.ended = &at
	l.endEffects(o, e)
	l.pauses = append(l.pauses, pauseEvent{l.since(e), o.Kind, o.Process, true})
	if e.Error != "" {
		return
	}
	if o.started == nil {
		l.reason("phase %s: %s ended: %s has no event of its start", e.Phase, o.Name(), record.EventsFile)
		return
	}
	took := at - *o.started
	switch length := l.manifest.Scenario.Phases[o.phase].For; {
	case took < 0 || o.Kind == scenario.Wait && took < o.Wait-early:
		l.reason("phase %s: %s ended %v after its start", e.Phase, o.Name(), round(took))
	case o.Kind == scenario.Wait && took-o.Wait > MaxLateness:
		l.reason("phase %s: a wait of %v took %v longer; give the lab more of the machine", e.Phase, o.Wait, round(took-o.Wait))
	case at > length:
		l.reason("phase %s: %s outlasted the phase, and took %v; make the phase longer", e.Phase, o.Name(), round(took))
	}
	if _, worker := scenario.WorkerNumber(o.Process); o.Kind == scenario.Reload || worker && o.Kind == scenario.Kill { // The worker in its place has a rotation of its own.
		l.resets = append(l.resets, span{l.since(e) - took, l.since(e)})
	}
}

// missing are the reasons for the operations of a phase that have no start or no end, although the trial ended.
func (l *eventLog) missing(phase int) (all []string) {
	add := func(o *operation, what string) {
		all = append(all, fmt.Sprintf("phase %s: %s %s", l.manifest.Scenario.Phases[phase].Name, o.Name(), fmt.Sprintf(what, record.EventsFile)))
	}
	for _, o := range l.operations[phase] {
		switch {
		case l.ending.Event != record.Ended && o.started != nil && o.ended == nil:
			add(o, "did not finish: %s has no event of its end")
		case l.ending.Event != record.Ended:
		case o.started == nil && o.ended == nil:
			add(o, "was not done: %s has no event of it")
		case o.ended == nil:
			add(o, "did not finish: %s has no event of its end")
		}
	}
	return all
}

// A pauseEvent is the start or the end of an operation on a process.
type pauseEvent struct {
	at            time.Duration
	kind, process string
	done          bool
}

// paused are the times for which actions paused a process: from the start of a pause to the end of what ended it. What is done to nginx is
// done to its workers.
func (l *eventLog) paused(process string) (all []span) {
	open := false
	_, worker := scenario.WorkerNumber(process)
	for _, e := range l.pauses {
		if e.process != process && (e.process != scenario.Nginx || !worker) {
			continue
		}
		switch {
		case e.kind == scenario.Pause && !e.done && !open:
			all, open = append(all, span{e.at, 1<<63 - 1}), true
		case scenario.Resumes(e.kind) && e.done && open:
			all[len(all)-1].to, open = e.at, false
		}
	}
	return all
}
