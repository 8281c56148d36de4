package trace

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A builder makes the trace of a request from its records and those of its hops.
type builder struct {
	*Source
	trace *Trace
	of    map[string]*records
	built map[string]bool // IDs whose spans are in the trace
}

// build makes the trace of a request ID.
func (s *Source) build(id string, of map[string]*records) *Trace {
	b := &builder{Source: s, trace: &Trace{Request: id}, of: of, built: make(map[string]bool)}
	for _, r := range of {
		slices.SortStableFunc(r.entries, func(x, y entry) int { return x.Begin().Compare(y.Begin()) })
		slices.SortStableFunc(r.calls, func(x, y call) int { return x.Time.Compare(y.Time) })
		slices.SortStableFunc(r.hops, func(x, y call) int { return x.Time.Compare(y.Time) })
	}
	b.trace.ID = derive(32, s.salt, id)
	if r := of[id]; r != nil && len(r.entries) > 0 && isID(r.entries[0].Trace, 32) {
		b.trace.ID = r.entries[0].Trace
	}
	top := b.client(id)
	if top != nil {
		b.trace.Roots = []*Span{top}
	}
	b.request(id, top, 0)
	b.orphans()
	return b.trace
}

// add puts a span below a parent, or among the roots.
func (b *builder) add(parent, s *Span) *Span {
	if parent == nil {
		b.trace.Roots = append(b.trace.Roots, s)
		return s
	}
	s.Parent = parent.ID
	parent.Children = append(parent.Children, s)
	return s
}

// client is the span of the client's record; nil if there is none.
func (b *builder) client(id string) *Span {
	r := b.of[id]
	if r == nil || r.client == nil {
		return nil
	}
	c := r.client
	begin := c.Planned.Add(time.Duration(c.Late) * time.Microsecond)
	s := &Span{
		ID: derive(16, b.salt, id, "client"), Kind: Client, Service: "client", Process: "client", Name: c.Method, Request: id,
		Begin: begin, End: begin.Add(time.Duration(c.Service) * time.Microsecond), Result: OK, Note: cmp.Or(c.Code, c.Reason, c.Outcome),
	}
	if c.Outcome != record.OK {
		s.Result = Failed
		if c.Reason != "" && c.Reason != s.Note {
			s.Note = strings.TrimSpace(s.Note + " " + c.Reason)
		}
	}
	s.set("trivet.outcome", c.Outcome)
	s.set("trivet.late_us", c.Late)
	s.set("trivet.client_attempts", int64(c.Attempts))
	s.set("trivet.instance", c.Instance)
	s.set("error.message", c.Error)
	return s
}

// set adds an attribute, unless its value is a zero one.
func (s *Span) set(key string, value any) {
	if value != "" && value != int64(0) && value != false {
		s.Attributes = append(s.Attributes, Attribute{key, value})
	}
}

// request adds what nginx and the instances recorded of a request, below the client's span or that of its hop. Of a request with several
// outgoing calls, because two executions of one request make calls with the same IDs, it adds what is nearest to the hop-th of them.
func (b *builder) request(id string, parent *Span, hop int) {
	r := b.of[id]
	if r == nil {
		return
	}
	b.built[id] = true
	var attempts []*Span
	for i, e := range r.entries {
		if r.nearestHop(e.Begin()) == hop {
			attempts = append(attempts, b.entry(id, i, e, parent)...)
		}
	}
	for _, c := range r.calls {
		if c.Event == record.Arrival && r.nearestHop(c.Time) == hop {
			b.execution(id, c, attempts, parent)
		}
	}
}

// nearestHop is the index of the outgoing call that a time is in, else is nearest to; 0 if there is none.
func (r *records) nearestHop(t time.Time) int {
	nearest, least := 0, time.Duration(-1)
	for i, h := range r.hops {
		off := max(h.Time.Add(-time.Duration(h.Duration)*time.Microsecond).Sub(t), t.Sub(h.Time), 0)
		if least < 0 || off < least {
			nearest, least = i, off
		}
	}
	return nearest
}

