// Package draft writes an experiment's file from what was done to a running fleet, for trivet run to do again.
package draft

import (
	"time"

	"trivet/nginx/confedit"
)

// A History is what was done to a fleet, and under which load. Its times count from any one moment, that of the fleet's start for example.
type History struct {
	Instances int // of whoami, at least 1
	Front     int // instances of front
	Workers   int // of nginx; 0: as many as an experiment has by default
	MTLS      bool
	Unlike    []string  // what no experiment has, in words: "the instances had …: here …"
	Segments  []Segment // by time, over nginx's plain listeners; between two of them there was no load
	Actions   []Action  // by time
}

// A Segment is a time in which neither the load nor nginx's configuration changed.
type Segment struct {
	From, To time.Duration
	HTTP     float64       // requests per second; 0: none
	GRPC     float64       // unary calls per second
	Streams  float64       // watches that are held open at once: each for Hold, so that Streams/Hold begin per second
	Hold     time.Duration // of each watch; 0: DefaultHold
	Interval time.Duration // between two messages of a watch; 0: the service's default
	Channels int           // of watches; 0: as many as an experiment has by default
	Deadline time.Duration // of each request; that of a watch is Hold + Deadline
	Retry    bool          // of HTTP and gRPC; see scenario.Load

	Edits    []confedit.Edit // of the shipped configuration, all that were made
	Settings []string        // the same in words, like "balancing method: least connections"; none: as shipped
}

// DefaultHold is for how long a watch is held open.
const DefaultHold = 5 * time.Second

// An Action is one that was carried out on one process. A process that ended or started by itself, like one that the fleet restarts after a
// kill, has none: to be in the file it needs one of the same effect, kind scenario.Start.
type Action struct {
	At, Until time.Duration // begin and end; Until 0: it took no time
	Kind      string        // of scenario.NginxKinds
	Process   string        // an instance, or scenario.Nginx
}

func (a Action) name() string { return a.Kind + " " + a.Process }
