package feed

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"trivet/internal/words"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

const (
	// tick is how often it is looked whether time alone changes a state.
	tick = 250 * time.Millisecond
	// attributed is for how long after an action failed requests, and what nginx does, are its consequences.
	attributed = 30 * time.Second
	// together is for how long after a failed request without a cause another one belongs to the same event.
	together = 5 * time.Second
	// settled is for how long after an action on a process events of that process are its consequences.
	settled = time.Second
	// maxNotes bounds the consequences of one kind that an event has: the last replaces the one before it.
	maxNotes = 4
)

// A narrator puts observations, which come by time, into events and states.
type narrator struct {
	trial     int
	instances func() []Instance
	clock     clock
	length    time.Duration // of the trial; 0: no end
	delay     time.Duration // see server.state: of an instance whose arrivals are not known
	blind     bool          // no instance's arrivals are known
	phaseFrom func(name string) (from, to time.Duration, ok bool)
	maxEvents int
	maxStates int // of each instance

	now     time.Duration
	ticked  time.Duration
	events  []*row
	count   int             // events so far
	causes  []*row          // actions, settings, and what happened to processes without an action; the newest last
	actions map[string]*row // the last of each process
	nginx   map[string]*row // the last of nginx and an instance without an action
	well    map[string]*row // the last of an instance's health without an action
	failing *row            // the last of failed requests without a cause
	all     []*subject
	health  bool
}

// A row is an event with its consequences by kind.
type row struct {
	Event
	changed       bool
	done          bool
	process       []string
	failed        [flows]int
	lastFailure   time.Duration
	health, nginx []string
	at, until     time.Duration
}

// A subject is an instance that has states.
type subject struct {
	servers
	process, health, nginx string
	over, why              string // of nginx
	said                   string // the last event of its health
	troubled               bool   // nginx got no response from it, or did not choose it, and not since
	note                   *row   // the event that says so, in these words
	format, text           string //
	paused                 bool   // and since then it is not known what nginx sent to it
	resumed                time.Duration
	states                 []State
	unsent                 int
}

// subject is an instance, and makes those before it known. Without an event of its process it runs.
func (n *narrator) subject(i int) *subject {
	for len(n.all) <= i {
		n.all = append(n.all, &subject{process: Running, health: Unknown, said: Unknown, nginx: Unknown})
		n.changed(len(n.all) - 1)
	}
	return n.all[i]
}

// changed adds a state, as it is now.
func (n *narrator) changed(i int) {
	s := n.all[i]
	one := State{n.trial, n.instances()[i].Name, max(0, n.now.Milliseconds()), s.process, s.health, s.nginx, s.over, s.why}
	last := len(s.states) - 1
	if last >= 0 && s.states[last].At == one.At {
		s.states[last] = one
		s.unsent = max(s.unsent, 1)
		return
	}
	if last >= 0 && s.states[last].Process == one.Process && s.states[last].Health == one.Health && s.states[last].Nginx == one.Nginx && s.states[last].Over == one.Over {
		return
	}
	s.states = append(s.states, one)
	s.unsent++
	if old := len(s.states) - n.maxStates; old > 0 {
		s.states = slices.Delete(s.states, 0, old)
		s.unsent = min(s.unsent, len(s.states))
	}
}

// reach lets time pass.
func (n *narrator) reach(now time.Duration) {
	n.meet()
	if now-n.ticked > time.Hour {
		n.ticked = now - time.Hour
	}
	for now-n.ticked >= tick { // Not ticked+tick <= now: now may be the largest time that there is.
		n.ticked += tick
		n.now = max(n.now, n.ticked)
		for i := range n.instances() {
			n.judge(i)
		}
	}
	n.now = max(n.now, now)
}

// meet gives each instance a state.
func (n *narrator) meet() {
	if all := len(n.instances()); all > len(n.all) {
		n.subject(all - 1)
	}
}

// take takes the next observation.
func (n *narrator) take(o observation) {
	n.reach(o.at)
	switch o.kind {
	case happened:
		n.happened(o.at, o.event)
	case arrived:
		n.subject(o.instance).of[upstreamOf(o.flow)].choose(o.at)
	case attempted:
		n.attempted(o)
	case noLive:
		n.pass(-1, o.service, upstreamOf(o.flow), o.chosen)
	case failed:
		n.failed(o)
	}
}

func (n *narrator) attempted(o observation) {
	s := n.subject(o.instance)
	of := &s.of[upstreamOf(o.flow)]
	of.choose(o.chosen)
	if o.first {
		n.pass(o.instance, n.instances()[o.instance].Service, upstreamOf(o.flow), o.chosen)
	}
	of.attempt(o.at, o.header, o.headerAt)
	if was := s.judged[upstreamOf(o.flow)]; o.header && was != Serving || of.fails(o.at) && was != Failing {
		n.judge(o.instance)
	}
}

