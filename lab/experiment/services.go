package experiment

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"trivet/internal/hop"
	"trivet/lab/scenario"
)

// services is what actions have done to services and machines so far, where it matters to those that follow.
type services struct {
	replaced string          // the action since which it is not known which instance whoami-2 is; "": it is
	drained  map[string]bool // instances whose machines were drained
	sizes    map[string]int  // of services; one that is missing is not known
}

// ofService reports whether an instance is one of a service.
func ofService(service, instance string) bool {
	return service == hop.Whoami && strings.HasPrefix(instance, hop.Whoami+"-")
}

// lost says why it is not known which instance a name means; "" if it is.
func (f *fleetState) lost(name string) string {
	if f.replaced == "" || !slices.Contains(f.ServiceNames(), name) {
		return ""
	}
	return "after " + f.replaced + " it is not known which instance that is; name it before"
}

// doToService follows an action on a service, to so many instances.
func (f *fleetState) doToService(kind, name string, to int) string {
	if kind == scenario.Scale {
		if f.sizes[name] == to {
			return fmt.Sprintf("there are %d already%s", to, in(f.Scenario))
		}
		f.sizes[name] = to
	}
	if name == hop.Whoami {
		f.replaced = kind + " " + name
	}
	return ""
}

// doToNode follows an action on the machine of an instance.
func (f *fleetState) doToNode(kind, name string) string {
	drained := f.drained[name]
	switch {
	case kind == scenario.UncordonNode && !drained:
		return "its machine was not drained"
	case kind == scenario.UncordonNode:
		f.drained[name] = false
		return ""
	case drained:
		return "its machine is drained already; uncordon it first"
	case !slices.Contains(f.ServiceNames(), name):
		return fmt.Sprintf("there are %d instances%s%s", f.Instances, in(f.Scenario), hint(name, f.ServiceNames()))
	}
	if why := f.lost(name); why != "" {
		return why
	}
	f.drained[name], f.replaced = true, kind+" "+name
	return ""
}

// scale is an action on the sizes of services: of one, as the schema has it.
func (f *fleetState) scale(value json.RawMessage, at string) *scenario.ProcessAction {
	sizes, action := map[string]int{}, &scenario.ProcessAction{Kind: scenario.Scale}
	_ = json.Unmarshal(value, &sizes) // It was marshaled from one.
	for name, to := range sizes {
		if !f.valid(child(at, name)) {
			continue
		}
		why := ""
		if o := (scenario.Operation{Kind: scenario.Scale, Process: name, To: to}); !f.on.can(o) {
			why = f.on.cannot(scenario.Scale, name, f.Scenario)
		} else {
			why = f.doToService(scenario.Scale, name, to)
		}
		if action.Names, action.To = append(action.Names, name), to; why != "" {
			f.add(f.position(child(at, name)), "%s %s: %s", scenario.Scale, name, why)
		}
	}
	return action
}
