package fleet

import (
	"time"

	"trivet/lab/record"
)

// An Event is something that happened to a process of a fleet.
type Event struct {
	Time       time.Time
	Kind       string // record.Started, Ready, Died or Stopped, in this order in a process's life
	Process    string // whoami-1, or scenario.Nginx
	Start      string // of an instance: the identity of this start, which its records have too
	StartCount int    // counts the process's starts, from 1
	PID        int    // 0 if the process could not be started
	HTTP       string // its HTTP endpoint
	GRPC       string // its gRPC endpoint
	// Elapsed is the time since the process was started: how long it took to be ready, how long it ran.
	Elapsed time.Duration
	// Exit is how a process that died or stopped ended.
	Exit *record.Exit
	// RestartIn is the time until a process that died is started again; 0: it stays down.
	RestartIn time.Duration
}
