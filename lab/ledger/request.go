package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"trivet/internal/words"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Foreign is the Load of a request that was not planned.
const Foreign = -1

// A Request is all that the sources recorded of one request.
type Request struct {
	ID             string
	Load           int   // index in the scenario's loads, or Foreign
	N              int64 // counts the requests of the load from 0
	Depth          int   // 0: the generator's own; else how many calls, one for the other, led to it
	Client         *record.Client
	FurtherClients []record.Client // lawfully none
	Entries        []record.AccessLogEntry
	NginxAttempts  []Attempt // of all entries
	Executions     []Execution
	Outgoing       []record.Outgoing // of a call, in the place of Client: one of each execution that made it
	Calls          []*Request        // that its executions made
	// Unlogged is set if an action killed nginx, or a worker, while the request was open, and its records lack what nginx then did not log.
	Unlogged bool

	grpc    bool
	late    bool // it was emitted, and another record came
	body    bool // it has one
	lacks   lacks
	planned time.Time // by the scenario; zero if that plans fewer requests

	calls    []*plannedCall // that each of its executions makes
	parent   *Request       // of a call: that it was made for
	step     step           // of a call: from its parent
	attempts int            // of a call: the most that a caller makes
}

// An Attempt is one of nginx's.
type Attempt struct {
	record.Attempt
	Endpoint     // zero if the address is no instance's
	Entry    int // index in Request.Entries
}

// An Execution is what an instance recorded of one call.
type Execution struct {
	Endpoint
	Start               string // of the instance
	Call                uint64
	Arrival, Completion *record.Call  // nil: not recorded
	Further             []record.Call // lawfully none: further arrivals and completions of the same call
}

// An Endpoint is where an instance accepts a protocol.
type Endpoint struct{ Instance, Protocol string }

func (e Endpoint) String() string {
	if e.Protocol == scenario.GRPC {
		return e.Instance + " (gRPC)"
	}
	return e.Instance + " (HTTP)"
}

// FromCache reports whether the client's response came from nginx's cache: the instance that it names responded to an earlier request.
func (q *Request) FromCache() bool {
	if q.parent != nil || !slices.ContainsFunc(q.Entries, record.AccessLogEntry.FromCache) {
		return slices.ContainsFunc(q.Entries, record.AccessLogEntry.FromCache)
	}
	i := q.responseEntry()
	return i >= 0 && q.Entries[i].FromCache()
}

// clone is a copy to which records can be added, with all calls.
func (q *Request) clone() *Request {
	c := *q
	c.Outgoing, c.Calls = slices.Clone(q.Outgoing), slices.Clone(q.Calls)
	for i := range c.Calls {
		c.Calls[i] = c.Calls[i].clone()
		c.Calls[i].parent = &c
	}
	c.FurtherClients, c.Entries, c.NginxAttempts, c.Executions = slices.Clone(q.FurtherClients), slices.Clone(q.Entries), slices.Clone(q.NginxAttempts), slices.Clone(q.Executions)
	return &c
}

// execution is the one that a record of an instance belongs to.
func (q *Request) execution(c record.Call) *Execution {
	at := Endpoint{c.Instance, c.Protocol}
	for i := range q.Executions {
		if e := &q.Executions[i]; e.Call == c.Call && e.Start == c.Start && e.Endpoint == at {
			return e
		}
	}
	q.Executions = append(q.Executions, Execution{Endpoint: at, Start: c.Start, Call: c.Call})
	return &q.Executions[len(q.Executions)-1]
}

// seen counts attempts and executions at one endpoint.
type seen struct {
	Endpoint
	sure       int // attempts with a header: each has one execution
	possible   int // attempts that may have one
	unsent     int // attempts for which nothing was sent
	executions int
}

// seen is what was seen at each endpoint that any source names.
func (q *Request) seen(room []seen) []seen {
	all := room[:0]
	at := func(e Endpoint) *seen {
		for i := range all {
			if all[i].Endpoint == e {
				return &all[i]
			}
		}
		all = append(all, seen{Endpoint: e})
		return &all[len(all)-1]
	}
	for _, a := range q.NginxAttempts {
		switch a.Fate {
		case record.GotHeader:
			at(a.Endpoint).sure++
		case record.InDoubt, record.Expired:
			at(a.Endpoint).possible++
		case record.Unsent:
			at(a.Endpoint).unsent++
		}
	}
	for _, e := range q.Executions {
		at(e.Endpoint).executions++
	}
	return all
}

