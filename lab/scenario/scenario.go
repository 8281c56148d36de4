// Package scenario describes what a trial does: the fleet, the loads, the phases with their actions, and the edits of nginx's
// configuration. Its types are plain values: package experiment makes them from YAML, package trial carries them out, and the manifest
// of a trial keeps them, so that a report needs nothing else.
//
// Names of instances, times of phases and kinds of actions are defined here and nowhere else.
package scenario

import (
	"fmt"
	"slices"
	"time"

	"trivet/nginx/confedit"
)

// Kinds of targets, as experiment files and manifests name them.
const (
	Local      = "local"      // instances and nginx that the trial starts itself
	Compose    = "compose"    // a Compose project
	Kubernetes = "kubernetes" // a namespace
	URL        = "url"        // whatever responds there
)

// ThroughService is Scenario.Through of a load that reaches the instances through the engine's own load balancing of connections, past nginx.
const ThroughService = "service"

// Only is the variant's name in an experiment that has no variants.
const Only = "only"

// Total names the whole trial where expectations and reports name a phase.
const Total = "total"

// A Scenario is one variant of an experiment, with every default filled in.
type Scenario struct {
	Experiment  string            `json:"experiment"`
	Variant     string            `json:"variant"`               // Only if the experiment has no variants
	Description string            `json:"description,omitempty"` // of the variant
	Seed        uint64            `json:"seed"`
	Instances   int               `json:"instances"`           // at least 1
	Front       int               `json:"front,omitempty"`     // instances of front; 0: none
	Workers     int               `json:"workers"`             // of nginx, at least 1
	TLS         bool              `json:"tls,omitempty"`       // the load reaches nginx by TLS
	MTLS        bool              `json:"mtls,omitempty"`      // nginx and the instances use mutual TLS
	TLSMin      string            `json:"tls_min,omitempty"`   // lowest version of TLS that instances accept; "": their default
	Target      string            `json:"target,omitempty"`    // kind of target that it is run on; "": a fleet that the trial starts itself
	OwnNames    bool              `json:"own_names,omitempty"` // the target's instances have names of their own, and not whoami-1, whoami-2 …
	Through     string            `json:"through,omitempty"`   // ThroughService, or "": through nginx
	PreStop     *time.Duration    `json:"pre_stop,omitempty"`  // on Kubernetes, how long an instance sleeps before SIGTERM; nil: as deployed
	Files       map[string]string `json:"files,omitempty"`     // beside the shipped configuration's: text by name, relative to conf/
	Edits       []confedit.Edit   `json:"edits,omitempty"`     // of the shipped configuration
	Loads       []Load            `json:"loads"`               // all run at the same time
	Phases      []Phase           `json:"phases"`              // at least one; each follows the one before it
}

// A Phase is a segment of the trial. A request belongs to the phase in which it was planned, whenever it ended.
type Phase struct {
	Name string        `json:"name"`
	For  time.Duration `json:"for"`          // nanoseconds
	Do   []Action      `json:"do,omitempty"` // one after the other, from the start of the phase
}

// Validate returns an error for the first value out of its range: a report divides by these, and makes room for them.
func (s Scenario) Validate() error {
	for _, n := range []struct {
		of    string
		value int
	}{{"instances", s.Instances}, {"workers", s.Workers}, {"loads", len(s.Loads)}, {"phases", len(s.Phases)}} {
		if n.value < 1 {
			return fmt.Errorf("%s: %d, want 1 or more", n.of, n.value)
		}
	}
	for i, l := range s.Loads {
		switch rates := len(l.Rate.PerSecond); {
		case l.Protocol != HTTP && l.Protocol != GRPC:
			return fmt.Errorf("loads[%d]: protocol %q, want %s or %s", i, l.Protocol, HTTP, GRPC)
		case l.Deadline <= 0:
			return fmt.Errorf("loads[%d]: deadline %v, want more than 0", i, l.Deadline)
		case rates == 0 || l.Rate.Shape == Ramp && rates != 2 || slices.Min(l.Rate.PerSecond) < 0:
			return fmt.Errorf("loads[%d]: rate %s %v, want 0 or more per second, and two of a %s", i, l.Rate.Shape, l.Rate.PerSecond, Ramp)
		case len(l.Rate.For) > 0 && (l.Rate.Shape != Step || len(l.Rate.For) != rates || slices.Min(l.Rate.For) < 0):
			return fmt.Errorf("loads[%d]: %d times for %d rates of a %s, want a time for each rate of a %s", i, len(l.Rate.For), rates, l.Rate.Shape, Step)
		}
	}
	for i := range s.Loads {
		if _, err := s.Route(i); err != nil {
			return fmt.Errorf("loads[%d]: %w", i, err)
		}
	}
	for i, p := range s.Phases {
		if p.Name == "" || p.For <= 0 {
			return fmt.Errorf("phases[%d]: %q for %v, want a name and more than 0", i, p.Name, p.For)
		}
	}
	return nil
}

// Length is the time of all phases.
func (s Scenario) Length() time.Duration {
	var sum time.Duration
	for _, p := range s.Phases {
		sum += p.For
	}
	return sum
}

// Phase returns the index of the phase of that name, and -1 if there is none.
func (s Scenario) Phase(name string) int {
	return slices.IndexFunc(s.Phases, func(p Phase) bool { return p.Name == name })
}

// Bounds are when a phase starts and ends, since the start of the first.
func (s Scenario) Bounds(phase int) (from, to time.Duration) {
	for _, p := range s.Phases[:phase] {
		from += p.For
	}
	return from, from + s.Phases[phase].For
}

// PhaseAt is the index of the phase to which a time since the start of the first belongs. Times before the first phase belong to it,
// times after the last to that one.
func (s Scenario) PhaseAt(t time.Duration) int {
	for i, p := range s.Phases[:len(s.Phases)-1] {
		if t -= p.For; t < 0 {
			return i
		}
	}
	return len(s.Phases) - 1
}

// InstanceNames are the names of the scenario's instances of whoami, whoami-1 first.
func (s Scenario) InstanceNames() []string { return InstanceNames(s.Instances) }

// ServiceNames are the names of the instances of all services: those of whoami, then those of front.
func (s Scenario) ServiceNames() []string { return ServiceNames(s.Instances, s.Front) }
