package ledger

import (
	"fmt"
	"slices"
	"time"

	"trivet/lab/record"
)

const (
	// ahead is by how much the records of nginx and the instances may leave the client's time of a request, by the wall clock. Of 60,000
	// whole responses on two CPUs, with load averages up to 50, none ended at nginx more than 2 ms after the client's end, but for one:
	// nginx rounds its clock down, and reads it before it sends. An old worker of a reload, though, waits until the client has closed the
	// connection.
	ahead = 100 * time.Millisecond
	// behind is how much longer, beside its stalls, the client may take to read a response than nginx to send it, and by how much nginx's
	// duration may exceed the client's: nginx reads its clock once in a round of its events. With up to 8 busy loops the most was 395 ms
	// and 216 ms.
	behind = time.Second
	// slow is how many times as late as the generator each of these may be, beside that: its lateness shows how long processes waited for a
	// CPU, and a response may need several such waits.
	slow = 3
	// grain is the unit of the durations of client and instance, each cut to it.
	grain = time.Microsecond
	// drift is of how much of a time the clocks of two machines may differ, as one part in so many: where one is being adjusted, it runs by up
	// to 500 ppm fast or slow.
	drift = 1000
	// maxSuspects bounds the requests that wait for the end of the trial, when the steps of the clock are known.
	maxSuspects = 1000
)

// A suspect is a request whose times contradict each other, unless nginx was paused or the wall clock was set.
type suspect struct {
	key key
	*Request
}

// times compare what client, nginx and instances say of when a request was and how long it took: the client's service time contains
// nginx's duration, which contains the instance's. Client and instance measure by the monotonic clock, nginx by the wall clock in
// milliseconds. Single requests are compared as far as tolerances allow, and all of a load in a phase by their distribution.
type times struct {
	manifest      record.Manifest
	clock         clock
	suspects      []suspect
	distributions [][]distribution // by load and phase
}

func newTimes(m record.Manifest) times {
	t := times{manifest: m, clock: make(clock)}
	for range m.Planned {
		t.distributions = append(t.distributions, make([]distribution, len(m.Scenario.Phases)))
	}
	return t
}

// add takes a request that keeps the other rules.
func (t *times) add(k key, q *Request) {
	if q.Client == nil || q.Client.Outcome == record.Dropped {
		return
	}
	if t.manifest.Target != nil {
		t.addDurations(k, q)
		return
	}
	if len(t.suspects) < maxSuspects && q.wrongTimes(0, 0) != "" {
		t.suspects = append(t.suspects, suspect{k, q})
	}
	if q.parent == nil { // Also without a whole response: where all requests reach their deadlines, none has one.
		t.clock.wasLate(t.second(q), time.Duration(max(q.Client.Late, q.Client.Stalled))*time.Microsecond)
	}
	i, ok := q.compared()
	if !ok || q.parent != nil { // An instance may be paused while it calls: of the clock its records say less.
		return
	}
	entry := q.Entries[i]
	start, end := q.interval()
	t.clock.add(t.second(q), entry.Begin().Sub(start), end.Sub(entry.When()))
	if q.Client.Attempts == 1 && !q.mayLinger(i) {
		phase := t.manifest.Scenario.PhaseAt(q.Client.Planned.Sub(t.manifest.Begin))
		t.distributions[k.load][phase].add(q.Client, entry.Took(), end.Sub(entry.When()))
	}
}

// addDurations is add on a target: its machines have clocks of their own, so that only durations are compared.
func (t *times) addDurations(k key, q *Request) {
	late := time.Duration(max(q.Client.Late, q.Client.Stalled)) * time.Microsecond
	t.clock.wasLate(t.second(q), late)
	if len(t.suspects) < maxSuspects && q.wrongNginxDuration(0) != "" {
		t.suspects = append(t.suspects, suspect{k, q})
	}
	if i, ok := q.compared(); ok && q.Client.Attempts == 1 && !q.mayLinger(i) {
		phase := t.manifest.Scenario.PhaseAt(q.Client.Planned.Sub(t.manifest.Begin))
		t.distributions[k.load][phase].add(q.Client, q.Entries[i].Took(), 0)
	}
}

// second is the one in which a request ended, since the load began.
func (t *times) second(q *Request) int64 {
	_, end := q.interval()
	return int64(end.Sub(t.manifest.Begin) / time.Second)
}

// contradictions calls found for each suspect that no pause of nginx and no step of the clock explains.
func (t *times) contradictions(paused func(*Request) bool, found func(key, *Request, string)) {
	for _, s := range t.suspects {
		if t.manifest.Target != nil { // Of its clocks nothing is known.
			if what := s.wrongNginxDuration(slow * t.clock.late(t.second(s.Request))); what != "" {
				found(s.key, s.Request, what)
			}
			continue
		}
		if paused(s.Request) {
			continue
		}
		shifts := t.clock.around(t.second(s.Request))
		if len(shifts) > 0 && slices.Max(shifts)-slices.Min(shifts) > ahead {
			continue // The clock was set within a second: its duration at nginx may have been, too.
		}
		slack := slow * t.clock.late(t.second(s.Request))
		what := s.wrongTimes(0, slack)
		for _, shift := range shifts {
			if s.wrongTimes(shift, slack) == "" {
				what = ""
			}
		}
		if what != "" {
			found(s.key, s.Request, what)
		}
	}
}

