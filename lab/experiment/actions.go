package experiment

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"trivet/internal/hop"
	"trivet/lab/scenario"
)

// all, where an action names processes, means each instance on which the action has an effect.
const all = "all"

// maxOperations is the most that one phase does, all repetitions counted: each has two events.
const maxOperations = 1000

// phases are those of a scenario, of which the fleet is known. On the way it follows what state each process is in.
func (f *File) phases(s *scenario.Scenario, keys []phaseKeys, phasesAt string) (phases []scenario.Phase) {
	fleet := fleetState{document: f.doc, Scenario: s, on: f.on, services: services{drained: map[string]bool{}, sizes: map[string]int{hop.Whoami: s.Instances}}, state: map[string]string{}, certificates: certificates{distrusts: map[string]bool{}}}
	for i, k := range keys {
		p, at := scenario.Phase{Name: k.Name, For: k.For}, fmt.Sprintf("%s/%d", phasesAt, i)
		do := at + "/do"
		n := operations(k.Do)
		if n <= maxOperations { // Otherwise there may be too many to follow.
			p.Do = fleet.actions(k.Do, do)
			n = len(p.Operations())
		}
		if n > maxOperations {
			f.doc.add(f.doc.position(do), "phase %s has %d operations, all repetitions counted: want at most %d", k.Name, n, maxOperations)
		}
		if length := lengthOf(p.Do); length > 0 && length >= k.For && f.doc.valid(at+"/for") {
			f.doc.add(f.doc.position(do), "the waits and repetitions of phase %s take %v: want less than the phase, %v", k.Name, length, k.For)
		}
		phases = append(phases, p)
	}
	return phases
}

// An actionKeys is one action as the file has it, by its kind: exactly one key, unless it is invalid.
type actionKeys map[string]json.RawMessage

type repeatKeys struct {
	Times int
	Every time.Duration
	Do    []actionKeys
}

// given are the kind and the value of an action; false if it has none that is valid.
func (k actionKeys) given() (kind string, value json.RawMessage, ok bool) {
	for kind, value := range k {
		if string(value) != "null" { // What is invalid is null.
			return kind, value, true
		}
	}
	return "", nil, false
}

// operations is how many operations there are, as if all were one process; of more than maxOperations it may be too few.
func operations(do []actionKeys) int {
	n := 0
	for _, k := range do {
		kind, value, _ := k.given()
		var names, together = []string{}, []actionKeys{}
		var repeat repeatKeys
		switch {
		case kind == scenario.Together && json.Unmarshal(value, &together) == nil:
			n += operations(together)
		case kind == scenario.Repeat && json.Unmarshal(value, &repeat) == nil:
			n += repeat.Times * min(operations(repeat.Do), maxOperations+1)
		case json.Unmarshal(value, &names) == nil:
			n += len(names)
		default:
			n++
		}
	}
	return n
}

// fleetState is what the actions so far have done to the processes of a scenario.
type fleetState struct {
	*document
	*scenario.Scenario
	on    *stack            // nil: a fleet of the trial's own
	state map[string]string // by process: Kill, Drain or Pause; "" while it serves
	certificates
	services
}

// actions are those of a list, one after the other.
func (f *fleetState) actions(list []actionKeys, at string) (do []scenario.Action) {
	for i, k := range list {
		if kind, value, ok := k.given(); ok {
			do = append(do, f.action(kind, value, fmt.Sprintf("%s/%d/%s", at, i, kind)))
		}
	}
	return do
}

// action is one of a list.
func (f *fleetState) action(kind string, value json.RawMessage, at string) scenario.Action {
	switch {
	case kind == scenario.Wait:
		var d time.Duration
		_ = json.Unmarshal(value, &d) // It was marshaled from one.
		return scenario.Action{Wait: &scenario.WaitAction{For: d}}
	case kind == scenario.Together:
		return f.atOnce(value, at)
	case kind == scenario.Repeat:
		return f.repeat(value, at)
	case kind == scenario.Scale:
		return scenario.Action{Process: f.scale(value, at)}
	case slices.Contains(scenario.Kinds, kind):
		return scenario.Action{Process: f.processAction(kind, value, at)}
	}
	f.add(f.position(at), "%s is an action of the schema that trivet does not know: want %s", kind, strings.Join(scenario.Kinds, ", "))
	return scenario.Action{}
}

// atOnce are actions at the same time: what two of them did to one process would depend on chance.
func (f *fleetState) atOnce(value json.RawMessage, at string) scenario.Action {
	var list []actionKeys
	_ = json.Unmarshal(value, &list) // As above.
	a, by := scenario.Action{Together: []scenario.Action{}}, map[string]int{}
	f.together++
	defer func() { f.together-- }()
	for i, k := range list {
		kind, value, ok := k.given()
		if !ok {
			continue
		}
		to := fmt.Sprintf("%s/%d/%s", at, i, kind)
		if f.apart(k.names(), by, kind, to) {
			one := f.action(kind, value, to)
			names := processes(one)
			f.apart(names, by, kind, to) // Of all, it is known only now which they are.
			for name := range names {
				by[name] = i
			}
			a.Together = append(a.Together, one)
		}
	}
	return a
}

