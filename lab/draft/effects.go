package draft

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"trivet/lab/scenario"
)

// effects are what actions have done to each process: scenario.Kill, Drain or Pause; nothing while it serves.
type effects map[string]string

// do follows an action, by the rules that package experiment has for a file. It returns why the action has no effect, and "" if it has one.
func (e effects) do(a Action) string {
	state := e[a.Process]
	down := state == scenario.Kill || state == scenario.Drain
	switch {
	case a.Kind == scenario.Resume && state != scenario.Pause:
		return "it was not paused"
	case a.Kind == scenario.Start && !down:
		return "it was running"
	case a.Kind == scenario.Pause && state == scenario.Pause:
		return "it was paused already"
	case a.Kind == scenario.Reload && state == scenario.Pause:
		return "it was paused"
	case down && a.Kind != scenario.Start:
		return "it was down"
	}
	switch a.Kind {
	case scenario.Kill, scenario.Drain, scenario.Pause:
		e[a.Process] = a.Kind
	default:
		delete(e, a.Process)
	}
	return ""
}

// affects reports whether a file can have the action: it is one of the process, and the process is one of the fleet.
func (h History) affects(a Action) bool {
	if a.Process == scenario.Nginx {
		return slices.Contains(scenario.NginxKinds, a.Kind)
	}
	return slices.Contains(scenario.InstanceKinds, a.Kind) && slices.Contains(scenario.ServiceNames(h.Instances, h.Front), a.Process)
}

// effective removes what has no effect, and what a file cannot have. Notes say what that is, of what was done since a time.
func (h *History) effective(since time.Duration) (notes []string) {
	state, all := effects{}, h.Actions
	h.Actions = nil
	for _, a := range all {
		why := "no experiment can do that"
		if h.affects(a) {
			why = state.do(a)
		}
		if why == "" {
			h.Actions = append(h.Actions, a)
		} else if a.At >= since {
			notes = append(notes, fmt.Sprintf("%s is left out: %s", a.name(), why))
		}
	}
	return notes
}

// prepare are the actions after which the fleet is as it was when what is in effect had been done, at no particular time.
func (e effects) prepare() (all []Action) {
	for _, process := range slices.SortedFunc(maps.Keys(e), scenario.CompareNames) {
		kind := e[process]
		if kind == scenario.Drain {
			kind = scenario.Kill // The same is left, at once.
		}
		all = append(all, Action{Kind: kind, Process: process})
	}
	return all
}

// serve reports whether some instance and nginx respond, and whether every process of a fleet does.
func (e effects) serve(instances int) (some, all bool) {
	for _, name := range scenario.InstanceNames(instances) {
		some = some || e[name] == ""
	}
	return some && e[scenario.Nginx] == "", len(e) == 0
}
