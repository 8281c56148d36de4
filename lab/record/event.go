package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// EventVersion is in every Event.
const EventVersion = 3

// Events of a trial.
const (
	PhaseStarted    = "phase"            // Phase
	ActionStarted   = "action_started"   // Phase, Operation, Action, Process, Wait
	ActionDone      = "action_done"      // Phase, Operation, Action, Process, and Error if it failed
	Probe           = "probe"            // ID: of a request that the lab sends for itself, to nginx or to an instance, before it is sent
	ProcessEvent    = "process"          // Kind, Process, PID, Start of an instance, Exit
	NginxEvent      = "nginx"            // Kind, PID, Exit: from nginx's error log, what no action requested
	HealthEvent     = "health"           // Kind, Process: an instance's own health has changed
	GeneratorKilled = "generator_killed" // the generator did not end by itself
	Ended           = "ended"            // the load has ended, and no process is left
	LabError        = "error"            // Error: the lab failed
	Interrupted     = "interrupted"      // Error: the signal
)

// Kinds of a ProcessEvent.
const (
	Started = "started" // it runs; it may not serve yet
	Ready   = "ready"   // it serves
	Died    = "died"    // it ended without a request to do so
	Stopped = "stopped" // it ended as requested
)

// Kinds of a HealthEvent.
const (
	Serving    = "serving"     // it is ready
	NotServing = "not_serving" // it responds that it is not: it starts, or drains
	NoResponse = "no_response" // the check failed, or timed out
)

// Kinds of an NginxEvent.
const (
	WorkerEnded    = "worker_ended"    // PID, Exit
	WorkerReplaced = "worker_replaced" // PID of a worker that was started in place of one that ended without a message
	Reconfigured   = "reconfigured"    // nginx read its configuration again
)

// An Event is a line of EventsFile, the event log.
type Event struct {
	V     int       `json:"v"` // EventVersion
	Time  time.Time `json:"time"`
	Event string    `json:"event"`
	Phase string    `json:"phase,omitempty"`
	// Operation is the index in the phase's scenario.Phase.Operations.
	Operation int    `json:"operation,omitempty"`
	Action    string `json:"action,omitempty"`  // a kind of action, see package scenario
	Process   string `json:"process,omitempty"` // an instance, or scenario.Nginx
	Kind      string `json:"kind,omitempty"`    // of a ProcessEvent, NginxEvent or HealthEvent
	// Instance is of a Started that announces an instance which the manifest does not have.
	Instance *Instance `json:"instance,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Start    string    `json:"start,omitempty"` // of an instance, as in Call
	Exit     *Exit     `json:"exit,omitempty"`
	Wait     int64     `json:"wait_us,omitempty"` // microseconds a wait is to take
	ID       string    `json:"id,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// ActionName is the action and what it is done to, "kill whoami-2".
func (e Event) ActionName() string { return strings.TrimSpace(e.Action + " " + e.Process) }

// An Exit is how a process ended. Exactly one field says so: Signal, or Error if it could not be started, else Code.
type Exit struct {
	Code   int    `json:"code"`             // exit code
	Signal string `json:"signal,omitempty"` // SIGKILL, SIGSEGV …
	Error  string `json:"error,omitempty"`
}

func (e Exit) String() string {
	switch {
	case e.Error != "":
		return e.Error
	case e.Signal != "":
		return "signal " + e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Clean reports whether the process ended by itself with exit code 0.
func (e Exit) Clean() bool { return e == Exit{} }

// Killed reports whether SIGKILL ended the process.
func (e Exit) Killed() bool { return e.Signal == "SIGKILL" }

// LastEvent is the last of a trial directory: how the trial ended, if it did. Without any it is the zero Event.
func LastEvent(dir string) (e Event, err error) {
	path := filepath.Join(dir, EventsFile)
	text, err := readFile(path)
	text = bytes.TrimRight(text, "\n")
	if err != nil || len(text) == 0 {
		return e, err
	}
	if err := json.Unmarshal(text[bytes.LastIndexByte(text, '\n')+1:], &e); err != nil {
		return Event{}, fmt.Errorf("%s: the last line: %w", path, err)
	}
	return e, nil
}