// complete reports whether every record that may lawfully come has come, also of the calls that were made for it, and none contradicts
// another.
func (q *Request) complete() bool {
	if q.Client == nil || len(q.FurtherClients) > 0 || len(q.Outgoing) > 0 || !q.Client.Planned.Equal(q.planned) {
		return false
	}
	if !q.Client.Sent() && q.Client.Attempts > 0 {
		return false
	}
	if q.lacks.log {
		return len(q.Entries) == 0 && q.matched()
	}
	if len(q.Entries) != q.Client.Attempts {
		return false
	}
	return q.executed() && q.sameResponse() && q.missingCompletion(nil) == "" && q.calledAll()
}

// executed reports whether nginx's attempts and the instances' records match, and all of these have come.
func (q *Request) executed() bool {
	for _, e := range q.Executions {
		if e.Arrival == nil || e.Completion == nil || len(e.Further) > 0 {
			return false
		}
	}
	var room [4]seen
	for _, s := range q.seen(room[:]) {
		if s.Endpoint == (Endpoint{}) || !q.lacks.calls && s.executions != s.sure+s.possible {
			return false
		}
	}
	return true
}

// discrepancies are the rules that a request, or a call that was made for it, breaks when no further record can come. killed reports
// whether a start of an instance ended without draining. An Unlogged request may lack access-log entries, and what they would say.
func (q *Request) discrepancies(killed func(instance, start string) bool) (all []Discrepancy) {
	for one := range q.All {
		all = append(all, one.own(killed)...)
	}
	return all
}

// own are those of discrepancies that are of the request itself, or of a call that should have been made for it.
func (q *Request) own(killed func(instance, start string) bool) []Discrepancy {
	var all []Discrepancy
	of := func(q *Request, rule int, what string, args ...any) {
		all = append(all, q.discrepancy(rule, fmt.Sprintf(what, args...)))
	}
	found := func(rule int, what string, args ...any) { of(q, rule, what, args...) }
	switch {
	case q.Load == Foreign:
		q.checkForeign(found)
		return all
	case q.parent != nil:
		q.checkCallers(found)
	default:
		q.checkClient(found)
	}
	if q.lacks.log {
		if len(all) == 0 {
			q.checkWithoutLog(found, killed)
		}
		return all
	}
	q.checkExecutions(found, killed)
	q.checkCalls(of)
	if len(all) == 0 { // Else the responses differ because of that.
		q.checkResponses(found, killed)
	}
	return all
}

// checkExecutions applies rules 3 and 4.
func (q *Request) checkExecutions(found func(int, string, ...any), killed func(instance, start string) bool) {
	var room [4]seen
	for _, s := range q.seen(room[:]) {
		switch {
		case s.Endpoint == (Endpoint{}):
			found(3, "nginx tried an address that is no instance's")
		case q.lacks.calls, s.executions < s.sure && q.mayLack(s.Instance, killed):
		case s.executions < s.sure:
			found(3, "nginx got %s from %s, which recorded %s", words.Count(s.sure, "response header"), s, words.Count(s.executions, "arrival"))
		case q.Unlogged:
		case s.executions > 0 && s.sure+s.possible+s.unsent == 0:
			found(4, "%s recorded %s, and no access-log entry has an attempt at it", s, words.Count(s.executions, "arrival"))
		case s.executions > s.sure+s.possible:
			found(3, "%s recorded %s, and nginx sent it %s", s, words.Count(s.executions, "arrival"), words.Count(s.sure+s.possible, "attempt"))
		}
	}
	for _, e := range q.Executions {
		switch {
		case e.Arrival == nil:
			found(3, "%s recorded the completion of call %d and not its arrival", e.Endpoint, e.Call)
		case len(e.Further) > 0:
			found(3, "%s recorded call %d more than once", e.Endpoint, e.Call)
		}
	}
}