// pass adds a first attempt to all instances of a service but the one that got it.
func (n *narrator) pass(but int, service string, upstream int, at time.Duration) {
	for i, one := range n.instances() {
		if i != but && one.Service == service {
			n.subject(i).of[upstream].pass(at)
		}
	}
}

// judge infers an instance's state in nginx anew.
func (n *narrator) judge(i int) {
	s := n.subject(i)
	delay := notChosenFor
	if n.blind || s.paused || n.now-s.resumed < n.delay && s.resumed > 0 {
		delay = max(delay, n.delay)
	}
	service, instances := n.instances()[i].Service, 0
	for _, one := range n.instances() {
		if one.Service == service {
			instances++
		}
	}
	of := s.judge(n.now, instances, delay, n.clock)
	if of.state == s.nginx && of.over == s.over {
		return
	}
	same := of.state == s.nginx
	s.nginx, s.over, s.why = of.state, of.over, of.why
	n.changed(i)
	switch {
	case same:
		if of.over == "" {
			n.widen(i, of)
		}
	case of.state == Failing && !s.troubled:
		n.nginxDid(i, Bad, "attempts at %s%s get no response header, since %s", of)
	case of.state == Failing:
		n.nginxDid(i, Bad, "nginx tries %s again%s, without a response header, since %s", of)
	case of.state == Ejected:
		tone := Note // Its balancing method may be the reason.
		if s.of[0].without+s.of[1].without > 0 {
			tone = Bad
		}
		n.nginxDid(i, tone, "nginx has not chosen %s%s since %s", of)
	case of.state == Serving && s.troubled:
		n.nginxDid(i, Good, "nginx gets responses from %s again%s, since %s", of)
	}
	s.troubled = of.state == Failing || of.state == Ejected || s.troubled && of.state != Serving
}

// nginxDid adds a consequence to the last action on an instance or, without one, to the last event of this kind, or makes an event. The
// format has places for the instance, over which protocol, and since when.
func (n *narrator) nginxDid(i int, tone, format string, of inferred) {
	s, instance := n.all[i], n.instances()[i].Name
	e := n.actions[instance]
	if own := n.nginx[instance]; own != nil && (e == nil || own.at > e.at) {
		e = own
	}
	if s.format = format; e != nil && n.now-max(e.at, e.until) <= attributed {
		s.note, s.text = e, n.nginxText(format, "it", of)
		e.nginx = note(e.nginx, s.text)
		n.update(e)
		return
	}
	s.text = n.nginxText(format, instance, of)
	s.note = n.say(n.now, Event{Kind: "nginx", Tone: tone, Process: instance, Text: s.text})
	n.nginx[instance] = s.note
}

func (n *narrator) nginxText(format, instance string, of inferred) string {
	over := ""
	if of.over != "" {
		over = " over " + protocolWords[slices.Index(Flows, of.over)]
	}
	return fmt.Sprintf(format, instance, over, n.clock(of.since))
}

// widen says of an instance over both protocols what was said over one.
func (n *narrator) widen(i int, of inferred) {
	s := n.all[i]
	switch at := slices.Index(s.note.nginx, s.text); {
	case at >= 0:
		s.text = n.nginxText(s.format, "it", of)
		s.note.nginx[at] = s.text
	case s.note.Text == s.text:
		s.text = n.nginxText(s.format, n.instances()[i].Name, of)
		s.note.Text = s.text
	}
	n.update(s.note)
}

func note(all []string, text string) []string {
	if len(all) == maxNotes {
		all = all[:maxNotes-1]
	}
	return append(all, text)
}

// failed adds a failed request to the last action, or to an event of its own.
func (n *narrator) failed(o observation) {
	cause := n.causeOf(o.at, o.chosen)
	e := cause
	if e == nil || o.at-max(e.at, e.until) > attributed && o.at-e.lastFailure > together {
		if e = n.failing; e == nil || o.at-e.lastFailure > together || cause != nil && cause.at > e.at {
			e = n.say(o.at, Event{Kind: "request", Tone: Bad})
			n.failing = e
		}
	}
	e.failed[o.flow]++
	e.lastFailure = o.at
	if e.Kind == "request" {
		e.Text = failedWords(e.failed)
		e.Until = o.at.Milliseconds()
	}
	n.update(e)
}

// maxCauses bounds the causes that are kept: a request that failed before the last may become known after it.
const maxCauses = 20

