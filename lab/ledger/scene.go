package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// SceneVersion is in every Scene.
const SceneVersion = 1

// Files of a run folder (one variant's), relative to it.
const (
	SceneFile     = "scene.json"              // a Scene
	EventsFile    = "records/events.jsonl"    // an Event a line: what the laboratory did, and what became of the processes
	ClientFile    = "records/client.jsonl"    // a load.Record a line
	InstancesFile = "records/instances.jsonl" // the instances' records; all of them append to one file
	NginxFile     = "logs/access.log"         // nginx's
)

// OwnID begins the id of every request that the laboratory sends for itself, to see whether a process is ready. They are no load.
const OwnID = "trivet-"

// A Scene is what was set up: all that a ledger must know beside the records. It is written before the load begins.
type Scene struct {
	V          int           `json:"v"` // SceneVersion
	Experiment string        `json:"experiment"`
	Variant    string        `json:"variant"`
	Seed       uint64        `json:"seed"`
	Nginx      string        `json:"nginx"`  // version
	Trivet     string        `json:"trivet"` // version
	Begin      time.Time     `json:"begin"`  // of the first phase, wall clock
	Phases     []Phase       `json:"phases"` // one follows the other
	Loads      []Load        `json:"loads"`  // in the order of load.Plan.Streams
	Instances  []Instance    `json:"instances"`
	HTTP       string        `json:"http"`    // nginx's doors, as host:port
	GRPC       string        `json:"grpc"`    //
	Workers    int           `json:"workers"` // nginx's worker processes
	Settle     time.Duration `json:"settle"`  // how long after its start a request can be open: the longest deadline and a second
}

// A Phase is a part of the time. A request belongs to the phase in which it was planned, whenever it ended.
type Phase struct {
	Name string        `json:"name"`
	For  time.Duration `json:"for"`
}

// A Load is one stream of requests.
type Load struct {
	Name     string `json:"name"`     // what expectations call it; the protocol's name if it has none of its own
	Protocol string `json:"protocol"` // load.HTTP or load.GRPC
	Planned  int    `json:"planned"`  // requests: ids run from 0 to Planned-1, or a client record is lost
	// Deadline is how long after its start each is over at the latest; 0: not known.
	Deadline time.Duration `json:"deadline,omitempty"`
}

// An Instance is where one stands.
type Instance struct {
	Name string `json:"name"`
	HTTP string `json:"http"` // as host:port
	GRPC string `json:"grpc"`
}

// Kinds of events.
const (
	PhaseBegan  = "phase"       // Phase
	ActionBegan = "action"      // Phase, Verb, Target, Wait
	ActionDone  = "done"        // Phase, Verb, Target, and Error if it failed
	ProcessIs   = "process"     // Kind, Name, PID, Exit, as fleet.Event
	NginxDid    = "nginx"       // Kind, PID, Exit: what nginx's log tells that nobody asked for
	StoodStill  = "still"       // the generator did not end, and was killed
	Ended       = "end"         // the load has ended, and all processes are gone
	Broke       = "broke"       // Error: the laboratory broke
	Interrupted = "interrupted" // Error: by which signal
)

// Kinds of NginxDid.
const (
	WorkerEnded    = "ended"        // a worker; PID, Exit
	WorkerReplaced = "replaced"     // one was started, PID, in the place of one that ended, and all seemed well
	Reconfigured   = "reconfigured" // it read its configuration again
)

// An Event is a line of EventsFile.
type Event struct {
	V      int       `json:"v"` // SceneVersion
	Time   time.Time `json:"time"`
	Event  string    `json:"event"`
	Phase  string    `json:"phase,omitempty"`
	Verb   string    `json:"verb,omitempty"`   // kill, drain, stop, cont, start, restart, reload, wait
	Target string    `json:"target,omitempty"` // an instance, or nginx
	Kind   string    `json:"kind,omitempty"`   // of ProcessIs: started, ready, died, stopped
	Name   string    `json:"name,omitempty"`
	PID    int       `json:"pid,omitempty"`
	Exit   string    `json:"exit,omitempty"`
	Wait   int64     `json:"wait_us,omitempty"` // microseconds that a wait is to take
	Error  string    `json:"error,omitempty"`
}

// LastEvent is the last of a run folder: how the run ended, if it did. Without any it is the zero Event.
func LastEvent(dir string) (Event, error) {
	path := filepath.Join(dir, EventsFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return Event{}, err
	}
	text = bytes.TrimRight(text, "\n")
	var e Event
	if len(text) == 0 {
		return e, nil
	}
	if err := json.Unmarshal(text[bytes.LastIndexByte(text, '\n')+1:], &e); err != nil {
		return Event{}, fmt.Errorf("%s: the last line: %w", path, err)
	}
	return e, nil
}

// Write puts the scene into a run folder. It is there whole, or not at all.
func (s Scene) Write(dir string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, SceneFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func readScene(dir string) (Scene, error) {
	path := filepath.Join(dir, SceneFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return Scene{}, fmt.Errorf("no run folder of the laboratory: %w", err)
	}
	var s Scene
	if err := json.Unmarshal(text, &s); err != nil {
		return Scene{}, fmt.Errorf("%s: %w", path, err)
	}
	if s.V != SceneVersion {
		return Scene{}, fmt.Errorf("%s has version %d, and this program reads %d", path, s.V, SceneVersion)
	}
	if len(s.Phases) == 0 {
		return Scene{}, fmt.Errorf("%s has no phases", path)
	}
	return s, nil
}

// end is when the last phase is over, since Begin.
func (s Scene) end() time.Duration {
	var end time.Duration
	for _, p := range s.Phases {
		end += p.For
	}
	return end
}

// bounds are when a phase begins and ends, since Begin.
func (s Scene) bounds(phase int) (from, to time.Duration) {
	for _, p := range s.Phases[:phase] {
		from += p.For
	}
	return from, from + s.Phases[phase].For
}

// phaseAt is the phase that a time since Begin belongs to: the first and the last reach beyond the run.
func (s Scene) phaseAt(t time.Duration) int {
	for i, p := range s.Phases[:len(s.Phases)-1] {
		if t -= p.For; t < 0 {
			return i
		}
	}
	return len(s.Phases) - 1
}
