package scenario

import (
	"slices"
	"time"
)

// Kinds of actions, as experiment files, the event log and reports name them. What each does to nginx, and to one of its workers, is in
// the list of what it is done to.
const (
	Kill    = "kill"    // SIGKILL; nginx: of the master and all its workers
	Drain   = "drain"   // SIGTERM, of nginx SIGQUIT: finish what is open, then end
	Pause   = "pause"   // SIGSTOP; nginx: of the master and all its workers
	Resume  = "resume"  // SIGCONT
	Start   = "start"   // of what was killed or drained
	Restart = "restart" // drain, then start
	Reload  = "reload"  // SIGHUP to nginx
	Wait    = "wait"

	// Certificates. nginx reads a new one when it is reloaded, an instance at its next handshake.
	Renew               = "renew"                 // a new certificate, as at the start
	IssueExpired        = "issue_expired"         // one that has expired
	IssueNotYetValid    = "issue_not_yet_valid"   // one that is not valid yet
	IssueOtherAuthority = "issue_other_authority" // one of an authority that is not trusted
	IssueWrongName      = "issue_wrong_name"      // one with other names and another identity
	IssueNoIdentity     = "issue_no_identity"     // one without an identity: for Nginx alone
	Distrust            = "distrust"              // an instance trusts no authority of the trial any more
	Trust               = "trust"                 // ends Distrust
	Add                 = "add"                   // an authority, trusted beside the others; it signs from then on
	Retire              = "retire"                // the oldest authority: it is trusted no more

	// Actions on a target that runs containers on machines of its own.
	RollOut      = "roll_out"      // of a service: replace all of its instances, as an update does, and wait until that is done
	Scale        = "scale"         // of a service: run so many instances, and wait until they are ready
	DrainNode    = "drain_node"    // evict everything from the machine on which an instance runs, and start nothing there any more
	UncordonNode = "uncordon_node" // ends DrainNode: of the same instance, even if it is gone by then

	Together = "together" // actions at the same time
	Repeat   = "repeat"   // actions again and again
)

// Kinds of actions by what they are done to, in the order in which help and messages list them. A new kind belongs into them, the schema
// of experiment files, fleet's Do and both manuals; a test holds that they name the same.
var (
	InstanceKinds = []string{Kill, Drain, Pause, Resume, Start, Restart}
	NginxKinds    = []string{Kill, Drain, Pause, Resume, Start, Restart, Reload}
	WorkerKinds   = []string{Kill, Pause, Resume} // nginx starts another worker in the place of one that ended

	// IssueKinds are of an instance, Nginx or Edge, which have a certificate each; IssueNoIdentity is of Nginx. TrustKinds are of an instance,
	// AuthorityKinds of Authority.
	IssueKinds     = []string{Renew, IssueExpired, IssueNotYetValid, IssueOtherAuthority, IssueWrongName, IssueNoIdentity}
	TrustKinds     = []string{Distrust, Trust}
	AuthorityKinds = []string{Add, Retire}

	// ServiceKinds are of a service, "whoami" or "nginx"; NodeKinds of an instance, whose machine they are about. A target can carry them out,
	// the local fleet cannot.
	ServiceKinds = []string{RollOut, Scale}
	NodeKinds    = []string{DrainNode, UncordonNode}

	// CertificateKinds are all of them. None of them ends, starts or pauses a process.
	CertificateKinds = slices.Concat(IssueKinds, TrustKinds, AuthorityKinds)
)

// Kinds are the kinds of operations: all but Together and Repeat, which order them.
var Kinds = slices.Concat(NginxKinds, CertificateKinds, ServiceKinds, NodeKinds, []string{Wait})

// Resumes reports whether a process that was paused is not paused any more when an action on it is done.
func Resumes(kind string) bool { return kind != Pause && slices.Contains(InstanceKinds, kind) }

// An Action is what a phase does. Exactly one field is set.
type Action struct {
	Process  *ProcessAction `json:"process,omitempty"`
	Wait     *WaitAction    `json:"wait,omitempty"`
	Together []Action       `json:"together,omitempty"` // each begins when this action does, which is done when all are
	Repeat   *RepeatAction  `json:"repeat,omitempty"`
}

