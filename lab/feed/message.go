// Package feed turns records into what the page, its file and its replay show: messages of JSON. docs/feed.md describes them.
//
// It counts each record once, when it is read, and joins nothing: package ledger does that. So the sums over all bins of a trial are what
// package measure counts of it, and memory does not grow with the length of what is shown.
package feed

import (
	"encoding/json"
	"time"
)

// Version is in every Hello. A field that changes its meaning raises it, a new field does not.
const Version = 1

// A Message is one line of a feed. Exactly one field is set. Times are milliseconds since the Begin of their trial, unless a name says
// otherwise.
//
// A reader that has got all messages since a Hello can show everything. Bins, events and states replace what came before under the same
// number, so a message may come twice.
type Message struct {
	Hello      *Hello          `json:"hello,omitempty"`      // the first; everything before it is void
	Run        *Run            `json:"run,omitempty"`        // of a run: its experiments
	File       *File           `json:"file,omitempty"`       // of nginx's configuration, which trials refer to
	Trial      *Trial          `json:"trial,omitempty"`      // one begins; a live stack is one trial without an end
	Bins       *Bins           `json:"bins,omitempty"`       //
	Event      *Event          `json:"event,omitempty"`      //
	State      *State          `json:"state,omitempty"`      //
	Failures   *Failures       `json:"failures,omitempty"`   //
	Experiment *Experiment     `json:"experiment,omitempty"` // the report on one, when it has ended
	Control    json.RawMessage `json:"control,omitempty"`    // of a live stack: what can be done, and what is set; package session has its form
	Story      json.RawMessage `json:"story,omitempty"`      // in a file: one request's, as GET /api/story gives it, with the field "trial"
	Omitted    *Omitted        `json:"omitted,omitempty"`    // in a file: what it has no room for
	End        *End            `json:"end,omitempty"`        // the last: why nothing follows
}

// Sources of a feed.
const (
	Live   = "live" // a fleet that runs
	RunDir = "run"  // a run directory, also while the run goes on
)

// A Hello says what follows.
type Hello struct {
	V      int    `json:"v"`
	Source string `json:"source"` // Live or RunDir
	Trivet string `json:"trivet"` // versions
	Nginx  string `json:"nginx"`
	CPUs   int    `json:"cpus"`
	Dir    string `json:"dir"` // run directory
}

// A Run lists the experiments of a run directory.
type Run struct {
	Experiments []RunExperiment `json:"experiments"`
	Over        bool            `json:"over,omitempty"` // the run had ended when the feed began
}

// A RunExperiment is what an experiment asks.
type RunExperiment struct {
	Name     string       `json:"name"`
	Path     string       `json:"path"`
	Question string       `json:"question"`
	Trials   int          `json:"trials"` // of each variant
	Variants []RunVariant `json:"variants"`
	Expect   []string     `json:"expect"`
}

// A RunVariant is one of an experiment's.
type RunVariant struct {
	Name        string `json:"name"` // scenario.Only: there are no others
	Description string `json:"description,omitempty"`
}

// A File is one of nginx's configuration. Trials whose file has the same text share one.
type File struct {
	ID    string `json:"id"`   // of Trial.Config
	Name  string `json:"name"` // relative to conf/
	Lines []Line `json:"lines"`
}

// A Line is one of a File.
type Line struct {
	Text string `json:"text"`
	Mark string `json:"mark,omitempty"` // "+": added by an edit; "-": removed by one; "": as shipped
}

// A Trial is what the page needs beside bins, events and states.
type Trial struct {
	Trial      int        `json:"trial"`      // counts from 0: the key of all that belongs to it
	Experiment string     `json:"experiment"` // "": a live stack
	Variant    string     `json:"variant"`
	Number     int        `json:"number"`    // of its variant, from 1
	Begin      time.Time  `json:"begin"`     // time 0
	Length     int64      `json:"length_ms"` // of all phases; 0: no end
	Width      int64      `json:"width_ms"`  // of a bin
	Keep       int        `json:"keep"`      // how many of the newest bins are kept; 0: all
	Instances  []Instance `json:"instances"`
	Workers    int        `json:"workers"` // of nginx
	HTTP       string     `json:"http"`    // nginx's listeners
	GRPC       string     `json:"grpc"`    //
	TLS        bool       `json:"tls,omitempty"`
	MTLS       bool       `json:"mtls,omitempty"`
	Loads      []Load     `json:"loads"`
	Phases     []Phase    `json:"phases"`
	Config     []string   `json:"config,omitempty"`  // IDs of Files, the edited first
	Target     string     `json:"target,omitempty"`  // what it was run on; "": its own fleet
	Lacks      []string   `json:"lacks,omitempty"`   // sources without records, of "nginx", "instances", "health", "samples"
	Problem    string     `json:"problem,omitempty"` // why its records cannot be read
}