func (n *narrator) addCause(e *row) {
	if n.causes = append(n.causes, e); len(n.causes) > maxCauses {
		n.causes = slices.Delete(n.causes, 0, 1)
	}
}

// causeOf is the last cause before a time at which a request failed that began at another; nil if there is none. If that was a while ago, it
// is the last whose instance is still not running. What failed because an instance was paused or down may end when that is over.
func (n *narrator) causeOf(at, begun time.Duration) (last *row) {
	for _, e := range slices.Backward(n.causes) {
		switch {
		case e.at > at, begun < e.at && (e.Action == scenario.Resume || e.Action == scenario.Start):
		case at-e.at <= settled && last == nil, n.lasts(e):
			return e
		case last == nil:
			last = e
		}
	}
	return last
}

// lasts reports whether the instance of an action is not running since.
func (n *narrator) lasts(e *row) bool {
	i := n.index(e.Process)
	return i >= 0 && n.actions[e.Process] == e && n.subject(i).process != Running
}

// say adds an event.
func (n *narrator) say(at time.Duration, of Event) *row {
	of.Trial, of.N, of.At = n.trial, n.count, at.Milliseconds()
	e := &row{Event: of, at: at}
	n.count++
	n.events = append(n.events, e)
	if old := len(n.events) - n.maxEvents; old > 0 {
		n.events = slices.Delete(n.events, 0, old)
	}
	n.update(e)
	return e
}

// update puts an event's consequences into words.
func (n *narrator) update(e *row) {
	e.changed = true
	e.Since = slices.Concat(e.process, nil)
	if e.Kind != "request" && e.failed != ([flows]int{}) {
		e.Since = append(e.Since, failedWords(e.failed))
	}
	e.Since = append(append(e.Since, e.health...), e.nginx...)
}

// happened takes an event of the lab.
func (n *narrator) happened(at time.Duration, e *record.Event) {
	switch e.Event {
	case record.PhaseStarted:
		if from, to, ok := n.phaseFrom(e.Phase); ok {
			n.say(from, Event{Kind: "phase", Tone: Note, Until: to.Milliseconds(), Text: "phase " + e.Phase})
		}
	case record.ActionStarted:
		if e.Action != scenario.Wait {
			one := n.say(at, Event{Kind: "action", Tone: Action, Process: e.Process, Action: e.Action, Text: actionText(e.Action, e.Process, false)})
			n.actions[e.Process] = one
			n.addCause(one)
		}
	case record.ActionDone:
		n.done(at, e)
	case record.ProcessEvent:
		n.processEvent(at, e)
	case record.NginxEvent:
		n.nginxEvent(at, e)
	case record.HealthEvent:
		n.healthEvent(at, e)
	case record.GeneratorKilled:
		n.say(at, Event{Kind: "load", Tone: Bad, Process: scenario.Generator, Text: "the load generator did not end by itself, and was killed"})
	case record.LabError:
		n.say(at, Event{Kind: "load", Tone: Bad, Text: "the lab failed: " + e.Error})
	case record.Interrupted:
		n.say(at, Event{Kind: "load", Tone: Bad, Text: "interrupted: " + e.Error})
	}
}

// done takes the end of an action: the last of that kind on that process which has none.
func (n *narrator) done(at time.Duration, e *record.Event) {
	if e.Action == scenario.Wait {
		return
	}
	var one *row
	for _, other := range slices.Backward(n.events) {
		if other.Kind == "action" && !other.done && other.Action == e.Action && other.Process == e.Process {
			one = other
			break
		}
	}
	if one == nil {
		return
	}
	one.done, one.until, one.Until = true, at, at.Milliseconds()
	one.Text = actionText(e.Action, e.Process, true)
	if e.Error != "" {
		one.Tone, one.Text = Bad, e.ActionName()+" failed: "+words.Clip(e.Error, record.MaxError)
		if e.Action == scenario.Reload { // It changed nothing.
			n.causes = slices.DeleteFunc(n.causes, func(other *row) bool { return other == one })
		}
	}
	n.update(one)
	i := n.index(e.Process)
	if i < 0 || e.Error != "" {
		return
	}
	s := n.subject(i)
	switch {
	case e.Action == scenario.Pause && s.process != Gone:
		s.process, s.paused = Paused, true
		n.changed(i)
	case s.paused && scenario.Resumes(e.Action):
		s.paused, s.resumed = false, at
		if s.process == Paused {
			s.process = Running
			n.changed(i)
		}
	}
}

// index is that of an instance; -1: it is none.
func (n *narrator) index(name string) int {
	return slices.IndexFunc(n.instances(), func(i Instance) bool { return i.Name == name })
}

