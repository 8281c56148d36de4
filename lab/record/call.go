package record

import "time"

// CallVersion is in every Call.
const CallVersion = 2

// A Call is what an instance wrote: a line for a call's arrival, and one for its completion.
type Call struct {
	V        int       `json:"v"`     // CallVersion
	Event    string    `json:"event"` // Arrival or Completion
	Time     time.Time `json:"time"`
	Instance string    `json:"instance"`
	PID      int       `json:"pid"`
	Start    string    `json:"start"` // identifies this start of the instance: in containers every pid is 1
	Call     uint64    `json:"call"`  // counts the arrivals of this start from 1
	ID       string    `json:"id"`
	Protocol string    `json:"protocol"`              // scenario.HTTP or scenario.GRPC
	Code     string    `json:"code,omitempty"`        // of a completion: the HTTP status, or the gRPC code by its name in Go
	Duration int64     `json:"duration_us,omitempty"` // of a completion
}

// Events of a Call.
const (
	Arrival    = "arrival"
	Completion = "completion"
)
