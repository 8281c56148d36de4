// Package load is an open-loop load generator. It plans requests in advance and sends each on time regardless of earlier ones, which
// avoids coordinated omission; a request it cannot send is recorded as dropped.
//
// It is a separate process ([Start], [Serve]), so the rest of the lab takes none of its time and it can be paused or starved like any
// process. It does not judge itself: each record carries its start delay and longest stall, and package measure decides validity.
package load

import (
	"time"

	"trivet/lab/scenario"
)

// A Plan is everything a generator must know. Its values have been validated.
type Plan struct {
	Seed    uint64          `json:"seed"`    // starts every request's ID, so that equal plans make equal IDs
	HTTP    string          `json:"http"`    // where HTTP requests go, as host:port
	GRPC    string          `json:"grpc"`    // where gRPC calls go, as host:port
	CA      string          `json:"ca"`      // file of the authorities whose certificates are accepted; "": no TLS
	Records string          `json:"records"` // the file that gets one record.Client per line
	Begin   time.Time       `json:"begin"`   // the start that offsets are counted from
	For     time.Duration   `json:"for"`     // nothing is planned at Begin+For or later
	Loads   []scenario.Load `json:"loads"`   // all run at the same time
}

// An instruction follows the plan, on a line of its own.
type instruction struct {
	Finish time.Duration `json:"finish"` // nothing is planned at Begin+Finish or later; nanoseconds, more than 0
}
