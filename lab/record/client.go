package record

import (
	"cmp"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"trivet/internal/words"
	"trivet/lab/scenario"
)

// ClientVersion is in every Client. A field that changes its meaning raises it, a new field does not.
const ClientVersion = 3

// Outcomes of a request. A gRPC call is judged by its grpc-status alone, never by HTTP 200.
const (
	OK            = "ok"
	InstanceError = "instance_error" // an error response that names an instance
	NginxError    = "nginx_error"    // an error response that names none: nginx generated it (a local reply)
	Incomplete    = "incomplete"     // no response before the deadline, or not all of it: see Reason
	Dropped       = "dropped"        // never sent, because the generator was late: see Reason
)

// Reasons of Incomplete and Dropped, and why an attempt may have no access-log entry (Client.MaybeUnlogged).
const (
	Deadline         = "deadline"          // the request's deadline passed before the end of its response
	Refused          = "refused"           // no connection
	Reset            = "reset"             // the connection or the stream was reset
	ConnectionClosed = "connection_closed" // the connection had ended before the attempt was sent, or did while it was
	TransparentRetry = "transparent_retry" // grpc-go knows that no server processed the attempt, and makes another
	Canceled         = "canceled"          // the client canceled a watch before the first message
	Overdue          = "overdue"           // Dropped: more than a second after its planned start
	InFlightLimit    = "in_flight_limit"   // Incomplete, and never sent: the system was so slow that too many requests were in flight
)

// Reasons are all of them.
var Reasons = []string{Deadline, Refused, Reset, ConnectionClosed, TransparentRetry, Canceled, Overdue, InFlightLimit}

// A Client is what the client recorded of one planned request: one line of JSON, written when the request is over.
type Client struct {
	V        int    `json:"v"`        // ClientVersion
	ID       string `json:"id"`       // SEED.PROTOCOL.LOAD.N, sent as x-request-id; N counts from 0
	Load     int    `json:"load"`     // index in the scenario's loads
	Protocol string `json:"protocol"` // scenario.HTTP or scenario.GRPC
	Method   string `json:"method"`   // "GET /" or "/whoami.v1.WhoAmIService/WhoAmI"

	User    int    `json:"user,omitempty"`    // over HTTP: index of the virtual user
	Address string `json:"address,omitempty"` // the client's, if the load has any

	Planned time.Time `json:"planned"`    // wall clock
	Late    int64     `json:"late_us"`    // microseconds from the planned start to the start
	Latency int64     `json:"latency_us"` // microseconds from the planned start to the end
	Service int64     `json:"service_us"` // microseconds from the start to the end
	// Stalled is the generator's longest stall between the planned start and the end, in microseconds: that much of what was measured may
	// be the generator's own.
	Stalled int64 `json:"stalled_us,omitempty"`

	Outcome  string `json:"outcome"`
	Code     string `json:"code,omitempty"`     // HTTP status by number; gRPC code by its Go name, like OK or Unavailable; "" over HTTP without a response
	Reason   string `json:"reason,omitempty"`   // of Incomplete and Dropped
	Error    string `json:"error,omitempty"`    // the client library's message, unless OK or Dropped; at most MaxError bytes
	Instance string `json:"instance,omitempty"` // x-instance of the response
	Messages int    `json:"messages,omitempty"` // of a watch: messages received

	Attempts int `json:"attempts"` // sends begun: gRPC by stats.Begin, HTTP by httptrace's GetConn
	// MaybeUnlogged has a reason for each attempt that nginx may not have seen or not have logged: each without a response header. So
	// nginx has at least Attempts-len(MaybeUnlogged) access-log entries with this ID, and at most Attempts.
	MaybeUnlogged []string `json:"maybe_unlogged,omitempty"`
}

// IDPrefix is what Client.ID starts with in a load: all but N.
func IDPrefix(seed uint64, protocol string, load int) string {
	return fmt.Sprintf("%d.%s.%d.", seed, protocol, load)
}

// SetError records an error response: an instance's if it names one, else nginx's.
func (r *Client) SetError(message string) {
	r.Outcome = NginxError
	if r.Instance != "" {
		r.Outcome = InstanceError
	}
	r.Error = words.Clip(message, MaxError)
}

// Sent reports whether the client began to send the request.
func (r *Client) Sent() bool { return r.Outcome != Dropped && r.Reason != InFlightLimit }

// SetIncomplete records why no response came, or not all of it.
func (r *Client) SetIncomplete(reason string, err error) {
	r.Outcome, r.Reason, r.Error = Incomplete, reason, words.Clip(err.Error(), MaxError)
}

// SetExpired records that the request ended after its deadline, whatever came by then. Code and instance of a response stay; over gRPC the
// client's code is its own.
func (r *Client) SetExpired() {
	if r.Outcome != Incomplete || r.Reason != Deadline {
		r.Error = words.Clip("after the deadline: "+cmp.Or(r.Error, "a whole response"), MaxError)
	}
	r.Outcome, r.Reason = Incomplete, Deadline
	if r.Protocol == scenario.GRPC {
		r.Code = codes.DeadlineExceeded.String()
	}
}

// MaxError is the longest Client.Error, in bytes.
const MaxError = 200