// apart reports whether an action is on other processes than those at the same time.
func (f *fleetState) apart(names map[string]bool, by map[string]int, kind, at string) bool {
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if other, twice := conflict(by, name); twice {
			f.add(f.position(at), "%s of %s is at the same time as %s[%d], which is done to it, too: do one after the other", kind, name, scenario.Together, other)
			return false
		}
	}
	return true
}

// names are the processes that an action names, without all.
func (k actionKeys) names() map[string]bool {
	names, one, list := map[string]bool{}, "", []string{}
	var inner []actionKeys
	var repeat repeatKeys
	sizes := map[string]int{}
	switch kind, value, _ := k.given(); {
	case kind == scenario.Repeat && json.Unmarshal(value, &repeat) == nil:
		inner = repeat.Do
	case kind == scenario.Together:
		_ = json.Unmarshal(value, &inner)
	case json.Unmarshal(value, &one) == nil:
		list = []string{one}
	case json.Unmarshal(value, &sizes) == nil:
		list = slices.Collect(maps.Keys(sizes))
	default:
		_ = json.Unmarshal(value, &list)
	}
	for _, name := range list {
		names[name] = true
	}
	for _, k := range inner {
		maps.Copy(names, k.names())
	}
	delete(names, all)
	return names
}

// conflict returns which other action is on a process or, of nginx and its workers, on what it is part of.
func conflict(by map[string]int, name string) (other int, twice bool) {
	for taken, i := range by {
		_, worker := scenario.WorkerNumber(name)
		_, takenWorker := scenario.WorkerNumber(taken)
		if taken == name || ofService(taken, name) || ofService(name, taken) || worker && taken == scenario.Nginx || takenWorker && name == scenario.Nginx {
			return i, true
		}
	}
	return 0, false
}

// processes are those on which an action is.
func processes(a scenario.Action) map[string]bool {
	names := map[string]bool{}
	if a.Process != nil {
		for _, name := range a.Process.Names {
			names[name] = true
		}
	}
	inner := a.Together
	if a.Repeat != nil {
		inner = a.Repeat.Do
	}
	for _, one := range inner {
		maps.Copy(names, processes(one))
	}
	return names
}

// repeat follows its actions twice: after that the state of each process is the same each time.
func (f *fleetState) repeat(value json.RawMessage, at string) scenario.Action {
	var k repeatKeys
	_ = json.Unmarshal(value, &k) // As above.
	a := scenario.Action{Repeat: &scenario.RepeatAction{Times: max(k.Times, 1), Every: k.Every}}
	errors := len(f.document.all)
	a.Repeat.Do = f.actions(k.Do, at+"/do")
	if k.Times < 2 || len(f.document.all) > errors {
		return a
	}
	again := f.actions(k.Do, at+"/do")
	for _, d := range f.document.all[errors:] {
		d.Message = "the second time: " + d.Message
	}
	for i, one := range again {
		if len(f.document.all) == errors && !maps.Equal(processes(one), processes(a.Repeat.Do[i])) {
			f.add(f.position(fmt.Sprintf("%s/do/%d", at, i)), "%s all: the second time it means other instances than the first: name them", one.Kind())
		}
	}
	return a
}

// processAction is an action on processes: those on which it has an effect.
func (f *fleetState) processAction(kind string, value json.RawMessage, at string) *scenario.ProcessAction {
	var named []string
	places := func(i int) string { return fmt.Sprintf("%s/%d", at, i) }
	if json.Unmarshal(value, &named) != nil {
		named, places = []string{""}, func(int) string { return at }
		_ = json.Unmarshal(value, &named[0]) // As above.
	}
	action, before := &scenario.ProcessAction{Kind: kind}, len(f.document.all)
	for i, name := range named {
		processes := []string{name}
		if name == all {
			processes = f.ServiceNames()
		}
		for _, process := range processes {
			if !f.valid(places(i)) {
				continue
			} else if slices.Contains(action.Names, process) {
				f.add(f.position(places(i)), "%s %s: this action names %s before", kind, name, process)
			} else if why := f.do(kind, process); why == "" {
				action.Names = append(action.Names, process)
			} else if name != all {
				f.add(f.position(places(i)), "%s %s: %s", kind, name, why)
			}
		}
	}
	if len(action.Names) == 0 && len(f.document.all) == before && slices.Contains(named, all) {
		f.add(f.position(at), "%s all: %s", kind, f.noneLeft(kind))
	}
	return action
}

