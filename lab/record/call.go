package record

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"trivet/lab/scenario"
)

// CallVersion is in every Call and every Outgoing.
const CallVersion = 2

// A Call is what an instance wrote: a line for a call's arrival, and one for its completion.
type Call struct {
	V                int       `json:"v"`     // CallVersion
	Event            string    `json:"event"` // Arrival or Completion
	Time             time.Time `json:"time"`
	Instance         string    `json:"instance"`
	PID              int       `json:"pid"`
	Start            string    `json:"start"` // identifies this start of the instance: in containers every pid is 1
	Call             uint64    `json:"call"`  // counts the arrivals of this start from 1
	ID               string    `json:"id"`
	Protocol         string    `json:"protocol"`                    // scenario.HTTP or scenario.GRPC
	PreviousAttempts string    `json:"previous_attempts,omitempty"` // over gRPC: which retry of a client this is, as that says
	Code             string    `json:"code,omitempty"`              // of a completion: the HTTP status, or the gRPC code by its name in Go
	Duration         int64     `json:"duration_us,omitempty"`       // of a completion
}

// Events of a Call and of an Outgoing.
const (
	Arrival      = "arrival"
	Completion   = "completion"
	OutgoingCall = "outgoing"
)

// Previous is how often the client had sent the call before, as it says.
func (c Call) Previous() int {
	n, _ := strconv.Atoi(c.PreviousAttempts) // Anything can stand there.
	return n
}

// An Outgoing is what an instance wrote of a call that it made for a request, when that call had ended. Instance, PID, Start and Call are
// those of the request's arrival; ID, Protocol and Code are of the call that was made, Time is its end, and Duration how long it took.
type Outgoing struct {
	Call
	Attempts int `json:"attempts"` // sends begun
	// MaybeUnlogged and Reason are as in Client: a reason for each attempt that nginx may not have logged, and why there was no response,
	// or not a whole one.
	MaybeUnlogged []string `json:"maybe_unlogged,omitempty"`
	Reason        string   `json:"reason,omitempty"`
}

// withoutResponse are the codes of a call over HTTP to which no response came, by gRPC's names, and the reasons that they stand for.
var withoutResponse = map[string]string{codes.DeadlineExceeded.String(): Deadline, codes.Canceled.String(): Canceled, codes.Unavailable.String(): Reset}

// Client is what an instance recorded of a call, in the words of a client: that is what it was. Whether an error response is nginx's or an
// instance's it does not say: the outcome is InstanceError.
func (o Outgoing) Client(load int) Client {
	c := Client{
		V: ClientVersion, ID: o.ID, Load: load, Protocol: o.Protocol, Planned: o.Time.Add(-time.Duration(o.Duration) * time.Microsecond),
		Latency: o.Duration, Service: o.Duration, Code: o.Code, Reason: o.Reason, Attempts: o.Attempts, MaybeUnlogged: o.MaybeUnlogged, Outcome: InstanceError,
	}
	if reason := withoutResponse[o.Code]; o.Protocol == scenario.HTTP && reason != "" {
		c.Code, c.Reason = "", cmp.Or(o.Reason, reason)
		if len(c.MaybeUnlogged) == 0 && c.Attempts > 0 {
			c.MaybeUnlogged = []string{c.Reason}
		}
	}
	switch {
	case c.Reason != "":
		c.Outcome = Incomplete
	case c.Code == codes.OK.String(), o.Protocol == scenario.HTTP && strings.HasPrefix(c.Code, "2"):
		c.Outcome = OK
	}
	return c
}

// codeNames are those of gRPC's codes in Go.
var codeNames = func() (all []string) {
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		all = append(all, code.String())
	}
	return all
}()

// codeName is a gRPC code by its name in Go, whether it is written so or like DEADLINE_EXCEEDED; any other text is as it was.
func codeName(text string) string {
	for _, name := range codeNames {
		if strings.EqualFold(strings.ReplaceAll(text, "_", ""), name) {
			return name
		}
	}
	return text
}
