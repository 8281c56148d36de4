package experiment

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"trivet/lab/scenario"
)

// all, where an action names instances, means each on which the action has an effect.
const all = "all"

// phases are those of a scenario, of which the instances are known. On the way it follows what state each instance is in.
func (f *File) phases(s *scenario.Scenario, keys []phaseKeys) (phases []scenario.Phase) {
	fleet := fleetState{f.doc, s, map[string]string{}}
	for i, k := range keys {
		p, at := scenario.Phase{Name: k.Name, For: k.For}, fmt.Sprintf("/phases/%d", i)
		waits := time.Duration(0)
		for j, one := range k.Do {
			for kind, value := range one { // Exactly one is set; a default of none is null.
				if string(value) == "null" {
					continue
				}
				a := fleet.action(kind, value, fmt.Sprintf("%s/do/%d/%s", at, j, kind))
				if a.Wait != nil {
					waits += a.Wait.For
				}
				p.Do = append(p.Do, a)
			}
		}
		if do := at + "/do"; waits > 0 && waits >= k.For && f.doc.valid(at+"/for") {
			f.doc.add(f.doc.position(do), "the waits of phase %s are %v together: want less than the phase, %v", k.Name, waits, k.For)
		}
		phases = append(phases, p)
	}
	return phases
}

// fleetState is what the actions so far have done to the instances of a scenario.
type fleetState struct {
	*document
	*scenario.Scenario
	state map[string]string // by instance: Kill, Drain or Pause; "" while it serves
}

// action is an entry of a phase's do.
func (f *fleetState) action(kind string, value json.RawMessage, at string) scenario.Action {
	switch {
	case kind == scenario.Reload:
		return scenario.Action{Process: &scenario.ProcessAction{Kind: kind, Names: []string{scenario.Nginx}}}
	case kind == scenario.Wait:
		var d time.Duration
		_ = json.Unmarshal(value, &d) // It was marshaled from one.
		return scenario.Action{Wait: &scenario.WaitAction{For: d}}
	case slices.Contains(scenario.InstanceKinds, kind):
		return scenario.Action{Process: f.instanceAction(kind, value, at)}
	}
	f.add(f.position(at), "%s is an action of the schema that trivet does not know: want %s", kind, strings.Join(scenario.Kinds, ", "))
	return scenario.Action{}
}

// instanceAction is an action on instances: those on which it has an effect.
func (f *fleetState) instanceAction(kind string, value json.RawMessage, at string) *scenario.ProcessAction {
	var named []string
	places := func(i int) string { return fmt.Sprintf("%s/%d", at, i) }
	if json.Unmarshal(value, &named) != nil {
		named, places = []string{""}, func(int) string { return at }
		_ = json.Unmarshal(value, &named[0]) // As above.
	}
	action, before := &scenario.ProcessAction{Kind: kind}, len(f.document.all)
	for i, name := range named {
		instances := []string{name}
		if name == all {
			instances = f.InstanceNames()
		}
		for _, instance := range instances {
			if !f.valid(places(i)) {
				continue
			} else if slices.Contains(action.Names, instance) {
				f.add(f.position(places(i)), "%s %s: this action names %s before", kind, name, instance)
			} else if why := f.do(kind, instance); why == "" {
				action.Names = append(action.Names, instance)
			} else if name != all {
				f.add(f.position(places(i)), "%s %s: %s", kind, name, why)
			}
		}
	}
	if len(action.Names) == 0 && len(f.document.all) == before && slices.Contains(named, all) {
		f.add(f.position(at), "%s all: %s", kind, noneLeft[kind])
	}
	return action
}

// noneLeft says why an action on all instances has no effect on any.
var noneLeft = map[string]string{
	scenario.Kill: "all instances are already down", scenario.Drain: "all instances are already down",
	scenario.Pause:  "all instances are already paused or down",
	scenario.Resume: "no instance is paused", scenario.Start: "all instances are already running",
}

// do follows one action on one instance. It returns why the action is impossible or has no effect; then it was not meant.
func (f *fleetState) do(kind, name string) string {
	known := f.InstanceNames()
	if !slices.Contains(known, name) {
		return fmt.Sprintf("there are %d instances%s%s", len(known), in(f.Scenario), hint(name, append(known, all)))
	}
	state := f.state[name]
	switch down := state == scenario.Kill || state == scenario.Drain; {
	case kind == scenario.Resume && state == "":
		return "instance is not paused"
	case kind == scenario.Start && state == "":
		return "instance is already running"
	case kind == scenario.Start && state == scenario.Pause:
		return "instance is paused; use resume"
	case kind == scenario.Pause && state == scenario.Pause:
		return "instance is already paused; resume it first"
	case down && (kind == scenario.Pause || kind == scenario.Resume):
		return "instance is down (" + state + "); start it first"
	case down && (kind == scenario.Kill || kind == scenario.Drain):
		return "instance is already down (" + state + "); start it first"
	}
	f.state[name] = ""
	if kind == scenario.Kill || kind == scenario.Drain || kind == scenario.Pause {
		f.state[name] = kind
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
