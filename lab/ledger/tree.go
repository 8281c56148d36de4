package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"trivet/internal/hop"
	"trivet/internal/words"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A plannedCall is one that each execution of a request makes, and what its receiver calls for it.
type plannedCall struct {
	hop.Call
	calls []*plannedCall
}

// callsOf are the calls of a route.
func callsOf(r hop.Route) (all []*plannedCall) {
	for n, c := range r.Calls {
		all = append(all, &plannedCall{c, callsOf(r.Next(n))})
	}
	return all
}

// A step leads from a request to one that was made for it.
type step struct {
	attempt int // of a gRPC client, from 1, that the execution was of: the calls of a retry have IDs of their own
	n       int // which of the calls, from 1
}

// id is that of the request to which a step leads.
func (s step) id(of string) string { return hop.ChildID(of, s.attempt-1, s.n) }

// steps reads what an ID has after that of a planned request: -2.1.3 is the third call of the first call of its second attempt. It is
// false if no such request is planned.
func steps(calls []*plannedCall, grpc bool, path string) (all []step, ok bool) {
	for path != "" {
		s := step{attempt: 1}
		if retry, ok := strings.CutPrefix(path, "-"); ok && len(retry) > 0 && grpc {
			s.attempt = int(retry[0] - '0')
			if path = retry[1:]; s.attempt < 2 || s.attempt > hop.MaxAttempts {
				return nil, false
			}
		}
		number, ok := strings.CutPrefix(path, ".")
		end := 0
		for end < len(number) && number[end] >= '0' && number[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(number[:end])
		if !ok || err != nil || n < 1 || n > len(calls) || number[0] == '0' {
			return nil, false
		}
		s.n, path = n, number[end:]
		all = append(all, s)
		grpc, calls = calls[n-1].Protocol == hop.GRPC, calls[n-1].calls
	}
	return all, true
}

// child is the request to which a step leads; nil if no record of it has come.
func (q *Request) child(s step) *Request {
	for _, c := range q.Calls {
		if c.step == s {
			return c
		}
	}
	return nil
}

// add adds the request to which a step leads.
func (q *Request) add(s step) *Request {
	c := &Request{ID: s.id(q.ID), Load: q.Load, N: q.N, Depth: q.Depth + 1, parent: q, step: s, calls: q.calls[s.n-1].calls, lacks: q.lacks}
	c.grpc, c.attempts = q.calls[s.n-1].Protocol == hop.GRPC, q.calls[s.n-1].Attempts
	q.Calls = append(q.Calls, c)
	return c
}

// All are the request and those that were made for it, each before those made for it in turn.
func (q *Request) All(yield func(*Request) bool) { q.all(yield) }

func (q *Request) all(yield func(*Request) bool) bool {
	if !yield(q) {
		return false
	}
	for _, c := range q.Calls {
		if !c.all(yield) {
			return false
		}
	}
	return true
}

// callers are what the executions that made a call recorded of it, in the words of clients.
func (q *Request) callers() (all []record.Client) {
	for _, o := range q.Outgoing {
		c := o.Client(q.Load)
		reason := map[string]string{"Canceled": record.Canceled, "DeadlineExceeded": record.Deadline}[c.Code]
		if c.Outcome == record.InstanceError && reason != "" && q.as(c).responseEntry() < 0 { // grpc-go's own, when the time was over.
			c.Outcome, c.Reason = record.Incomplete, reason
			if len(c.MaybeUnlogged) == 0 && c.Attempts > 0 {
				c.MaybeUnlogged = []string{reason}
			}
		}
		all = append(all, c)
	}
	return all
}

// assign finds for each caller the access-log entry that has its response, no entry for two; -1 for one without a response. It is false if
// a response is in no entry.
func (q *Request) assign(callers []record.Client) (entries []int, ok bool) {
	entries = slices.Repeat([]int{-1}, len(callers))
	var find func(caller int, tried []bool) bool
	find = func(caller int, tried []bool) bool {
		one := q.as(callers[caller])
		for i := range q.Entries {
			if tried[i] || !one.respondedBy(i) {
				continue
			}
			tried[i] = true
			if other := slices.Index(entries, i); other < 0 || find(other, tried) {
				entries[caller] = i
				return true
			}
		}
		return false
	}
	for i, c := range callers {
		if q.as(c).wantsResponse() && !find(i, make([]bool, len(q.Entries))) {
			return entries, false
		}
	}
	return entries, true
}

// size is how many requests and calls All has.
func (q *Request) size() int {
	n := 1
	for _, c := range q.Calls {
		n += c.size()
	}
	return n
}

// Clients are what the callers of a request recorded: one for a request of the generator's; for a call, one for each execution that made
// it, whose instance and outcome are those that nginx recorded of its response. There is none if no caller recorded it.
func (q *Request) Clients() []record.Client {
	if q.parent == nil {
		if q.Client == nil {
			return nil
		}
		return []record.Client{*q.Client}
	}
	all := q.callers()
	entries, _ := q.assign(all)
	for n, i := range entries {
		if i < 0 || all[n].Outcome == record.Incomplete {
			continue
		}
		r := q.response(i)
		at, came := r.from()
		switch {
		case came && !r.local && (!r.expired() || q.executedAt(at)):
			all[n].Instance = at.Instance
		case all[n].Outcome == record.InstanceError:
			all[n].Outcome = record.NginxError
		}
	}
	return all
}

func (q *Request) executedAt(at Endpoint) bool {
	return slices.ContainsFunc(q.Executions, func(e Execution) bool { return e.Endpoint == at })
}

// as is the request with a caller's record as the client's.
func (q *Request) as(c record.Client) *Request {
	one := *q
	one.Client = &c
	return &one
}

// asWhole is a call as if one client had made it: of several callers, from the start of the first to the end of the last, with nothing to
// say of a response. It is nil if there is none.
func (q *Request) asWhole() *Request {
	clients := q.callers()
	if len(clients) == 0 {
		return nil
	}
	whole := clients[0]
	start, end := q.as(whole).interval()
	for i := range clients[1:] {
		from, to := q.as(clients[1+i]).interval()
		start, end = earlier(start, from), later(end, to)
		whole.Attempts += clients[1+i].Attempts
	}
	if len(clients) > 1 {
		whole.Planned, whole.Service = start, end.Sub(start).Microseconds()
		whole.Latency, whole.Code, whole.Outcome, whole.Reason = whole.Service, "", record.Incomplete, record.Reset
	}
	return q.as(whole)
}

// attempt is which attempt of a client an execution was of, from 1.
func (e Execution) attempt() int {
	for _, c := range []*record.Call{e.Arrival, e.Completion} {
		if c != nil && e.Protocol == scenario.GRPC {
			return 1 + c.Previous()
		}
	}
	return 1
}

// made reports whether an execution made an outgoing call.
func (e Execution) made(o record.Outgoing) bool {
	return e.Instance == o.Instance && e.Start == o.Start && e.Call == o.Call.Call
}

// outgoing are the records that an execution has of the n-th call.
func (q *Request) outgoing(e Execution, n int) (all []record.Outgoing) {
	c := q.child(step{e.attempt(), n})
	if c == nil {
		return nil
	}
	for _, o := range c.Outgoing {
		if e.made(o) {
			all = append(all, o)
		}
	}
	return all
}

// calledAll reports whether each execution has made each call once, and each of these is complete.
func (q *Request) calledAll() bool {
	for _, e := range q.Executions {
		for n := range q.calls {
			if len(q.outgoing(e, n+1)) != 1 {
				return false
			}
		}
		if _, what := q.wrongCalls(e); what != "" {
			return false
		}
	}
	for _, c := range q.Calls {
		attempts := 0
		for _, o := range c.Outgoing {
			attempts += o.Attempts
		}
		if c.Client != nil || c.strayed() != "" || len(c.Entries) != attempts || !c.executed() || !c.answered() || c.missingCompletion(nil) != "" || !c.calledAll() {
			return false
		}
	}
	return true
}

// strayed says, in words, which record of an outgoing call belongs to no execution; "" if each does.
func (q *Request) strayed() string {
	for _, o := range q.Outgoing {
		i := slices.IndexFunc(q.parent.Executions, func(e Execution) bool { return e.made(o) })
		switch {
		case i < 0:
			return fmt.Sprintf("%s recorded that it made this call for its call %d, which was not of %s", o.Instance, o.Call.Call, q.parent.ID)
		case q.parent.Executions[i].attempt() != q.step.attempt:
			return fmt.Sprintf("%s made this call for attempt %d of %s, whose calls have other IDs", o.Instance, q.parent.Executions[i].attempt(), q.parent.ID)
		}
	}
	return ""
}

// wrongCalls says, in words, how an execution that ended contradicts the calls that it made, and which rule that breaks; "" if it does
// not. The durations are exact: one process measured both by one clock.
func (q *Request) wrongCalls(e Execution) (rule int, what string) {
	if e.Completion == nil {
		return 0, ""
	}
	for n := range q.calls {
		for _, o := range q.outgoing(e, n+1) {
			took, within := time.Duration(o.Duration)*time.Microsecond, time.Duration(e.Completion.Duration)*time.Microsecond
			switch {
			case took > within+grain:
				return 7, fmt.Sprintf("%s took %v for call %d, and its call %s, which is part of that, %v", e.Endpoint, within, e.Call, o.ID, took)
			case e.succeeded() && o.Client(q.Load).Outcome != record.OK:
				return 5, fmt.Sprintf("%s completed call %d with %s, and its call %s ended with %s", e.Endpoint, e.Call, e.Completion.Code, o.ID, o.Code)
			}
		}
	}
	return 0, ""
}

// succeeded reports whether an execution completed without an error.
func (e Execution) succeeded() bool {
	return e.Completion != nil && (e.Completion.Code == "OK" || e.Protocol == scenario.HTTP && strings.HasPrefix(e.Completion.Code, "2"))
}

// checkCalls finds which calls were not made for a request, or too often. An execution that did not complete may lack records of them;
// one that failed may have made none, but not only some.
func (q *Request) checkCalls(found func(*Request, int, string, ...any)) {
	for _, e := range q.Executions {
		made := 0
		for n := range q.calls {
			made += min(1, len(q.outgoing(e, n+1)))
		}
		for n := range q.calls {
			s := step{e.attempt(), n + 1}
			c := q.child(s)
			if c == nil {
				c = &Request{ID: s.id(q.ID), parent: q, step: s}
			}
			switch times := len(q.outgoing(e, n+1)); {
			case times > 1:
				found(c, 1, "%s recorded for its call %d that it made this one %d times", e.Endpoint, e.Call, times)
			case times == 0 && e.Completion != nil && (made > 0 || e.succeeded()):
				found(c, 1, "%s completed its call %d, and has no record of this one, which it made for that", e.Endpoint, e.Call)
			}
		}
		if rule, what := q.wrongCalls(e); what != "" {
			found(q, rule, "%s", what)
		}
	}
}

// unrecorded is how many executions may have made this call without a record of it: they did not complete.
func (q *Request) unrecorded() (n int) {
	for _, e := range q.parent.Executions {
		if e.Completion == nil && e.attempt() == q.step.attempt && !slices.ContainsFunc(q.Outgoing, e.made) {
			n++
		}
	}
	return n
}

// checkCallers applies rules 1 and 2 to a call.
func (q *Request) checkCallers(found func(int, string, ...any)) {
	if what := q.strayed(); what != "" {
		found(1, "%s", what)
	}
	if q.Client != nil {
		found(1, "the client has a record of a call that an instance was to make")
	}
	attempts, least, unrecorded := 0, 0, q.unrecorded()
	for _, c := range q.callers() {
		attempts += c.Attempts
		least += c.Attempts - len(c.MaybeUnlogged)
	}
	switch entries := len(q.Entries); {
	case len(q.Outgoing) == 0 && unrecorded == 0:
		found(1, "no execution of %s has a record of this call", q.parent.ID)
	case entries > attempts+unrecorded*q.attempts:
		found(2, "the callers made %s, and the access log has %d", words.Count(attempts, "attempt"), entries)
	case entries < least && !q.Unlogged:
		found(2, "the callers made %s that nginx must have logged, and the access log has %d", words.Count(least, "attempt"), entries)
	}
}

// answered reports whether the response that each caller recorded is that of an access-log entry.
func (q *Request) answered() bool {
	if q.parent == nil {
		return q.sameResponse()
	}
	_, ok := q.assign(q.callers())
	return ok
}

// outsideCaller says, in words, which call was not made within the execution that made it, by the wall clock; "" if none was.
func (q *Request) outsideCaller(slack time.Duration) string {
	if q.parent == nil {
		return ""
	}
	for _, o := range q.Outgoing {
		for _, e := range q.parent.Executions {
			if !e.made(o) {
				continue
			}
			start := o.Time.Add(-time.Duration(o.Duration) * time.Microsecond)
			switch {
			case e.Arrival != nil && e.Arrival.Time.Sub(start) > ahead+slack:
				return fmt.Sprintf("%s made this call %v before the arrival of the request that it was made for", e.Instance, e.Arrival.Time.Sub(start))
			case e.Completion != nil && o.Time.Sub(e.Completion.Time) > ahead+slack:
				return fmt.Sprintf("this call of %s ended %v after the request that it was made for", e.Instance, o.Time.Sub(e.Completion.Time))
			}
		}
	}
	return ""
}

// callerCodes are the codes that the callers recorded, in words.
func (q *Request) callerCodes() string {
	var all []string
	for _, o := range q.Outgoing {
		all = append(all, o.Code)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// callerWords are those of a discrepancy of a call.
func (q *Request) callerWords() string {
	var all []string
	for _, o := range q.Outgoing {
		text := fmt.Sprintf("%s (start %s, call %d): %s, %s", o.Instance, o.Start, o.Call.Call, words.Count(o.Attempts, "attempt"), o.Code)
		if len(o.MaybeUnlogged) > 0 {
			text += fmt.Sprintf("; %d may be unlogged (%s)", len(o.MaybeUnlogged), strings.Join(o.MaybeUnlogged, ", "))
		}
		all = append(all, text)
	}
	slices.Sort(all) // Their order is that in which they were read.
	if len(all) == 0 {
		return "no record"
	}
	return strings.Join(all, ", ")
}
