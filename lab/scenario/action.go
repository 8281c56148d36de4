package scenario

import "time"

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

// An Action is what a phase does. Exactly one field is set.
type Action struct {
	Instances *InstanceAction `json:"instances,omitempty"`
	Reload    *ReloadAction   `json:"reload,omitempty"`
	Wait      *WaitAction     `json:"wait,omitempty"`
}

// An InstanceAction is done to instances, one after the other.
type InstanceAction struct {
	Kind  string   `json:"kind"` // one of InstanceKinds
	Names []string `json:"names"`
}

// A ReloadAction makes nginx read its configuration again.
type ReloadAction struct{}

// A WaitAction does nothing for a time.
type WaitAction struct {
	For time.Duration `json:"for"` // nanoseconds
}

// Kind is the action's kind; "" if no field is set.
func (a Action) Kind() string {
	switch {
	case a.Instances != nil:
		return a.Instances.Kind
	case a.Reload != nil:
		return Reload
	case a.Wait != nil:
		return Wait
	}
	return ""
}

// Processes are the processes that the action is done to, in order: none of a wait.
func (a Action) Processes() []string {
	switch {
	case a.Instances != nil:
		return a.Instances.Names
	case a.Reload != nil:
		return []string{Nginx}
	}
	return nil
}
