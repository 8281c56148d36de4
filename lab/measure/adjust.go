package measure

import (
	"time"

	"google.golang.org/grpc/codes"

	"trivet/lab/ledger"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// noticeable is the shortest stall or start delay that puts a failure in doubt. On an idle machine they came to 3 ms, and no timeout is
// as short.
const noticeable = 10 * time.Millisecond

// A doubt is for how long something else than nginx and its instances may have delayed a request.
type doubt struct {
	generator time.Duration // the generator stalled
	starved   time.Duration // other programs kept the system from running
	late      time.Duration // it was sent late: that is no part of its service time
}

// within is the part of a service time that is doubtful.
func (d doubt) within(service time.Duration) time.Duration {
	return min(d.generator+d.starved, service)
}

// explains reports whether a request that failed may have failed for this, and not for nginx and its instances: a tenth of its time is
// doubtful, it was sent so late that it met another load than the planned one, or its deadline passed and would not have.
func (d doubt) explains(c *record.Client, deadline time.Duration) bool {
	if d.generator < noticeable {
		d.generator = 0
	}
	service := time.Duration(c.Service) * time.Microsecond
	doubtful := d.within(service)
	switch {
	case doubtful == 0 && d.starved > 0: // It took no time, and failed when the machine was too busy.
		return true
	case doubtful > 0 && c.Outcome == record.Incomplete && c.Reason == record.Deadline && service-doubtful < deadline:
		return true
	case d.late >= noticeable && d.late*harmless >= service:
		return true
	}
	return doubtful > 0 && doubtful*harmless >= service
}

// doubt is a request's. One that was not sent, because too many were in flight, depends on what was sent before: at most a deadline ago.
func (t *Trial) doubt(c *record.Client) doubt {
	of := t.times(c)
	if !c.Sent() {
		of.from -= t.manifest.Scenario.Loads[c.Load].Deadline
	}
	return doubt{generator: time.Duration(c.Stalled) * time.Microsecond, starved: t.machine.overlap(of), late: time.Duration(c.Late) * time.Microsecond}
}

// An adjustment is what remains of a request without its doubtful time.
type adjustment struct {
	client  record.Client
	inDoubt bool // what became of it, attempts and failures, is in doubt too
}

// adjust is the adjusted reading of a request and what a client recorded of it. Its latency has no start delay: that is the generator's.
func adjust(q *ledger.Request, client record.Client, deadline time.Duration, d doubt) adjustment {
	a := adjustment{client: client}
	c := &a.client
	if c.Outcome == record.Dropped {
		return a
	}
	disturbed := disturbed(q, c) && d.explains(c, deadline)
	doubtful := d.within(time.Duration(c.Service) * time.Microsecond).Microseconds()
	c.Service -= doubtful
	c.Latency = max(0, min(c.Latency, c.Service))
	if disturbed {
		a.undoubt(q)
	}
	return a
}

// undoubt makes a request one that nothing disturbed.
func (a *adjustment) undoubt(q *ledger.Request) {
	c := &a.client
	a.inDoubt = true
	c.Outcome, c.Reason, c.Code, c.Attempts = record.OK, "", "200", max(1, len(q.Entries))
	if q.Depth > 0 { // It may have several clients.
		c.Attempts = 1
	}
	if c.Protocol == scenario.GRPC {
		c.Code = codes.OK.String()
	}
	if n := len(q.Executions); c.Instance == "" && n > 0 {
		c.Instance = q.Executions[n-1].Instance
	}
}

// adjustCall are the adjusted readings of a call, one for each that made it: without the time for which its processes could not run. It is
// in doubt if it failed and the request that it was made for is.
func (t *Trial) adjustCall(q *ledger.Request, inDoubt bool) (all []adjustment) {
	for _, c := range q.Clients() {
		deadline := t.manifest.Scenario.Loads[q.Load].Deadline
		one := adjust(q, c, deadline, doubt{starved: t.machine.overlap(t.times(&c))})
		if inDoubt && disturbed(q, &c) && !one.inDoubt {
			one.undoubt(q)
		}
		all = append(all, one)
	}
	return all
}

// disturbed reports whether a request failed, or anything of it failed or came twice on the way.
func disturbed(q *ledger.Request, c *record.Client) bool {
	if c.Outcome != record.OK || c.Attempts > 1 || len(q.Executions) > 1 || len(q.Entries) > 1 || len(q.NginxAttempts) > 1 {
		return true
	}
	return len(q.NginxAttempts) == 1 && q.NginxAttempts[0].Fate != record.GotHeader
}