// checkForeign finds one discrepancy of an ID that was not planned, for the first source that has it: client, caller, nginx, instances.
func (q *Request) checkForeign(found func(int, string, ...any)) {
	switch {
	case q.Client != nil:
		found(1, "the client made a request that was not planned")
	case len(q.Outgoing) > 0:
		found(1, "%s recorded that it made a call that was not planned", q.Outgoing[0].Instance)
	case len(q.Entries) > 0:
		found(2, "the access log has a request that was not planned")
	default:
		found(4, "%s of a request that was not planned", words.Count(len(q.Executions), "arrival"))
	}
}

// checkClient applies rules 1 and 2.
func (q *Request) checkClient(found func(int, string, ...any)) {
	c := q.Client
	if c == nil {
		found(1, "it was planned, and the client has no record of it")
		return
	}
	switch {
	case len(q.Outgoing) > 0:
		found(1, "%s recorded that it made this request, which is the client's", q.Outgoing[0].Instance)
	case len(q.FurtherClients) > 0:
		found(1, "the client has %d records of it", 1+len(q.FurtherClients))
	case !c.Planned.Equal(q.planned):
		found(1, "%s", q.movedWords())
	case !c.Sent() && c.Attempts > 0:
		found(1, "the client never sent it, and counts %s", words.Count(c.Attempts, "attempt"))
	case c.Attempts == 0 && c.Outcome != record.Dropped && c.Outcome != record.Incomplete:
		found(1, "the client has a response (%s) without an attempt", c.Outcome)
	}
	entries, least := len(q.Entries), c.Attempts-len(c.MaybeUnlogged)
	switch {
	case q.lacks.log:
	case entries > c.Attempts:
		found(2, "the client made %s, and the access log has %d", words.Count(c.Attempts, "attempt"), entries)
	case entries < least && !q.Unlogged:
		found(2, "the client made %s that nginx must have logged, and the access log has %d", words.Count(least, "attempt"), entries)
	}
}

// movedWords say how a planned start differs from the scenario's.
func (q *Request) movedWords() string {
	if q.planned.IsZero() {
		return "the scenario plans fewer requests"
	}
	return fmt.Sprintf("the client has a planned start %v after the scenario's", q.Client.Planned.Sub(q.planned))
}

// notRead stands for the records of a source that a target does not give.
const notRead = "not read"

// discrepancy puts into words what each source recorded.
func (q *Request) discrepancy(rule int, what string) Discrepancy {
	d := Discrepancy{Rule: rule, ID: q.ID, What: what, Client: "no record", Instances: "no record"}
	if q.lacks.calls {
		d.Instances = notRead
	}
	if c := q.Client; c != nil {
		d.Client = fmt.Sprintf("%s, %s%s", words.Count(c.Attempts, "attempt"), c.Outcome, q.gotWords())
		if len(c.MaybeUnlogged) > 0 {
			d.Client += fmt.Sprintf("; %d may be unlogged (%s)", len(c.MaybeUnlogged), strings.Join(c.MaybeUnlogged, ", "))
		}
	}
	if q.parent != nil {
		d.Client = q.callerWords()
	}
	nginx := []string{words.Count(len(q.Entries), "access-log entry")}
	fates := map[record.Fate]string{record.Unsent: "nothing sent", record.InDoubt: "sent, no header", record.GotHeader: "header", record.Expired: "header, deadline"}
	for _, a := range q.NginxAttempts {
		switch {
		case a.Fate == record.NoLive:
			nginx = append(nginx, "no live upstreams")
		case a.Endpoint == Endpoint{}:
			nginx = append(nginx, fmt.Sprintf("%s, an unknown address (%s)", a.Addr, fates[a.Fate]))
		default:
			nginx = append(nginx, fmt.Sprintf("%s (%s)", a.Endpoint, fates[a.Fate]))
		}
	}
	d.Nginx = strings.Join(append(nginx, q.responseWords()...), ", ")
	if q.lacks.log {
		d.Nginx = notRead
	}
	var calls []string
	for _, e := range q.Executions {
		end := "not completed"
		if e.Completion != nil {
			end = "completed " + e.Completion.Code
		}
		calls = append(calls, fmt.Sprintf("%s (start %s, call %d, %s)", e.Endpoint, e.Start, e.Call, end))
	}
	slices.Sort(calls) // Their order is that in which they were read.
	if len(calls) > 0 {
		d.Instances = strings.Join(calls, ", ")
	}
	return d
}