var processStates = map[string]string{record.Started: Starting, record.Ready: Running, record.Died: Gone, record.Stopped: Gone}

func (n *narrator) processEvent(at time.Duration, e *record.Event) {
	teardown := n.length > 0 && at >= n.length && e.Kind == record.Stopped
	if i := n.index(e.Process); i >= 0 && processStates[e.Kind] != "" && !teardown {
		s := n.subject(i)
		s.process = processStates[e.Kind]
		switch s.process {
		case Gone:
			if s.health != NoResponse {
				s.health = Unknown
			}
		case Running: // Its health may have been the same before, and then no event says so again.
			s.health = s.said
		}
		if s.process == Gone && s.paused {
			s.paused, s.resumed = false, at
		}
		n.changed(i)
	}
	action := n.actions[e.Process]
	if action != nil && (!action.done || at-action.until <= settled) {
		n.processDid(action, at, e)
		return
	}
	switch {
	case at < 0 || e.Kind == record.Started || teardown:
	case e.Kind == record.Ready:
		n.say(at, Event{Kind: "process", Tone: Good, Process: e.Process, Text: e.Process + " is ready"})
	case e.Kind == record.Stopped:
		n.say(at, Event{Kind: "process", Tone: Note, Process: e.Process, Text: e.Process + " stopped" + exitWords(e)})
	case e.Kind == record.Died:
		n.addCause(n.say(at, Event{Kind: "process", Tone: Bad, Process: e.Process, Text: e.Process + " died" + exitWords(e)}))
	}
}

// processDid adds what happened to a process to the action that is the reason.
func (n *narrator) processDid(action *row, at time.Duration, e *record.Event) {
	text := ""
	switch {
	case e.Kind == record.Ready:
		text = "it is ready, since " + n.clock(at)
	case (e.Kind == record.Died || e.Kind == record.Stopped) && action.Action != scenario.Kill:
		text = "it ended at " + n.clock(at) + exitWords(e)
	}
	if text != "" {
		action.process = note(action.process, text)
		n.update(action)
	}
}

func exitWords(e *record.Event) string {
	if e.Exit == nil {
		return ""
	}
	return ": " + e.Exit.String()
}

func (n *narrator) nginxEvent(at time.Duration, e *record.Event) {
	text := cmp.Or(map[string]string{
		record.WorkerEnded: "a worker of nginx ended" + exitWords(e), record.WorkerReplaced: "a worker of nginx was replaced", record.Reconfigured: "nginx read its configuration again",
	}[e.Kind], "nginx: "+e.Kind)
	n.addCause(n.say(at, Event{Kind: "nginx", Tone: Bad, Process: scenario.Nginx, Text: text}))
}

// healthTexts are what an instance's own health says, by the kind of the event.
var healthTexts = map[string]string{record.Serving: "its health says serving", record.NotServing: "its health says not serving", record.NoResponse: "its health check gets no response"}

func (n *narrator) healthEvent(at time.Duration, e *record.Event) {
	n.health = true
	i := n.index(e.Process)
	if i < 0 || healthTexts[e.Kind] == "" {
		return
	}
	s := n.subject(i)
	was := s.said
	s.health, s.said = e.Kind, e.Kind
	n.changed(i)
	if at < 0 || was == e.Kind || was == Unknown && e.Kind == Serving {
		return
	}
	if action := n.actions[e.Process]; action != nil && at-max(action.at, action.until) <= attributed {
		action.health = note(action.health, healthTexts[e.Kind]+", since "+n.clock(at))
		n.update(action)
		return
	}
	if own := n.well[e.Process]; own != nil && at-own.at <= attributed {
		own.health = note(own.health, healthTexts[e.Kind]+", since "+n.clock(at))
		n.update(own)
		return
	}
	tone := Bad
	if e.Kind == Serving {
		tone = Good
	}
	n.well[e.Process] = n.say(at, Event{Kind: "process", Tone: tone, Process: e.Process, Text: e.Process + ": " + healthTexts[e.Kind]})
}

// messages are the events and states that have changed, or all.
func (n *narrator) messages(to []Message, everything bool) []Message {
	n.meet()
	for _, e := range n.events {
		if everything || e.changed {
			one := e.Event
			one.Since = slices.Clone(one.Since)
			to = append(to, Message{Event: &one})
		}
	}
	for _, s := range n.all {
		from := len(s.states) - s.unsent
		if everything {
			from = 0
		}
		for _, one := range s.states[from:] {
			to = append(to, Message{State: &one})
		}
	}
	return to
}

func (n *narrator) seen() {
	for _, e := range n.events {
		e.changed = false
	}
	for _, s := range n.all {
		s.unsent = 0
	}
}
