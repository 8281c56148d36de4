// Package load plans requests ahead, sends each at its planned time whatever became of those before it (an open loop), and
// writes down what the client saw: the first of a request's three witnesses.
//
// It runs in a process of its own ([Start] starts it, [Serve] is what it does), so that nothing else of the laboratory takes its
// time, and so that it can be stopped and starved like anything else. It does not judge itself: every record says how late its request
// was and for how long the generator stood still meanwhile, and package ledger convicts.
package load

import "time"

// Protocols, as plans and records name them.
const (
	HTTP = "http"
	GRPC = "grpc"
)

// Calls, as plans and records name them.
const (
	Unary  = "unary"  // WhoAmI; over HTTP GET /
	Watch  = "watch"  // WatchWhoAmI, held for a while; gRPC alone
	Silent = "silent" // a stream on which nobody ever speaks, until its deadline; gRPC alone
)

// A Plan is all that a generator must know. It has been validated by whoever made it.
type Plan struct {
	Seed    uint64        `json:"seed"`    // stands in every request's id, so that the same plan makes the same ids
	HTTP    string        `json:"http"`    // where nginx takes HTTP, as host:port
	GRPC    string        `json:"grpc"`    // where nginx takes gRPC, as host:port
	Records string        `json:"records"` // the file that gets a Record a line
	Begin   time.Time     `json:"begin"`   // when the first request is planned
	For     time.Duration `json:"for"`     // nothing is planned at Begin+For or later
	Streams []Stream      `json:"streams"` // all at the same time
}

// A Stream is one kind of caller, calling at a rate.
type Stream struct {
	Protocol    string        `json:"protocol"`              // HTTP or GRPC
	Call        string        `json:"call"`                  // Unary, Watch or Silent
	Rate        []Point       `json:"rate"`                  // at least one, the first at 0
	Connections int           `json:"connections,omitempty"` // HTTP: at most so many at once; 0: as many as it takes
	Channels    int           `json:"channels,omitempty"`    // gRPC: so many, used in turn; at least 1
	Deadline    time.Duration `json:"deadline"`              // of each request, from its start; more than 0
	// Hold is Watch: after so long the caller hangs up, and the call was OK if a message had come by then; less than Deadline.
	Hold time.Duration `json:"hold,omitempty"`
	// Retry is gRPC: the shipped service config's retry policy (nginx.ServiceConfig); what grpc-go knows that nobody processed it tries again
	// without it, too, and nothing can turn that off. HTTP: whether net/http may silently send a GET again
	// whose kept-alive connection was being closed; without it such a GET fails, as a POST would.
	Retry bool `json:"retry"`
}

// A Point is the rate of a Stream from a time on, in requests a second. Between two points the rate changes evenly; two points at one
// time are a step; after the last it stays.
type Point struct {
	At   time.Duration `json:"at"` // since Plan.Begin
	Rate float64       `json:"rate"`
}
