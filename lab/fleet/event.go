package fleet

import "time"

// Kind is what happened to a process.
type Kind string

// The kinds of events, in the order of a process's life.
const (
	Started Kind = "started" // The process runs; it may not serve yet.
	Ready   Kind = "ready"   // It serves.
	Died    Kind = "died"    // It ended though nobody asked it to.
	Stopped Kind = "stopped" // It ended as it was asked to.
)

// Event is something that happened to a process of a fleet.
type Event struct {
	Time time.Time
	Kind Kind
	Name string
	PID  int
	HTTP string // the address of its HTTP door
	GRPC string // the address of its gRPC door
	// Since is the time since the process was started: how long it took to be ready, how long it lived.
	Since time.Duration
	// Exit says how a process ended: "exit code 1", "signal SIGKILL". A process that could not even be started ended with the reason.
	Exit string
	// Again is after how long a process that died is started again; 0: it is not.
	Again time.Duration
	// Life counts the process's starts, from 1.
	Life int
}