// noneLeft says why an action on all instances has no effect on any.
func (f *fleetState) noneLeft(kind string) string {
	if slices.Contains(scenario.CertificateKinds, kind) && !f.MTLS {
		return noMTLS
	}
	return noEffect[kind]
}

var noEffect = map[string]string{
	scenario.Kill: "all instances are already down", scenario.Drain: "all instances are already down", scenario.Restart: "all instances are down",
	scenario.Pause:  "all instances are already paused or down",
	scenario.Resume: "no instance is paused", scenario.Start: "all instances are already running",
	scenario.Distrust: "all instances distrust already", scenario.Trust: "no instance distrusts",
}

// do follows one action on one process. It returns why the action is impossible or has no effect; then it was not meant.
func (f *fleetState) do(kind, name string) string {
	switch {
	case !f.on.can(scenario.Operation{Kind: kind, Process: name}):
		return f.on.cannot(kind, name, f.Scenario)
	case slices.Contains(scenario.CertificateKinds, kind):
		return f.doToCertificate(kind, name)
	case slices.Contains(scenario.ServiceKinds, kind):
		return f.doToService(kind, name, 0)
	case slices.Contains(scenario.NodeKinds, kind):
		return f.doToNode(kind, name)
	}
	if why := f.lost(name); why != "" {
		return why
	}
	what := "instance"
	n, worker := scenario.WorkerNumber(name)
	switch known := f.ServiceNames(); {
	case name == scenario.Nginx:
		what = name
	case worker && n > f.Workers:
		return fmt.Sprintf("there are %d workers%s%s", f.Workers, in(f.Scenario), hint(name, f.workers()))
	case worker:
		what = name
		if state := f.state[scenario.Nginx]; state != "" {
			return impossible(scenario.Nginx, state, kind == scenario.Resume && state == scenario.Pause)
		}
	case !slices.Contains(known, name):
		return fmt.Sprintf("there are %d instances%s%s", len(known), in(f.Scenario), hint(name, append(known, all)))
	}
	state := f.state[name]
	switch down := state == scenario.Kill || state == scenario.Drain; {
	case kind == scenario.Resume && state == "":
		return what + " is not paused"
	case kind == scenario.Start && state == "":
		return what + " is already running"
	case kind == scenario.Start && state == scenario.Pause:
		return what + " is paused; use resume"
	case kind == scenario.Pause && state == scenario.Pause:
		return what + " is already paused; resume it first"
	case kind == scenario.Reload && state == scenario.Pause:
		return impossible(what, state, false)
	case down && !f.on.can(scenario.Operation{Kind: scenario.Start, Process: name}):
		return what + " is gone (" + state + "); of the one in its place the name is not known"
	case down && (kind == scenario.Kill || kind == scenario.Drain):
		return what + " is already down (" + state + "); start it first"
	case down && kind != scenario.Start:
		return impossible(what, state, false)
	}
	if name == scenario.Nginx {
		if paused := f.pausedWorker(); kind == scenario.Reload && paused != "" {
			return paused + " is paused, and would end only when it is resumed; resume it first"
		}
		for _, worker := range f.workers() { // What is done to nginx is done to all of them, or they are new.
			delete(f.state, worker)
		}
	}
	f.state[name] = ""
	if kind == scenario.Kill && !worker || kind == scenario.Drain || kind == scenario.Pause { // nginx starts another worker at once.
		f.state[name] = kind
	}
	return ""
}

// impossible says why nothing can be done to a process that is down or paused, or a part of one.
func impossible(name, state string, resume bool) string {
	switch {
	case resume:
		return name + " is paused as a whole; resume " + name
	case state == scenario.Pause:
		return name + " is paused; resume it first"
	}
	return name + " is down (" + state + "); start it first"
}

func (f *fleetState) workers() (names []string) {
	for n := range f.Workers {
		names = append(names, scenario.WorkerName(n+1))
	}
	return names
}

// pausedWorker is a worker of nginx that is paused by itself; "" if there is none.
func (f *fleetState) pausedWorker() string {
	for _, name := range f.workers() {
		if f.state[name] == scenario.Pause {
			return name
		}
	}
	return ""
}

// in says which variant is meant, where there are several.
func in(s *scenario.Scenario) string {
	if s.Variant == scenario.Only {
		return ""
	}
	return " in variant " + s.Variant
}

// lengthOf is the shortest time that actions take.
func lengthOf(do []scenario.Action) (sum time.Duration) {
	for _, a := range do {
		switch {
		case a.Wait != nil:
			sum += a.Wait.For
		case a.Together != nil:
			longest := time.Duration(0)
			for _, one := range a.Together {
				longest = max(longest, lengthOf([]scenario.Action{one}))
			}
			sum += longest
		case a.Repeat != nil:
			each := lengthOf(a.Repeat.Do)
			sum += max(each, a.Repeat.Every)*time.Duration(max(0, a.Repeat.Times-1)) + each
		}
	}
	return sum
}
