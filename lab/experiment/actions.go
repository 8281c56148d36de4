package experiment

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"trivet/internal/nearest"
)

// all as a target is each instance.
const all = "all"

// verbs are the keys of an action that have instances as targets.
func (a *actionKeys) verbs() []struct {
	name string
	on   *targets
} {
	return []struct {
		name string
		on   *targets
	}{{Kill, &a.Kill}, {Drain, &a.Drain}, {Stop, &a.Stop}, {Cont, &a.Cont}, {Start, &a.Start}, {Restart, &a.Restart}}
}

// actionsAreOne refuses entries that say several things, or nothing.
func (d *decoder) actionsAreOne(phases []phaseKeys) {
	for i := range phases {
		for j := range phases[i].Do {
			a, count := &phases[i].Do[j], 0
			for _, verb := range a.verbs() {
				if d.given(verb.on) != nil {
					count++
				}
			}
			for _, other := range []any{&a.Reload, &a.Wait} {
				if d.given(other) != nil {
					count++
				}
			}
			if n := d.given(a); count > 1 || count == 0 && n.Kind == yaml.MappingNode && len(n.Content) == 0 {
				d.add(where(n), "do[%d] has %d actions: want one an entry, as a list of them is done in order", j, count)
			}
		}
	}
}

// phases are those of a variant. On the way it follows which instances are there.
func (d *decoder) phases(v *Variant, keys []phaseKeys) []Phase {
	var phases []Phase
	fleet := watched{d, v, map[string]string{}}
	for i := range keys {
		k := &keys[i]
		p := Phase{Name: k.Name, For: k.For}
		for j := range k.Do {
			p.Do = append(p.Do, fleet.actions(&k.Do[j])...)
		}
		if sum := waits(p.Do); sum >= k.For && sum > 0 && !d.misread(k) {
			d.add(where(d.given(&k.Do)), "the waits of phase %s are %v together: want less than the phase, %v", k.Name, sum, k.For)
		}
		phases = append(phases, p)
	}
	return phases
}

// misread tells whether the phase's time or one of its waits is missing or could not be read.
func (d *decoder) misread(k *phaseKeys) bool {
	for i := range k.Do {
		if wait := &k.Do[i].Wait; d.given(wait) != nil && !d.hasRead(wait) {
			return true
		}
	}
	return !d.hasRead(&k.For)
}

// watched is what the actions so far have done to a variant's instances.
type watched struct {
	*decoder
	variant *Variant
	state   map[string]string // by instance: Kill, Drain or Stop; "" while it serves
}

func (w *watched) actions(k *actionKeys) (done []Action) {
	for _, verb := range k.verbs() {
		if w.given(verb.on) == nil {
			continue
		}
		action, faults := Action{Verb: verb.name}, len(w.all)
		for i, name := range *verb.on {
			at := w.given(&(*verb.on)[i])
			for _, instance := range w.named(name) {
				if slices.Contains(action.Targets, instance) {
					w.add(where(at), "%s %s: %s is named before it in this action", verb.name, name, instance)
				} else if w.do(verb.name, instance, name == all, at) {
					action.Targets = append(action.Targets, instance)
				}
			}
		}
		if len(action.Targets) == 0 && len(w.all) == faults && slices.Contains(*verb.on, all) {
			w.add(where(w.given(verb.on)), "%s all: %s", verb.name, nobody[verb.name])
		}
		done = append(done, action)
	}
	if w.given(&k.Reload) != nil {
		done = append(done, Action{Verb: Reload, Targets: []string{"nginx"}})
	}
	if w.given(&k.Wait) != nil {
		done = append(done, Action{Verb: Wait, Wait: k.Wait})
	}
	return done
}

// named are the instances that a target means.
func (w *watched) named(target string) []string {
	if target == all {
		return instances(w.variant.Instances)
	}
	return []string{target}
}

// nobody says why an action on all instances does nothing to any.
var nobody = map[string]string{
	Kill: "all are down already", Drain: "all are down already", Stop: "all are stopped or down already", Cont: "nobody is stopped",
	Start: "all are running, nothing has killed or drained one before",
}

// do follows one action on one instance, and refuses what cannot be or does nothing: who writes it means something else. Of all, those
// are passed over on which it does nothing.
func (w *watched) do(verb, name string, all bool, n *yaml.Node) bool {
	known := instances(w.variant.Instances)
	if !slices.Contains(known, name) {
		if name != "" {
			w.add(where(n), "%s: there is no %s among %d instances%s: did you mean %s?", verb, name, len(known), w.variant.phrase(), nearest.Name(name, append(known, "all")))
		}
		return false
	}
	state := w.state[name]
	fault := ""
	switch down := state == Kill || state == Drain; {
	case verb == Cont && state == "":
		fault = "it has not been stopped before"
	case verb == Start && state == "":
		fault = "it is running, nothing has killed or drained it before"
	case verb == Start && state == Stop:
		fault = "it is stopped: what ends a stop is cont"
	case verb == Stop && state == Stop:
		fault = "it is stopped already: cont comes first"
	case down && (verb == Stop || verb == Cont):
		fault = "it is down, after " + state + ": start comes first"
	case down && (verb == Kill || verb == Drain):
		fault = "it is down already, after " + state + ": start comes first"
	}
	if fault != "" {
		if !all {
			w.add(where(n), "%s %s: %s", verb, name, fault)
		}
		return !all
	}
	switch verb {
	case Kill, Drain, Stop:
		w.state[name] = verb
	default:
		w.state[name] = ""
	}
	return true
}