// An Instance is one of a trial.
type Instance struct {
	Name    string `json:"name"`
	Service string `json:"service"` // whoami or front
	HTTP    string `json:"http"`
	GRPC    string `json:"grpc"`
}

// A Load is one of a trial.
type Load struct {
	Name      string        `json:"name"`
	Flow      string        `json:"flow"`
	Rate      string        `json:"rate"`       // in words: "300/s", "100/s to 900/s"
	PerSecond []float64     `json:"per_second"` // of its parts
	Deadline  time.Duration `json:"deadline"`   // nanoseconds
	Retry     bool          `json:"retry"`
	Hops      []string      `json:"hops,omitempty"`
}

// A Phase is one of a trial.
type Phase struct {
	Name string   `json:"name"`
	From int64    `json:"from"` // milliseconds
	To   int64    `json:"to"`
	Do   []string `json:"do"` // its actions, in words: "kill whoami-2"
}

// Flows.
const (
	HTTP    = "http"
	GRPC    = "grpc"    // unary calls
	Streams = "streams" // gRPC calls that are held open: watches and idle streams
)

// Flows are all of them, in the order in which they are shown.
var Flows = []string{HTTP, GRPC, Streams}

// Bins are those that have changed.
type Bins struct {
	Trial int   `json:"trial"`
	Bins  []Bin `json:"bins"`
}

// A Bin is what was recorded of a part of a trial, from N*Width on. Client records count in the bin of the planned start, nginx's attempts
// in that of the begin of their access-log entry, arrivals in their own. So a bin changes until everything in it has ended.
type Bin struct {
	N         int                            `json:"n"`
	Flows     map[string]*Flow               `json:"flows"`               // without those that have nothing
	Instances map[string]map[string]*Instant `json:"instances,omitempty"` // by name and flow
	Generator *Generator                     `json:"generator,omitempty"` // nil: no sample
	Machine   *Machine                       `json:"machine,omitempty"`   // nil: no sample
}

// A Flow is the requests of one flow that were planned in a bin.
type Flow struct {
	Requests       int `json:"requests,omitempty"` // planned, and over: the sum of the next five
	OK             int `json:"ok,omitempty"`
	InstanceErrors int `json:"instance_errors,omitempty"` // see measure.Metrics for this and all that follow
	NginxErrors    int `json:"nginx_errors,omitempty"`
	Incomplete     int `json:"incomplete,omitempty"`
	Dropped        int `json:"dropped,omitempty"`

	ClientAttempts  int `json:"client_attempts,omitempty"`
	NginxAttempts   int `json:"nginx_attempts,omitempty"`
	FailedAttempts  int `json:"failed_attempts,omitempty"`
	InDoubt         int `json:"in_doubt,omitempty"`
	NoLiveUpstreams int `json:"no_live_upstreams,omitempty"`
	LocalReplies    int `json:"local_replies,omitempty"`

	Latency       Histogram `json:"latency,omitempty"`        // of OK requests, from the planned start
	FailedLatency Histogram `json:"failed_latency,omitempty"` // of failed requests that were sent

	Others int `json:"others,omitempty"` // access-log entries of requests that no load planned
}

// An Instant is an instance's part of one flow in a bin. Attempts and arrivals of calls that other instances make count in the flow of their
// protocol; a Flow has none of them.
type Instant struct {
	First    int `json:"first,omitempty"`    // first attempts: nginx's own choice
	Attempts int `json:"attempts,omitempty"` // nginx's, the first included
	Failed   int `json:"failed,omitempty"`   // of them: without a response header
	OK       int `json:"ok,omitempty"`       // OK responses that name it
	Arrivals int `json:"arrivals,omitempty"` // executions begun of planned requests, and of calls of other instances
	Hops     int `json:"hops,omitempty"`     // of them: for calls of other instances, for any request
	Calls    int `json:"calls,omitempty"`    // that it made to others, for any request
	Others   int `json:"others,omitempty"`   // arrivals of requests that no load planned, and not in Arrivals
	Open     int `json:"open,omitempty"`     // executions in flight at the end of the bin, of any request
}

