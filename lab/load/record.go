package load

import (
	"strings"
	"time"
)

// RecordVersion is in every Record. A field that changes its meaning raises it, a new field does not.
const RecordVersion = 1

// Outcomes of a request: whose word the end was. A gRPC call is judged by its grpc-status alone, never by HTTP 200.
const (
	OK         = "ok"
	ByInstance = "instance"    // an instance answered with an error: the answer names it
	ByNginx    = "nginx"       // nginx answered, no instance: its errors name none
	AtClient   = "client"      // no answer: Reason tells why
	NotStarted = "not_started" // never sent: Reason tells why
)

// Reasons of AtClient and NotStarted, and why an attempt may be without a line in nginx's log (Record.Own).
const (
	Deadline    = "deadline"          // the request's deadline passed
	Refused     = "refused"           // no connection
	Reset       = "reset"             // the connection or the stream was broken off
	Lost        = "lost"              // the connection had ended before the attempt was sent, or did while it was
	Transparent = "transparent retry" // grpc-go knows that nobody processed the attempt, and makes another
	HungUp      = "hung up"           // the caller of a Watch hung up, before the first message
	Overdue     = "overdue"           // NotStarted: its time had passed by more than a second
	TooMany     = "too many"          // NotStarted: too many requests were in flight
)

// A Record is what the client saw of one planned request. One a line, JSON, written when the request is over.
type Record struct {
	V        int    `json:"v"`        // RecordVersion
	ID       string `json:"id"`       // SEED.PROTOCOL.STREAM.N, sent as x-request-id; N counts from 0
	Stream   int    `json:"stream"`   // index in Plan.Streams
	Protocol string `json:"protocol"` // HTTP or GRPC
	Method   string `json:"method"`   // "GET /" or "/whoami.v1.WhoAmIService/WhoAmI"

	Planned time.Time `json:"planned"`    // wall clock
	Late    int64     `json:"late_us"`    // microseconds from the planned start to the start
	Latency int64     `json:"latency_us"` // microseconds from the planned start to the end
	Service int64     `json:"service_us"` // microseconds from the start to the end
	// Stalled is for how many microseconds the generator stood still at one go, at most, from the planned start to the end: so much of
	// what was measured may be its own.
	Stalled int64 `json:"stalled_us,omitempty"`

	Outcome  string `json:"outcome"`
	Code     string `json:"code,omitempty"`     // HTTP status by number; gRPC code by its Go name, like OK or Unavailable; "" over HTTP where no answer came
	Reason   string `json:"reason,omitempty"`   // only of AtClient and NotStarted
	Error    string `json:"error,omitempty"`    // the client library's own words, when it is neither OK nor NotStarted; at most 200 bytes
	Instance string `json:"instance,omitempty"` // x-instance of the answer
	Messages int    `json:"messages,omitempty"` // Watch: how many came

	Attempts int `json:"attempts"` // how often the client began to send it: gRPC by stats.Begin, HTTP by httptrace's GetConn
	// Own has a reason for each attempt that nginx may not have seen, or may not have got to the end of its line for: each that got
	// no answer's header. So of the lines in nginx's log with this id there are at least Attempts less len(Own), and at most Attempts.
	Own []string `json:"own,omitempty"`
}

// answered fills in whose error an answer is.
func (r *Record) answered(words string) {
	r.Outcome = ByNginx
	if r.Instance != "" {
		r.Outcome = ByInstance
	}
	r.Error = clip(words)
}

// fail fills in why no answer came, or not all of it.
func (r *Record) fail(reason string, err error) {
	r.Outcome, r.Reason, r.Error = AtClient, reason, clip(err.Error())
}

// mostError is the longest Record.Error, in bytes.
const mostError = 200

func clip(words string) string {
	if len(words) > mostError {
		words = strings.ToValidUTF8(words[:mostError], "")
	}
	return words
}
