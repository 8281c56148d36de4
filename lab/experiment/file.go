// Package experiment reads the files that describe experiments, finds everything that is wrong with one before anything is started,
// and judges what was measured by the file's own expectations.
package experiment

import (
	"slices"
	"time"

	"trivet/lab/load"
	"trivet/nginx/confedit"
)

// A File is one experiment, read and checked.
type File struct {
	Path     string // as it was named
	Name     string // Path's last element without its ending: kill-one
	Source   []byte // the file itself
	Question string
	Answer   string // how to say what was measured; see File.Answered
	Seed     uint64
	Phases   []Phase   // at least one; as the first variant has them, see Variant.Phases
	Variants []Variant // at least one, in the file's order; a file without any has one, called Only
	Expect   []Expectation

	answer []part
}

// Only is the name of the variant of a file that has none.
const Only = "only"

// Length is the time of all phases.
func (f *File) Length() time.Duration { return length(f.Phases) }

func length(phases []Phase) (sum time.Duration) {
	for _, p := range phases {
		sum += p.For
	}
	return sum
}

// A Variant is the scenario under one setting.
type Variant struct {
	Name      string
	About     string // why it is there, in a few words; may be empty
	Instances int
	Workers   int
	Edits     []confedit.Edit // to the shipped files
	Loads     []Load
	Phases    []Phase // those of all variants, but that "all" means this one's instances

	sets       []setSpots // where Edits stand in the file
	uneditable bool       // some of Edits cannot be made
}

// phrase says which variant is meant, where there are several.
func (v Variant) phrase() string {
	if v.Name == Only {
		return ""
	}
	return " in variant " + v.Name
}

// Calls are what expectations can say of a phase: the protocols that are spoken, and the loads.
func (v Variant) Calls() []string {
	var names []string
	for _, protocol := range []string{load.HTTP, load.GRPC} {
		if slices.ContainsFunc(v.Loads, func(l Load) bool { return l.Protocol == protocol }) {
			names = append(names, protocol)
		}
	}
	for _, l := range v.Loads {
		if !slices.Contains(names, l.Name) {
			names = append(names, l.Name)
		}
	}
	return names
}

// A Load is callers of one kind, calling at a rate whatever becomes of their calls.
type Load struct {
	Name        string // the protocol's unless given
	Protocol    string // load.HTTP or load.GRPC
	Call        string // load.Unary, load.Watch or load.Silent
	Rate        Rate
	Connections int           // HTTP: at most so many at once; 0: as many as it takes
	Channels    int           // gRPC; 0 over HTTP
	Deadline    time.Duration // of each call
	Hold        time.Duration // load.Watch
	Retry       bool
}

// A Phase is a part of the time.
type Phase struct {
	Name string
	For  time.Duration
	Do   []Action // one after the other, from the phase's beginning on
}

// Verbs of actions.
const (
	Kill    = "kill"
	Drain   = "drain"
	Stop    = "stop"
	Cont    = "cont"
	Start   = "start"
	Restart = "restart"
	Reload  = "reload"
	Wait    = "wait"
)

// An Action is something done to the fleet.
type Action struct {
	Verb    string
	Targets []string // instances, one after the other; nginx for Reload; none for Wait
	Wait    time.Duration
}

// An Expectation is a condition on what was measured.
type Expectation struct {
	Text   string
	Line   int
	Column int

	expression
}
