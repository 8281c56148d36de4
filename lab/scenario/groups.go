package scenario

import (
	"slices"
	"strconv"
	"strings"

	"trivet/internal/hop"
)

// Groups are the groups of requests that metrics can be asked for: the protocols in use, HTTP first, then the loads that have a name of
// their own. Each is followed by those of the calls that are made for its requests, by depth: grpc, grpc_hop1, grpc_hop2.
func (s Scenario) Groups() []string {
	var names []string
	for _, protocol := range []string{HTTP, GRPC} {
		if slices.ContainsFunc(s.Loads, func(l Load) bool { return l.Protocol == protocol }) {
			names = append(names, protocol)
		}
	}
	for _, l := range s.Loads {
		if !slices.Contains(names, l.Name) {
			names = append(names, l.Name)
		}
	}
	var all []string
	for _, name := range names {
		all = append(all, name)
		for depth := range s.depth(name) {
			all = append(all, HopGroup(name, depth+1))
		}
	}
	return all
}

const hopSuffix = "_hop"

// HopGroup is the name of the group of calls that are made for a group's requests: at depth 1 by their receivers, at 2 by the receivers of
// those calls.
func HopGroup(group string, depth int) string { return group + hopSuffix + strconv.Itoa(depth) }

// Hop is the group whose requests the calls of a group are made for, and how deep they are; the group itself and 0 if it has no calls.
func Hop(group string) (of string, depth int) {
	if i := strings.LastIndex(group, hopSuffix); i > 0 {
		if n, err := strconv.Atoi(group[i+len(hopSuffix):]); err == nil && n > 0 && HopGroup(group[:i], n) == group {
			return group[:i], n
		}
	}
	return group, 0
}

// Group returns the indexes of the loads in a group: all loads of the protocol, if the name is a protocol's, else the load of that
// name. It is empty for an unknown name.
func (s Scenario) Group(name string) []int {
	if of, depth := Hop(name); depth > 0 {
		if depth > s.depth(of) {
			return nil
		}
		name = of
	}
	var byName, byProtocol []int
	for i, l := range s.Loads {
		if l.Name == name {
			byName = append(byName, i)
		}
		if l.Protocol == name {
			byProtocol = append(byProtocol, i)
		}
	}
	if len(byProtocol) > 0 {
		return byProtocol
	}
	return byName
}

// depth is how deep the calls go that are made for a group's requests.
func (s Scenario) depth(group string) (deepest int) {
	for _, l := range s.Group(group) {
		route, _ := s.Route(l)
		deepest = max(deepest, route.Depth())
	}
	return deepest
}

// Service is which service receives a load's requests.
func (s Scenario) Service(load int) string {
	if path, _, _ := strings.Cut(s.Loads[load].Request.Path, "?"); path == FrontPath && s.Front > 0 {
		return hop.Front
	}
	return hop.Whoami
}

// FrontPath is where front is called over HTTP.
const FrontPath = "/front"

// Route is which calls the receivers of a load's requests make. The error wraps hop.ErrInvalid.
func (s Scenario) Route(load int) (hop.Route, error) {
	return hop.NewRoute(s.Service(load), s.Loads[load].Hops)
}

// Calls are those of a group whose requests are calls: one of each that the receiver of one request makes, at the group's depth.
func (s Scenario) Calls(group string) (all []hop.Call) {
	_, depth := Hop(group)
	for _, l := range s.Group(group) {
		route, _ := s.Route(l)
		all = append(all, route.At(depth)...)
	}
	return all
}

// GroupProtocol is the protocol of a group's requests; "" if they have both.
func (s Scenario) GroupProtocol(group string) string {
	if _, depth := Hop(group); depth == 0 {
		return s.Loads[s.Group(group)[0]].Protocol
	}
	calls := s.Calls(group)
	for _, c := range calls {
		if c.Protocol != calls[0].Protocol {
			return ""
		}
	}
	return calls[0].Protocol
}

// GroupInstances are the names of the instances that can receive a group's requests.
func (s Scenario) GroupInstances(group string) []string {
	services := map[string]bool{}
	if _, depth := Hop(group); depth == 0 {
		for _, l := range s.Group(group) {
			services[s.Service(l)] = true
		}
	}
	for _, c := range s.Calls(group) {
		services[c.Service] = true
	}
	whoami, front := s.Instances, s.Front
	if !services[hop.Whoami] {
		whoami = 0
	}
	if !services[hop.Front] {
		front = 0
	}
	if whoami+front == 0 {
		whoami = s.Instances
	}
	return ServiceNames(whoami, front)
}

// WholeUpstream reports whether the requests of a group are all that an upstream gets: those of all loads of its protocol and service, and
// no instance calls it.
func (s Scenario) WholeUpstream(group string) bool {
	if _, depth := Hop(group); depth > 0 {
		return false
	}
	loads := s.Group(group)
	protocol, service := s.Loads[loads[0]].Protocol, s.Service(loads[0])
	for i, l := range s.Loads {
		same := l.Protocol == protocol && s.Service(i) == service
		if same != slices.Contains(loads, i) {
			return false
		}
		route, _ := s.Route(i)
		for depth := range route.Depth() {
			if slices.ContainsFunc(route.At(depth+1), func(c hop.Call) bool { return c.Protocol == protocol && c.Service == service }) {
				return false
			}
		}
	}
	return true
}
