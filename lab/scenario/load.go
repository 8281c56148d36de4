package scenario

import "time"

// Protocols, as experiment files, plans and records name them.
const (
	HTTP = "http"
	GRPC = "grpc"
)

// Calls, as experiment files and plans name them.
const (
	Unary = "unary" // WhoAmI; over HTTP GET /
	Watch = "watch" // WatchWhoAmI, held for a while; gRPC only
	Idle  = "idle"  // a stream that carries no message, until its deadline; gRPC only
)

// A Load is requests of one kind, sent at a rate whatever becomes of earlier ones (an open loop).
type Load struct {
	Name        string        `json:"name"`                  // its protocol's if it has none of its own
	Protocol    string        `json:"protocol"`              // HTTP or GRPC
	Call        string        `json:"call"`                  // Unary, Watch or Idle
	Rate        Rate          `json:"rate"`                  //
	Connections int           `json:"connections,omitempty"` // HTTP: the most at once; 0: no limit
	Channels    int           `json:"channels,omitempty"`    // gRPC: at least 1, used in turn; HTTP: 0
	Deadline    time.Duration `json:"deadline"`              // of each request, from its start; more than 0
	// Hold is for Watch: the client cancels after so long, and the call was OK if a message had come by then. It is less than Deadline.
	Hold time.Duration `json:"hold,omitempty"`
	// Retry over gRPC applies the retry policy of the shipped service config (nginx.ServiceConfig); transparent retries happen without
	// it, too, and nothing can turn them off. Over HTTP it lets net/http resend a GET whose kept-alive connection was being closed;
	// without it such a GET fails, as a POST would.
	Retry bool `json:"retry"`
}