// A Generator is how well the load was sent in a bin.
type Generator struct {
	Late int   `json:"late"`   // requests sent later than measure.MaxLateness, or in a longer stall
	Max  int64 `json:"max_us"` // the largest lateness, in microseconds
}

// A Machine is what the processes had of the CPUs in a bin: means over its samples.
type Machine struct {
	Other    float64 `json:"other_cpus"` // CPUs that other programs used
	RunDelay float64 `json:"run_delay"`  // the largest part of the time for which a process of the trial could have run and had no CPU
	Starved  bool    `json:"starved"`    // as package measure says
}

// A Histogram is pairs of a bucket and a count, [b1, n1, b2, n2, …], by bucket. Bucket b holds times of more than 1.02^(b-1) and at most
// 1.02^b microseconds; bucket 0 holds up to 1 µs. The middle of a bucket is within 1 % of what is in it.
type Histogram []int

// Tones of an event.
const (
	Note   = "note"
	Action = "action" // something was done to the system
	Bad    = "bad"
	Good   = "good"
)

// An Event is a row of what happened, in words. One that has consequences is sent again with more text.
type Event struct {
	Trial   int    `json:"trial"`
	N       int    `json:"n"` // counts from 0, by time of the first message
	At      int64  `json:"at"`
	Until   int64  `json:"until,omitempty"` // of an action that is done, or a phase: when it ended
	Kind    string `json:"kind"`            // phase, action, process, nginx, load, setting, request
	Tone    string `json:"tone"`
	Process string `json:"process,omitempty"`
	Action  string `json:"action,omitempty"` // a kind of action, see package scenario
	Text    string `json:"text"`             // "whoami-2 killed"
	// Since are consequences, in words: "3 calls failed", "nginx has not chosen it since 14:03:07".
	Since []string `json:"since,omitempty"`
}

// States of an instance.
const (
	Running  = "running"
	Starting = "starting"
	Paused   = "paused"
	Gone     = "gone"

	Serving    = "serving"     // health: SERVING; nginx: attempts got responses
	NotServing = "not_serving" // health: it answers, and is not ready: it drains
	NoResponse = "no_response" // health: the check failed or timed out

	Failing = "failing"    // nginx: the last attempts at it got no response header
	Ejected = "not_chosen" // nginx: it has chosen others for so long that it must have stopped choosing this one

	Unknown = "unknown"
)

// A State is an instance's from some time on, from three sides; the fourth is its share, in the bins.
type State struct {
	Trial    int    `json:"trial"`
	Instance string `json:"instance"`
	At       int64  `json:"at"`
	Process  string `json:"process"`        // Running, Starting, Paused or Gone
	Health   string `json:"health"`         // its own: Serving, NotServing, NoResponse or Unknown
	Nginx    string `json:"nginx"`          // inferred from the access log: Serving, Failing, Ejected or Unknown
	Over     string `json:"over,omitempty"` // HTTP or GRPC, if Nginx is true of this alone, and it also has attempts over the other
	Why      string `json:"why,omitempty"`  // what Nginx is inferred from: "0 of the last 40 first attempts"
}

// Failures are requests that failed, as they become known. Of a live stack a reader keeps the newest 200.
type Failures struct {
	Trial    int       `json:"trial"`
	Requests []Failure `json:"requests"`
}

// A Failure is a request that failed.
type Failure struct {
	ID       string `json:"id"`
	At       int64  `json:"at"` // planned start
	Flow     string `json:"flow"`
	Outcome  string `json:"outcome"` // see record.Client for this and all that follow
	Code     string `json:"code,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Instance string `json:"instance,omitempty"`
	Latency  int64  `json:"latency_us"`
}

// An Experiment is the report on one that has ended, in the form of trivet report --format json.
type Experiment struct {
	Experiment int             `json:"experiment"` // index in Run.Experiments
	Report     json.RawMessage `json:"report"`
}

// Omitted says of how many failed requests a file has no story, and where they are.
type Omitted struct {
	Stories int    `json:"stories"`
	Text    string `json:"text"`
}

// An End is the last message.
type End struct {
	Text string `json:"text"` // "trivet up has ended"
}
