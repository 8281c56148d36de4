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
	manifest   record.Manifest
	phase      string          // the last that has started
	latest     *Operation      // the last that has started, waits left out
	started    map[string]bool // phases
	operations [][]*operation  // by phase
	pauses     []pauseEvent    // in the order of the log
	effects    []effect        // of operations, as long as no event shows them
	resets     []span          // when nginx started its round robin anew
	reasons    []string
	killed     bool         // the generator, at the end
	ending     record.Event // of Ended, LabError or Interrupted the last
}

// A span is a time since the start of the trial.
type span struct{ from, to time.Duration }

func newEventLog(m record.Manifest) eventLog {
	return eventLog{manifest: m, started: make(map[string]bool), operations: operationsOf(m.Scenario)}
}

func (l *eventLog) reason(what string, args ...any) {
	l.reasons = append(l.reasons, fmt.Sprintf(what, args...))
}

func (l *eventLog) add(e record.Event) {
	switch e.Event {
	case record.PhaseStarted:
		l.startPhase(e)
	case record.ActionStarted:
		if e.Action != scenario.Wait {
			l.latest = &Operation{Name: e.ActionName(), At: l.since(e)}
		}
		l.start(e)
	case record.ActionDone:
		if l.latest != nil && l.latest.Name == e.ActionName() {
			l.latest.Done = true
		}
		l.done(e)
	case record.ProcessEvent:
		l.process(e)
	case record.NginxEvent:
		l.nginx(e)
	case record.HealthEvent:
		l.health(e)
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

// startPhase takes the event of a phase's start. It may be late: a phase without actions starts when the load's plan says, whenever its
// event is written, and actions have times of their own.
func (l *eventLog) startPhase(e record.Event) {
	l.phase = e.Phase
	i := l.manifest.Scenario.Phase(e.Phase)
	if i < 0 {
		l.reason("%s has phase %s, which %s does not", record.EventsFile, e.Phase, record.ManifestFile)
		return
	}
	if l.started[e.Phase] {
		l.reason("phase %s started twice: %s has two events of it", e.Phase, record.EventsFile)
	}
	l.started[e.Phase] = true
	if at := l.inPhase(i, e); at < -early || at > l.manifest.Scenario.Phases[i].For+MaxLateness {
		l.reason("phase %s started %s, which is not its time", e.Phase, when(l.since(e)))
	}
}

func (l *eventLog) process(e record.Event) {
	at, nginx, requested := l.since(e), e.Process == scenario.Nginx, l.takeEffect(e)
	switch {
	case e.Kind == record.Started && nginx && at > 0:
		l.resets = append(l.resets, span{at, at})
	case e.Kind == record.Died && nginx && requested: // The ledger knows what it may not have logged.
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

// health takes a change of an instance's own health. It judges nothing: what clients see of it, their records say.
func (l *eventLog) health(e record.Event) {
	switch e.Kind {
	case record.Serving, record.NotServing, record.NoResponse:
	default:
		l.reason("%s: unknown kind %q of a health event", record.EventsFile, e.Kind)
	}
	if l.manifest.Target == nil && !slices.Contains(l.manifest.Scenario.ServiceNames(), e.Process) {
		l.reason("%s: health of %q, which is no instance", record.EventsFile, e.Process)
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
	for i, p := range l.manifest.Scenario.Phases {
		if l.ending.Event == record.Ended && !l.started[p.Name] {
			all = append(all, fmt.Sprintf("phase %s did not start: %s has no event of it", p.Name, record.EventsFile))
		}
		all = append(all, l.missing(i)...)
	}
	if l.ending.Event == record.Ended {
		all = append(all, l.withoutEffect()...)
	}
	if l.ending.Event == "" {
		all = append(all, fmt.Sprintf("%s has no event %q: the trial was broken off, or still runs", record.EventsFile, record.Ended))
	}
	return all
}
