package scenario

import (
	"slices"
	"time"
)

// Kinds of actions, as experiment files, the event log and reports name them.
const (
	Kill    = "kill"    // SIGKILL
	Drain   = "drain"   // SIGTERM: finish what is open, then end
	Pause   = "pause"   // SIGSTOP
	Resume  = "resume"  // SIGCONT
	Start   = "start"   // of an instance that was killed or drained
	Restart = "restart" // drain, then start
	Reload  = "reload"  // SIGHUP to nginx
	Wait    = "wait"
)

// InstanceKinds are the kinds of actions on instances, in the order in which help and messages list them.
var InstanceKinds = []string{Kill, Drain, Pause, Resume, Start, Restart}

// NginxKinds are the kinds of actions on nginx.
var NginxKinds = []string{Reload}

// Kinds are all. A new one belongs into the list of what it is done to, the schema of experiment files, fleet's Do and both manuals; a
// test holds that they name the same.
var Kinds = slices.Concat(InstanceKinds, NginxKinds, []string{Wait})

// An Action is what a phase does. Exactly one field is set.
type Action struct {
	Instances *InstanceAction `json:"instances,omitempty"`
	Nginx     *NginxAction    `json:"nginx,omitempty"`
	Wait      *WaitAction     `json:"wait,omitempty"`
}

// An InstanceAction is done to instances, one after the other.
type InstanceAction struct {
	Kind  string   `json:"kind"` // one of InstanceKinds
	Names []string `json:"names"`
}

// An NginxAction is done to nginx.
type NginxAction struct {
	Kind string `json:"kind"` // one of NginxKinds
}

// A WaitAction does nothing for a time.
type WaitAction struct {
	For time.Duration `json:"for"` // nanoseconds
}

// Kind is the action's kind; "" if no field is set.
func (a Action) Kind() string {
	switch {
	case a.Instances != nil:
		return a.Instances.Kind
	case a.Nginx != nil:
		return a.Nginx.Kind
	case a.Wait != nil:
		return Wait
	}
	return ""
}

// An Operation is one action on one process. The event log has the start and the end of each.
type Operation struct {
	Kind    string
	Process string        // "" for Wait
	Wait    time.Duration // of Wait
}

// Operations are the action on each of its processes, in order: at least one, so that an action which does nothing is noticed.
func (a Action) Operations() []Operation {
	switch {
	case a.Instances != nil && len(a.Instances.Names) > 0:
		operations := make([]Operation, len(a.Instances.Names))
		for i, name := range a.Instances.Names {
			operations[i] = Operation{Kind: a.Instances.Kind, Process: name}
		}
		return operations
	case a.Nginx != nil:
		return []Operation{{Kind: a.Nginx.Kind, Process: Nginx}}
	case a.Wait != nil:
		return []Operation{{Kind: Wait, Wait: a.Wait.For}}
	}
	return []Operation{{Kind: a.Kind()}}
}