// reasons are the distributions that contradict each other, and a clock of nginx's that was another from the start.
func (t *times) reasons() (all []string) {
	stepped := t.clock.stepped() || t.manifest.Target != nil
	if shift, ok := t.clock.first(); ok && t.manifest.Target == nil && max(shift, -shift) > ahead {
		all = append(all, fmt.Sprintf("nginx's times differ from the client's by %v when the load begins, though both are of this machine's clock; if it was being set, run again", shift))
	}
	for i, phases := range t.distributions {
		for p, phase := range t.manifest.Scenario.Phases {
			if what := phases[p].contradiction(stepped); what != "" {
				all = append(all, fmt.Sprintf("load %s, phase %s: %s: the times in %s contradict those in %s", t.manifest.Scenario.Loads[i].Name, phase.Name, what, record.ClientFile, record.AccessLogFile))
			}
		}
	}
	return all
}

// interval is from the client's start to its end, by the clock of the lab.
func (q *Request) interval() (start, end time.Time) {
	c := q.Client
	return c.Planned.Add(time.Duration(c.Late) * time.Microsecond), c.Planned.Add(time.Duration(c.Latency) * time.Microsecond)
}

func (q *Request) service() time.Duration { return time.Duration(q.Client.Service) * time.Microsecond }

// compared is the access-log entry of a response that the client got whole, and false if there is none: at a deadline, and where a
// connection breaks off, each source ends when it notices.
func (q *Request) compared() (entry int, ok bool) {
	switch q.Client.Outcome {
	case record.OK, record.InstanceError, record.NginxError:
		i := q.responseEntry()
		if i < 0 {
			return i, false
		}
		// A watch that the client canceled after messages was OK, and has no gRPC status.
		r := q.response(i)
		return i, r.status != clientLeft && (!q.grpc || r.grpc != "" || r.status != "200")
	}
	return -1, false
}

// mayLinger reports whether nginx may have waited for the client after its response: for the rest of a body that it did not want, or for
// a subrequest that refreshes its cache.
func (q *Request) mayLinger(entry int) bool {
	_, came := q.response(entry).from()
	return q.body && !came || q.Entries[entry].Cache != ""
}

// executionOf is that of the response in an access-log entry: of several at its endpoint the shortest that ended as the response did. It is
// nil if there is none, or if one that did not complete may be it.
func (q *Request) executionOf(entry int) *Execution {
	at, code := q.whole(entry)
	if code == "" {
		return nil
	}
	var shortest *Execution
	for i := range q.Executions {
		e := &q.Executions[i]
		switch {
		case e.Endpoint != at:
		case e.Completion == nil:
			return nil
		case sameCompletion(code, e.Completion) && (shortest == nil || e.Completion.Duration < shortest.Completion.Duration):
			shortest = e
		}
	}
	return shortest
}

// wrongDuration says, in words, that an instance took longer than the client; "" if it did not. On one machine this is exact, whatever that did:
// both measure by the monotonic clock, the client's time begins before the call arrives, and the instance's ends before its response.
func (q *Request) wrongDuration() string {
	var e *Execution
	if i, ok := q.compared(); ok {
		e = q.executionOf(i)
	}
	slack := grain
	if q.lacks.clock {
		slack += q.service() / drift
	}
	if q.lacks.log {
		e = q.respondingExecution()
	}
	if e != nil {
		if took := time.Duration(e.Completion.Duration) * time.Microsecond; took > q.service()+slack {
			return fmt.Sprintf("%s took %v for it, and the client, whose service time contains that, %v", e.Endpoint, took, q.service())
		}
	}
	return ""
}

// wrongTimes says, in words, which times of nginx or an instance are not within the client's; "" if all are. shift is by how much the
// wall clock was set since the load began, slack how much more than the tolerances a busy machine may have taken.
func (q *Request) wrongTimes(shift, slack time.Duration) string {
	start, end := q.interval()
	for _, e := range q.Executions {
		if e.Arrival != nil && start.Sub(e.Arrival.Time.Add(-shift)) > ahead+slack {
			return fmt.Sprintf("%s recorded its arrival %v before the client sent it", e.Endpoint, start.Sub(e.Arrival.Time.Add(-shift)))
		}
	}
	if what := q.outsideCaller(slack); what != "" {
		return what
	}
	entry, whole := q.compared()
	if what := q.wrongNginxDuration(slack); what != "" {
		return what
	}
	for _, l := range q.Entries {
		switch {
		case start.Sub(l.When().Add(-shift)) > ahead+slack:
			return fmt.Sprintf("nginx recorded its end %v before the client sent it", start.Sub(l.When().Add(-shift)))
		}
	}
	if !whole {
		return ""
	}
	over := q.Entries[entry].When().Add(-shift).Sub(end)
	stalled := time.Duration(q.Client.Stalled) * time.Microsecond
	switch {
	case over > ahead+slack && !q.mayLinger(entry):
		return fmt.Sprintf("nginx sent the response %v after the client had read it", over)
	case -over > behind+stalled+slack && q.parent == nil:
		return fmt.Sprintf("the client read the response %v after nginx had sent it, and the generator stalled for only %v", -over, stalled)
	}
	if e := q.executionOf(entry); e != nil {
		if over := e.Completion.Time.Add(-shift).Sub(end); over > ahead+slack {
			return fmt.Sprintf("%s completed it %v after the client had read the response", e.Endpoint, over)
		}
	}
	return ""
}

// wrongNginxDuration says, in words, that nginx took longer than the client; "" if it did not. slack is as in wrongTimes.
func (q *Request) wrongNginxDuration(slack time.Duration) string {
	entry, whole := q.compared()
	for _, l := range q.Entries {
		if (whole || l.Status == clientLeft) && l.Took() > q.service()+behind+slack && !(whole && q.mayLinger(entry)) {
			return fmt.Sprintf("nginx took %v for it, and the client, whose service time contains that, %v", l.Took(), q.service())
		}
	}
	return ""
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