// entry adds the spans of an access-log entry, and returns those of the attempts.
func (b *builder) entry(id string, index int, e entry, parent *Span) []*Span {
	key := strconv.Itoa(index)
	s := &Span{
		ID: derive(16, b.salt, id, "nginx", key), Parent: e.ParentSpan, Caller: e.ParentSpan, Kind: Nginx, Service: "nginx", Process: "nginx", Request: id,
		Name: strings.TrimSpace(e.Method + " " + path(e.URI)), Begin: e.Begin(), End: e.When(), Result: OK, Note: e.Status,
	}
	if isID(e.Trace, 32) && e.ParentSpan == "" { // Then the trace's ID is nginx's $request_id, whose second half is this span's.
		s.ID = e.Trace[16:]
	}
	if e.Trace != b.trace.ID && isID(e.Trace, 32) {
		s.Linked = e.Trace
	}
	code := grpcCode(cmp.Or(e.HeaderStatus, e.Trailer))
	switch {
	case e.Status == "499":
		s.Result, s.Note = Failed, "client left"
	case code != "" && code != codes.OK.String():
		s.Result, s.Note = Failed, code
	case code != "":
		s.Note = code
	case len(e.Status) != 3 || e.Status >= "400":
		s.Result = Failed
	}
	if e.Error != "" {
		s.Note += " by nginx"
		s.set("trivet.local_reply", e.Error)
	}
	s.set("http.request.method", e.Method)
	s.set("url.path", path(e.URI))
	s.set("http.response.status_code", number(e.Status))
	s.set("rpc.grpc.status_code", number(cmp.Or(e.HeaderStatus, e.Trailer)))
	s.set("network.protocol.version", strings.TrimPrefix(e.Protocol, "HTTP/"))
	s.set("trivet.grpc_previous_attempts", number(e.Previous))
	s.set("trivet.cache", e.Cache)
	s.set("process.pid", int64(e.PID))
	b.add(parent, s)
	return b.attempts(e, s)
}

// path is a URI without its query string.
func path(uri string) string {
	uri, _, _ = strings.Cut(uri, "?")
	return uri
}

func grpcCode(number string) string {
	if n, err := strconv.ParseUint(number, 10, 32); err == nil {
		return codes.Code(n).String()
	}
	return ""
}

// number is a number's value, and 0 of what is none.
func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// attempts adds a span per attempt to that of an entry: end to end, each as long as nginx says.
func (b *builder) attempts(e entry, in *Span) []*Span {
	attempts, err := e.Attempts()
	if err != nil {
		return nil
	}
	took := durations(e.ResponseTime, len(attempts))
	protocol := scenario.HTTP
	if e.HeaderStatus+e.Trailer != "" || e.Method == "POST" && e.Protocol == "HTTP/2.0" {
		protocol = scenario.GRPC
	}
	var all []*Span
	at := in.Begin
	for i, a := range attempts {
		s := &Span{
			ID: derive(16, in.ID, "attempt", strconv.Itoa(i)), Kind: Attempt, Service: "nginx", Process: "nginx", Request: in.Request,
			Begin: at, End: at.Add(took[i]), attempt: attempt{entry: in, protocol: protocol, target: a.Addr, sent: a.Fate != record.Unsent && a.Fate != record.NoLive},
		}
		if i == len(attempts)-1 && isID(e.Span, 16) {
			s.ID = e.Span // The traceparent that went upstream has it: what an instance adds hangs under the last attempt.
		}
		if at := b.endpoints[a.Addr]; at.instance != "" {
			s.target, s.protocol = at.instance, at.protocol
		}
		s.Name = "attempt " + strconv.Itoa(i+1) + ": " + s.target
		s.Result, s.Note = fate(a)
		s.set("server.address", a.Addr)
		s.set("http.response.status_code", number(a.Status))
		s.set("trivet.instance", s.target)
		s.set("http.request.resend_count", int64(i))
		at = s.End
		all = append(all, b.add(in, s))
	}
	return all
}

// fate puts into words what became of an attempt.
func fate(a record.Attempt) (Result, string) {
	switch a.Fate {
	case record.NoLive:
		return Failed, "no live upstreams"
	case record.Unsent:
		switch a.Status {
		case "504":
			return Failed, "no connection"
		case "499":
			return Failed, "client left"
		}
		return Failed, "refused"
	case record.InDoubt:
		return InDoubt, strings.TrimSpace("in doubt " + a.Status)
	case record.Expired:
		return Failed, codes.DeadlineExceeded.String()
	}
	if a.Status >= "500" {
		return Failed, a.Status
	}
	return OK, a.Status
}

// durations reads a list of n times in seconds; one that is missing is 0.
func durations(list string, n int) []time.Duration {
	all := make([]time.Duration, n)
	for i, text := range strings.Split(strings.ReplaceAll(list, " : ", ", "), ", ") {
		if seconds, err := strconv.ParseFloat(text, 64); err == nil && i < n {
			all[i] = time.Duration(seconds*1000+0.5) * time.Millisecond
		}
	}
	return all
}

