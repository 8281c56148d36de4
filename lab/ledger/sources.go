package ledger

import (
	"strings"

	"google.golang.org/grpc/codes"

	"trivet/internal/words"
	"trivet/lab/record"
)

// lacks are the sources that a trial on a target has no records of. The rules that need them are not applied.
type lacks struct {
	log   bool // nginx's access log
	calls bool // the instances' records
	nginx bool // nginx itself: the load goes past it
	clock bool // one clock of all machines
}

func lacksOf(m record.Manifest) lacks {
	accessLog, calls := m.Has()
	return lacks{log: !accessLog, calls: !calls, nginx: m.Scenario.Through != "", clock: m.Target != nil}
}

// ignored reports whether a record is of a request of others, which call the target, too, and counts it. It counts records of the first
// source on the way that there is. An ID that begins as the lab's own probes do may be announced later; Finish takes those off.
func (r *Reconciler) ignored(id string, first bool) bool {
	if r.manifest.Target == nil {
		return false
	}
	if k, _ := r.key(id); k.load != Foreign {
		return false
	}
	switch {
	case !first:
	case strings.HasPrefix(id, record.ProbeIDPrefix) && len(r.probing) < maxOpen:
		r.probing[id]++
	default:
		r.found.Others++
	}
	return true
}

// othersProbes are records of probes that this trial did not announce.
func (r *Reconciler) othersProbes() (n int) {
	for id, seen := range r.probing {
		if r.probes[id] == 0 {
			n += seen
		}
	}
	return n
}

// known takes an instance that has come during the trial. Entries may have named its addresses before.
func (r *Reconciler) known(i *record.Instance) {
	if i == nil || r.manifest.Target == nil {
		return
	}
	r.addEndpoints(*i)
	for k, q := range r.open {
		if q.resolve(r.endpoints); q.complete() && k.load != Foreign {
			r.close(k, q)
		}
	}
}

// resolve finds the endpoints of nginx's attempts. On a target an address may have been one instance's after the other: it is then that of
// the one that executed the request, else of the last.
func (q *Request) resolve(endpoints map[string][]Endpoint) {
	for i := range q.NginxAttempts {
		a := &q.NginxAttempts[i]
		all := endpoints[a.Addr]
		if len(all) == 0 {
			continue
		}
		a.Endpoint = all[len(all)-1]
		for _, at := range all[:len(all)-1] {
			if len(q.Executions) > 0 && !q.executedAt(a.Endpoint) && q.executedAt(at) {
				a.Endpoint = at
			}
		}
	}
}

// matched is complete for a request of which there is no access-log entry: the instances' records, if there are any, say all of it. Behind
// an nginx whose log is not read a further execution may always come.
func (q *Request) matched() bool {
	switch {
	case q.lacks.calls:
		return true
	case !q.lacks.nginx || len(q.Executions) != q.Client.Attempts:
		return false
	}
	for _, e := range q.Executions {
		if e.Arrival == nil || e.Completion == nil || len(e.Further) > 0 {
			return false
		}
	}
	wrong := false
	q.checkWithoutLog(func(int, string, ...any) { wrong = true }, nil)
	return !wrong
}

// checkWithoutLog compares the client's record with those of the instances directly.
func (q *Request) checkWithoutLog(found func(int, string, ...any), killed func(instance, start string) bool) {
	c := q.Client
	if c == nil || q.lacks.calls {
		return
	}
	for _, e := range q.Executions {
		switch {
		case e.Arrival == nil:
			found(3, "%s recorded the completion of call %d and not its arrival", e.Endpoint, e.Call)
		case len(e.Further) > 0:
			found(3, "%s recorded call %d more than once", e.Endpoint, e.Call)
		}
	}
	if q.lacks.nginx && len(q.Executions) > c.Attempts {
		found(4, "the client made %s, and the instances recorded %s", words.Count(c.Attempts, "attempt"), words.Count(len(q.Executions), "arrival"))
	}
	at, named := q.named()
	responses := c.Attempts - len(c.MaybeUnlogged)
	switch {
	case named && q.mayLack(at.Instance, killed):
	case q.lacks.nginx && len(q.Executions) < responses && c.Code != codes.DeadlineExceeded.String(): // That may be grpc-go's, without a call of the handler.
		found(3, "the client got %s, and the instances recorded %s", words.Count(responses, "response header"), words.Count(len(q.Executions), "arrival"))
	case named && !q.executedAt(at):
		found(3, "the client got a response from %s, which recorded no arrival", at)
	case named && !q.completedAt(at, killed):
		found(6, "the client got the whole response %s from %s, which was not killed, and has no completion with that code", c.Code, at)
	case !named && c.Outcome == record.OK && q.lacks.nginx:
		found(5, "the client recorded a response that names no instance, and nothing but instances can have sent it")
	}
}

// mayLack reports whether records of an instance may be lost: on a target, where it was killed.
func (q *Request) mayLack(instance string, killed func(instance, start string) bool) bool {
	return q.lacks.clock && killed != nil && killed(instance, "")
}

// completedAt reports whether an endpoint has the completion of the whole response that the client got from there.
func (q *Request) completedAt(at Endpoint, killed func(instance, start string) bool) bool {
	if q.Client.Outcome == record.Incomplete {
		return true
	}
	for _, e := range q.Executions {
		if e.Endpoint == at && (sameCompletion(q.Client.Code, e.Completion) || e.Completion == nil && killed != nil && killed(e.Instance, e.Start) || q.Client.Messages > 0) {
			return true
		}
	}
	return false
}

// respondingExecution is that of the response that the client got, without an access-log entry; nil if it is not known.
func (q *Request) respondingExecution() *Execution {
	at, named := q.named()
	if !named || q.Client.Outcome == record.Incomplete || q.Client.Messages > 0 {
		return nil
	}
	var shortest *Execution
	for i := range q.Executions {
		e := &q.Executions[i]
		if e.Endpoint == at && sameCompletion(q.Client.Code, e.Completion) && (shortest == nil || e.Completion.Duration < shortest.Completion.Duration) {
			shortest = e
		}
	}
	return shortest
}
