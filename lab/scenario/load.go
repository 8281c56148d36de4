package scenario

import (
	"math"
	"time"
)

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

// Shapes of rates.
const (
	Constant = "constant"
	Ramp     = "ramp" // evenly from the first rate to the second
	Step     = "step" // each rate for an equal part of the time
)

// A Rate is how many requests are planned per second.
type Rate struct {
	Shape     string    `json:"shape"`      // Constant, Ramp or Step
	PerSecond []float64 `json:"per_second"` // at least one
}

// A profile is a rate over time, by points, the first at 0. Between two points the rate changes evenly; two points at one time are a
// step; after the last it stays.
type profile []point

// A point is the rate at a time.
type point struct {
	at   time.Duration
	rate float64
}

// profile is the rate over a time.
func (r Rate) profile(total time.Duration) profile {
	switch r.Shape {
	case Ramp:
		return profile{{0, r.PerSecond[0]}, {total, r.PerSecond[1]}}
	case Step:
		var points profile
		for i, rate := range r.PerSecond {
			at := total * time.Duration(i) / time.Duration(len(r.PerSecond))
			if i > 0 {
				points = append(points, point{at, r.PerSecond[i-1]})
			}
			points = append(points, point{at, rate})
		}
		return points
	}
	return profile{{0, r.PerSecond[0]}}
}

// Estimate is about how many requests the rate plans within d: the mean of its rates by the time. Unlike Count it takes no time itself.
func (r Rate) Estimate(d time.Duration) int {
	sum := 0.0
	for _, rate := range r.PerSecond {
		sum += rate
	}
	return int(math.Ceil(sum / float64(max(1, len(r.PerSecond))) * d.Seconds()))
}
