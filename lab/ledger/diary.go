package ledger

import (
	"fmt"
	"strings"
	"time"
)

// Verbs of actions, and kinds of what becomes of processes, as far as the ledger must know them.
const (
	verbKill   = "kill"
	verbReload = "reload"
	started    = "started"
	died       = "died"
	stopped    = "stopped"
	balancer   = "nginx"
)

// A diary is what the events have told.
type diary struct {
	scene   Scene
	phase   string
	begun   map[string]bool // phases
	running []Event         // actions
	last    time.Duration   // when the last action was done, since the run's begin
	kills   map[string]int  // by process: how many deaths are asked for
	resets  []span          // when nginx began its turns anew
	reasons []string
	still   bool  // the generator, at the end
	ending  Event // of Ended, Broke or Interrupted the last
}

// A span is a time since the run's begin.
type span struct{ from, to time.Duration }

func newDiary(s Scene) diary {
	return diary{scene: s, begun: make(map[string]bool), kills: make(map[string]int)}
}

func (d *diary) fault(what string, args ...any) {
	d.reasons = append(d.reasons, fmt.Sprintf(what, args...))
}

func (d *diary) take(e Event) {
	switch e.Event {
	case PhaseBegan:
		d.phase, d.begun[e.Phase] = e.Phase, true
	case ActionBegan:
		d.running = append(d.running, e)
		d.punctual(e)
		if e.Verb == verbKill {
			d.kills[e.Target] = 1
		}
	case ActionDone:
		d.done(e)
	case ProcessIs:
		d.process(e)
	case NginxDid:
		d.nginx(e)
	case StoodStill:
		d.still = true
	case Ended:
		d.ending = e
	case Broke:
		d.ending = e
		d.fault("the laboratory broke: %s", e.Error)
	case Interrupted:
		d.ending = e
		d.fault("the run was interrupted: %s", e.Error)
	default:
		d.fault("%s: there is no event %q", EventsFile, e.Event)
	}
}

// punctual holds an action against its plan: it follows on the phase's beginning, or on the action before it. A phase in which nothing is done
// begins when the load's plan says, whenever the event of it is written.
func (d *diary) punctual(e Event) {
	begins, _ := d.boundsOf(e.Phase)
	if late := e.Time.Sub(d.scene.Begin) - max(begins, d.last); late > Lateness {
		d.fault("phase %s: %s was begun %v after its time: the laboratory was late; give it more of the machine", e.Phase, action(e), late.Round(time.Millisecond))
	}
}

func (d *diary) done(e Event) {
	began, wait := e.Time, time.Duration(0)
	for i, r := range d.running {
		if r.Phase == e.Phase && r.Verb == e.Verb && r.Target == e.Target {
			began, wait = r.Time, time.Duration(r.Wait)*time.Microsecond
			d.running = append(d.running[:i:i], d.running[i+1:]...)
			break
		}
	}
	d.last = e.Time.Sub(d.scene.Begin)
	_, ends := d.boundsOf(e.Phase)
	switch over := e.Time.Sub(began) - wait; {
	case e.Error != "":
		d.fault("phase %s: %s failed: %s", e.Phase, action(e), e.Error)
	case wait > 0 && over > Lateness:
		d.fault("phase %s: a wait of %v took %v longer: the laboratory was late; give it more of the machine", e.Phase, wait, over.Round(time.Millisecond))
	case d.last > ends:
		d.fault("phase %s: %s was still running when the phase ended, and took %v; make the phase longer", e.Phase, action(e), e.Time.Sub(began).Round(time.Millisecond))
	}
	if e.Verb == verbReload {
		d.resets = append(d.resets, span{began.Sub(d.scene.Begin), e.Time.Sub(d.scene.Begin)})
	}
}

func action(e Event) string { return strings.TrimSpace(e.Verb + " " + e.Target) }

// boundsOf are when a phase begins and ends, since the run's begin; of one that there is not, the end of the run.
func (d *diary) boundsOf(phase string) (from, to time.Duration) {
	for _, p := range d.scene.Phases {
		if from, to = to, to+p.For; p.Name == phase {
			return from, to
		}
	}
	return to, to
}

func (d *diary) process(e Event) {
	at := e.Time.Sub(d.scene.Begin)
	switch {
	case e.Kind == started:
		d.kills[e.Name] = 0
		if e.Name == balancer && at > 0 {
			d.resets = append(d.resets, span{at, at})
		}
	case e.Kind == died && e.Name == balancer:
		d.fault("nginx died (%s) %s: it did not write down what was open then, and nothing until it was started again", e.Exit, d.since(at))
	case e.Kind == stopped && e.Name == balancer && strings.Contains(e.Exit, "SIGKILL"):
		d.fault("nginx did not end when it was asked to and had to be killed (%s) %s: it did not write down what was open then", e.Exit, d.since(at))
	case e.Kind == died && d.kills[e.Name] > 0:
		d.kills[e.Name]--
	case e.Kind == died:
		d.fault("%s died (%s) %s, and no action killed it; its log is in the run folder", e.Name, e.Exit, d.since(at))
	}
}

// nginx takes what nobody asked it for. Its log has whole seconds.
func (d *diary) nginx(e Event) {
	about := (e.Time.Sub(d.scene.Begin) + time.Second/2).Round(time.Second)
	at := d.since(about)
	if about >= 0 {
		at = "about " + at
	}
	switch e.Kind {
	case WorkerEnded:
		d.fault("nginx's worker %d ended (%s) %s, and nobody asked it to: it did not write down what was open then", e.PID, e.Exit, at)
	case WorkerReplaced:
		d.fault("nginx started worker %d %s, in the place of one that ended, and nobody asked for that", e.PID, at)
	case Reconfigured:
		d.fault("nginx was reloaded %s, and no action asked for that", at)
	default:
		d.fault("%s: nginx does nothing of the kind %q", EventsFile, e.Kind)
	}
}

func (d *diary) since(at time.Duration) string {
	if at < 0 {
		return "before the load began"
	}
	return fmt.Sprintf("%v after the load began", at.Round(time.Millisecond))
}

// reloads counts how often nginx began its turns anew in a time.
func (d *diary) reloads(from, to time.Duration) int {
	n := 0
	for _, r := range d.resets {
		if r.to >= from && r.from < to {
			n++
		}
	}
	return n
}

// open are the reasons for what was not over when everything was.
func (d *diary) open() []string {
	var all []string
	for _, p := range d.scene.Phases {
		if d.ending.Event == Ended && !d.begun[p.Name] {
			all = append(all, fmt.Sprintf("phase %s never began: %s has no event of it", p.Name, EventsFile))
		}
	}
	for _, e := range d.running {
		all = append(all, fmt.Sprintf("phase %s: %s did not come to an end", e.Phase, action(e)))
	}
	if d.ending.Event == "" {
		all = append(all, fmt.Sprintf("%s has no event %q: the run was broken off, or is still going on", EventsFile, Ended))
	}
	return all
}