// execution adds the span of an arrival to the attempt that it belongs to, and what the instance did during it.
func (b *builder) execution(id string, arrival call, attempts []*Span, parent *Span) {
	r := b.of[id]
	s := &Span{
		ID: derive(16, b.salt, arrival.Instance, arrival.Start, strconv.FormatUint(arrival.Call.Call, 10)), Kind: Instance,
		Service: ServiceOf(arrival.Instance), Process: arrival.Instance, Name: arrival.Method, Request: id,
		Begin: arrival.Time, End: arrival.Time, Result: InDoubt, Note: "not completed", Unfinished: true,
	}
	same := func(c call) bool {
		return c.Instance == arrival.Instance && c.Start == arrival.Start && c.Call.Call == arrival.Call.Call
	}
	for _, c := range r.calls {
		if c.Event != record.Completion || !same(c) {
			continue
		}
		s.End, s.Unfinished = s.Begin.Add(time.Duration(c.Duration)*time.Microsecond), false
		s.Result, s.Note = OK, c.Code
		if c.Code != codes.OK.String() && (len(c.Code) != 3 || c.Code >= "400") {
			s.Result = Failed
		}
	}
	if a := attemptOf(arrival, attempts); a != nil {
		a.taken = true
		if s.Unfinished && a.End.After(s.End) {
			s.End = a.End
		}
		contain(a, s)
		parent = a
	}
	s.set("trivet.protocol", arrival.Protocol)
	s.set("trivet.previous_attempts", int64(arrival.Previous()))
	s.set("trivet.call", int64(arrival.Call.Call))
	s.set("process.pid", int64(arrival.PID))
	b.add(parent, s)
	for _, child := range sortedIDs(b.of) {
		if parentOf(child) != id {
			continue
		}
		for i, h := range b.of[child].hops {
			if same(h) {
				b.hop(child, i, h, s)
			}
		}
	}
}

// attemptOf is the attempt that an arrival belongs to: of those at the instance whose execution is not found, the nearest.
func attemptOf(arrival call, attempts []*Span) (nearest *Span) {
	off := func(a *Span) time.Duration {
		return max(a.Begin.Sub(arrival.Time), arrival.Time.Sub(a.End), 0)
	}
	for _, a := range attempts {
		named := strings.Contains(a.target, ":") // Its instance is unknown.
		if !a.sent || a.taken || !named && (a.target != arrival.Instance || a.protocol != arrival.Protocol) {
			continue
		}
		if nearest == nil || off(a) < off(nearest) {
			nearest = a
		}
	}
	return nearest
}

// contain moves all attempts of an entry later, as far as the entry lasts, if the execution ends after its attempt: nginx does not say when
// the first began, and with a body that comes slowly that is late.
func contain(a, execution *Span) {
	siblings := a.entry.Children
	move := min(execution.End.Sub(a.End), a.entry.End.Sub(siblings[len(siblings)-1].End))
	if move <= time.Millisecond {
		return // Within what nginx rounds.
	}
	for _, s := range siblings {
		s.Begin, s.End = s.Begin.Add(move), s.End.Add(move)
	}
}

// hop adds the span of an outgoing call to the execution that made it, and what it led to.
func (b *builder) hop(id string, index int, c call, in *Span) {
	took := time.Duration(c.Duration) * time.Microsecond
	s := &Span{
		ID: derive(16, b.salt, id, "hop", c.Instance, c.Start, strconv.Itoa(index)), Kind: Hop, Service: in.Service, Process: in.Process,
		Name: c.Method, Request: id, Begin: c.Time.Add(-took), End: c.Time, Result: OK, Note: c.Code,
	}
	if c.Code != codes.OK.String() && (len(c.Code) != 3 || c.Code >= "400") {
		s.Result = Failed
	}
	s.set("trivet.protocol", c.Protocol)
	s.set("trivet.client_attempts", int64(c.Attempts))
	b.add(in, s)
	b.request(id, s, index)
}

// orphans adds the hops of which the instance recorded no call, as where it was killed: below the execution that made them if only one
// can have.
func (b *builder) orphans() {
	for _, id := range sortedIDs(b.of) {
		if b.built[id] {
			continue
		}
		var parent *Span
		for _, s := range b.trace.All {
			if s.Kind == Instance && s.Request == parentOf(id) && (parent == nil || parent.Begin.Before(s.Begin)) {
				parent = s
			}
		}
		if parent == nil && len(b.trace.Roots) > 0 {
			parent = b.trace.Roots[0]
		}
		b.request(id, parent, 0)
	}
}

func sortedIDs(of map[string]*records) []string {
	var all []string
	for id := range of {
		all = append(all, id)
	}
	slices.SortFunc(all, func(x, y string) int { return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)) })
	return all
}