// A ProcessAction is done to processes, or to their certificates, one after the other.
type ProcessAction struct {
	Kind  string   `json:"kind"`         // one of InstanceKinds, NginxKinds, WorkerKinds, CertificateKinds, ServiceKinds or NodeKinds
	Names []string `json:"names"`        // of instances, Nginx, Edge, Authority, services, or of workers (see WorkerName)
	To    int      `json:"to,omitempty"` // of Scale: how many instances
}

// A WaitAction does nothing for a time.
type WaitAction struct {
	For time.Duration `json:"for"` // nanoseconds
}

// A RepeatAction does its actions several times. The k-th time, counted from 0, begins Every*k after the first, or when the time before
// it is done, if that is later.
type RepeatAction struct {
	Times int           `json:"times"` // at least 1
	Every time.Duration `json:"every"` // nanoseconds; more than 0
	Do    []Action      `json:"do"`    // one after the other
}

// Kind is the action's kind; "" if no field is set.
func (a Action) Kind() string {
	switch {
	case a.Process != nil:
		return a.Process.Kind
	case a.Wait != nil:
		return Wait
	case a.Together != nil:
		return Together
	case a.Repeat != nil:
		return Repeat
	}
	return ""
}

// An Operation is one action on one process, or a wait. The event log has the start and the end of each, under its index in the phase.
type Operation struct {
	Kind    string        // one of Kinds, never Together or Repeat
	Process string        // "" for Wait
	Wait    time.Duration // of Wait
	To      int           // of Scale
	// After are the operations, by index, that must be done before this one starts. Without any it starts with the phase, or as Base says.
	After []int
	// Base is the operation, by index, that Offset counts from: this one does not start earlier than Offset after Base's start. -1: none.
	Base   int
	Offset time.Duration
}

// Name is the operation's kind and what it is done to, "kill whoami-2".
func (o Operation) Name() string {
	if o.Process == "" {
		return o.Kind
	}
	return o.Kind + " " + o.Process
}

// Operations are those of all the phase's actions, in the order of the file; each time of a repeat has operations of its own. An action
// that does nothing has one, too, so that it is noticed.
func (p Phase) Operations() []Operation {
	var f flattener
	f.sequence(p.Do, nil, -1, 0)
	return f.operations
}

// Planned is when the operation is to start, since the start of its phase, given when others started and ended; false if one that it
// waits for has not.
func (o Operation) Planned(started, ended func(operation int) (time.Duration, bool)) (at time.Duration, ok bool) {
	for _, before := range o.After {
		end, ok := ended(before)
		if !ok {
			return 0, false
		}
		at = max(at, end)
	}
	if o.Base >= 0 {
		base, ok := started(o.Base)
		if !ok {
			return 0, false
		}
		at = max(at, base+o.Offset)
	}
	return at, true
}

// A flattener makes operations of actions.
type flattener struct{ operations []Operation }

// sequence adds actions that follow each other, and returns the operations that end them.
func (f *flattener) sequence(do []Action, after []int, base int, offset time.Duration) []int {
	for _, a := range do {
		after = f.action(a, after, base, offset)
	}
	return after
}

func (f *flattener) action(a Action, after []int, base int, offset time.Duration) []int {
	switch {
	case a.Process != nil && len(a.Process.Names) > 0:
		for _, name := range a.Process.Names {
			after = f.add(Operation{Kind: a.Process.Kind, Process: name, To: a.Process.To, After: after, Base: base, Offset: offset})
		}
		return after
	case a.Together != nil:
		var ends []int
		for _, one := range a.Together {
			ends = append(ends, f.action(one, after, base, offset)...)
		}
		return ends
	case a.Repeat != nil:
		first := len(f.operations)
		for k := range a.Repeat.Times {
			if k > 0 {
				base, offset = first, a.Repeat.Every*time.Duration(k)
			}
			after = f.sequence(a.Repeat.Do, after, base, offset)
		}
		return after
	}
	o := Operation{Kind: a.Kind(), After: after, Base: base, Offset: offset}
	if a.Wait != nil {
		o.Wait = a.Wait.For
	}
	return f.add(o)
}

func (f *flattener) add(o Operation) []int {
	f.operations = append(f.operations, o)
	return []int{len(f.operations) - 1}
}
