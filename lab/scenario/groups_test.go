package scenario

import (
	"slices"
	"testing"
)

func TestGroupsOfCalls(t *testing.T) {
	t.Parallel()
	s := Scenario{Instances: 3, Front: 2, Loads: []Load{
		{Name: "http", Protocol: HTTP, Request: Request{Path: "/front?x=1"}},
		{Name: "chain", Protocol: GRPC, Hops: []string{"grpc,http", "grpc:front"}},
		{Name: "plain", Protocol: GRPC},
	}}
	want := []string{"http", "http_hop1", "grpc", "grpc_hop1", "grpc_hop2", "grpc_hop3", "chain", "chain_hop1", "chain_hop2", "chain_hop3", "plain"}
	if got := s.Groups(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for group, want := range map[string]struct {
		loads     []int
		protocol  string
		instances []string
	}{
		"http":       {[]int{0}, HTTP, []string{"front-1", "front-2"}},
		"http_hop1":  {[]int{0}, GRPC, []string{"whoami-1", "whoami-2", "whoami-3"}},
		"grpc_hop1":  {[]int{1, 2}, "", []string{"whoami-1", "whoami-2", "whoami-3"}},
		"chain_hop2": {[]int{1}, GRPC, []string{"front-1", "front-2"}},
		"chain_hop3": {[]int{1}, GRPC, []string{"whoami-1", "whoami-2", "whoami-3"}},
	} {
		if got := s.Group(group); !slices.Equal(got, want.loads) || s.GroupProtocol(group) != want.protocol || !slices.Equal(s.GroupInstances(group), want.instances) {
			t.Errorf("%s: loads %v, protocol %q, instances %q; want %+v", group, got, s.GroupProtocol(group), s.GroupInstances(group), want)
		}
	}
	for _, unknown := range []string{"chain_hop4", "chain_hop0", "chain_hop01", "plain_hop1", "_hop1", "x"} {
		if got := s.Group(unknown); len(got) > 0 {
			t.Errorf("%s: loads %v", unknown, got)
		}
	}
}

// The requests of a group are all of an upstream only if no instance calls that, too.
func TestWholeUpstream(t *testing.T) {
	t.Parallel()
	s := Scenario{Instances: 3, Front: 1, Loads: []Load{{Name: "http", Protocol: HTTP}, {Name: "calls", Protocol: GRPC, Hops: []string{"grpc:front", "grpc:front"}}}}
	for group, want := range map[string]bool{"http": true, "calls": false, "grpc": false, "calls_hop1": false} {
		if s.WholeUpstream(group) != want { // The last front calls whoami.
			t.Errorf("%s: %t", group, !want)
		}
	}
	s.Loads[1].Hops = []string{"http:front"}
	s.Loads = append(s.Loads, Load{Name: "more", Protocol: HTTP, Request: Request{Path: "/front"}})
	for group, want := range map[string]bool{"http": false, "more": false, "calls": false} {
		if s.WholeUpstream(group) != want {
			t.Errorf("%s: %t", group, !want)
		}
	}
	s.Loads = s.Loads[:1]
	if !s.WholeUpstream("http") {
		t.Error("the only load is not the whole upstream")
	}
}
