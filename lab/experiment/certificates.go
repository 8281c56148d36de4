package experiment

import (
	"fmt"
	"slices"

	"trivet/lab/scenario"
)

// certificates is what actions have done to certificates so far, where it matters to those that follow.
type certificates struct {
	added     int             // authorities that were added and not retired
	distrusts map[string]bool // instances that trust no authority
	together  int             // how deep the action is in actions at the same time
}

const (
	noMTLS = "no instance has a certificate; set fleet.mtls: true"
	noTLS  = "nginx has no certificate for clients; set fleet.tls: true"
)

// doToCertificate is do for actions on certificates. These are files, so the state of processes does not matter.
func (f *fleetState) doToCertificate(kind, name string) string {
	switch known := f.ServiceNames(); {
	case name == scenario.Authority:
		return f.doToAuthority(kind)
	case name == scenario.Edge && !f.TLS:
		return noTLS + in(f.Scenario)
	case name == scenario.Edge:
		return ""
	case !f.MTLS:
		return noMTLS + in(f.Scenario)
	case name == scenario.Nginx:
		return ""
	case !slices.Contains(known, name):
		return fmt.Sprintf("there are %d instances%s%s", len(known), in(f.Scenario), hint(name, append(known, all, scenario.Edge, scenario.Nginx)))
	}
	switch distrusts := f.distrusts[name]; {
	case kind == scenario.Distrust && distrusts:
		return "instance distrusts already"
	case kind == scenario.Trust && !distrusts:
		return "instance does not distrust"
	case kind == scenario.Distrust || kind == scenario.Trust:
		f.distrusts[name] = !distrusts
	}
	return ""
}

func (f *fleetState) doToAuthority(kind string) string {
	switch {
	case !f.TLS && !f.MTLS:
		return "nothing has a certificate; set fleet.tls or fleet.mtls: true" + in(f.Scenario)
	case f.together > 0:
		return "of what happens at the same time, chance would decide which authority signs; do it before or after"
	case kind == scenario.Retire && f.added == 0:
		return "there is one authority, and without it nothing is trusted; add another first"
	case kind == scenario.Retire:
		f.added--
	default:
		f.added++
	}
	return ""
}
