package load

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// maxInFlight bounds the requests in flight, of all loads together; one beyond it fails, because the system is slow.
const maxInFlight = 10_000

// maxDelay is how late a request may start; a later one is dropped. A burst that makes up for seconds is not the planned load. Tests that do
// not measure lateness allow more: what they send must not depend on what else the machine does.
var maxDelay = time.Second

var errInFlightLimit = fmt.Errorf("not sent: %d requests were in flight", maxInFlight)

// A client sends the requests of one load. Its methods may be called at the same time.
type client interface {
	// connect opens, until ctx ends, the connections that can be opened before the first request. It reports no failure: requests meet it.
	connect(ctx context.Context)
	// send sends the load's n-th request, under r.ID, and returns when it is over, at the latest when ctx ends. It fills r from Outcome on.
	send(ctx context.Context, n int, r *record.Client)
	close()
}

// A dispatcher starts the requests of one load at their planned starts.
type dispatcher struct {
	scenario.Load
	index    int
	plan     Plan
	idPrefix string
	method   string
	client   client
	records  *recorder
	stalls   *stallMeter
	inFlight *atomic.Int64
	alarm    *alarm
	end      *horizon
	begin    time.Time // plan.Begin on the monotonic clock
	idle     chan job  // to workers without a request: their stacks have grown already
	workers  sync.WaitGroup
}

// A job is one planned request.
type job struct {
	n      int
	offset time.Duration
}

// newDispatchers makes a dispatcher for each load. With an error it returns those made before.
func newDispatchers(end *horizon, p Plan, records *recorder, stalls *stallMeter) ([]*dispatcher, error) {
	var all []*dispatcher
	inFlight := new(atomic.Int64)
	trusted, err := newTrust(p.CA)
	if err != nil {
		return nil, err
	}
	for i, l := range p.Loads {
		d := &dispatcher{
			Load: l, index: i, plan: p, records: records, stalls: stalls, inFlight: inFlight, end: end, idle: make(chan job),
			idPrefix: record.IDPrefix(p.Seed, l.Protocol, i),
			method:   method(l),
		}
		if l.Protocol == scenario.HTTP {
			d.client, err = newHTTPClient(p.HTTP, trusted, l)
		} else {
			d.client, err = newGRPCClient(p.GRPC, trusted, l)
		}
		if err != nil {
			return all, err
		}
		if d.alarm, err = newAlarm(end); err != nil {
			d.client.close()
			return all, err
		}
		all = append(all, d)
	}
	return all, nil
}

func (d *dispatcher) close() {
	d.alarm.close()
	d.client.close()
}

// dispatch returns when every request is over, or soon after ctx has ended. With an error requests are missing that were planned.
func dispatch(ctx context.Context, dispatchers []*dispatcher, begin time.Time) error {
	var all sync.WaitGroup
	errs := make([]error, len(dispatchers))
	for i, d := range dispatchers {
		d.begin = begin
		all.Go(func() { errs[i] = d.run(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (d *dispatcher) run(ctx context.Context) error {
	early, cancel := context.WithDeadline(ctx, d.begin)
	d.client.connect(early)
	cancel()
	defer d.workers.Wait()
	defer close(d.idle)
	n := 0
	for offset := range d.Rate.Offsets(d.plan.For) {
		if offset >= d.end.planned() {
			return nil
		}
		err := d.alarm.wait(d.begin.Add(offset))
		if ctx.Err() != nil || offset >= d.end.planned() {
			return nil // The end of ctx is reported as the reason why the load ended early.
		}
		if err != nil {
			return err
		}
		d.start(ctx, job{n, offset})
		n++
	}
	return nil
}

// start hands a job to a worker, or records why it is never sent. It does not wait.
func (d *dispatcher) start(ctx context.Context, j job) {
	if time.Since(d.begin.Add(j.offset)) > maxDelay {
		d.unsent(j, record.Overdue)
		return
	}
	if d.inFlight.Add(1) > maxInFlight {
		d.inFlight.Add(-1)
		d.unsent(j, record.InFlightLimit)
		return
	}
	select {
	case d.idle <- j:
	default:
		d.workers.Go(func() { d.work(ctx, j) })
	}
}

// work sends one request, then those that come while it is idle.
func (d *dispatcher) work(ctx context.Context, j job) {
	for more := true; more; j, more = <-d.idle {
		d.send(ctx, j)
		d.inFlight.Add(-1)
	}
}

func (d *dispatcher) send(ctx context.Context, j job) {
	r := d.newRecord(j)
	planned := d.begin.Add(j.offset)
	start := time.Now()
	request, cancel := context.WithDeadline(ctx, start.Add(d.Deadline))
	d.client.send(request, j.n, &r)
	cancel()
	end := time.Now()
	if ctx.Err() != nil {
		return // The generator ended the request, so its outcome says nothing.
	}
	if end.Sub(start) >= d.Deadline {
		r.SetExpired()
	}
	r.Late, r.Latency, r.Service = start.Sub(planned).Microseconds(), end.Sub(planned).Microseconds(), end.Sub(start).Microseconds()
	r.Stalled = d.stalls.longest(planned, end).Microseconds()
	d.records.put(&r)
}

// unsent records a request that is never sent. If it was in time for that, it failed when it was to be sent.
func (d *dispatcher) unsent(j job, reason string) {
	r := d.newRecord(j)
	r.Late = time.Since(d.begin.Add(j.offset)).Microseconds()
	if reason == record.InFlightLimit {
		r.Latency = r.Late
		r.SetIncomplete(reason, errInFlightLimit)
	} else {
		r.Outcome, r.Reason = record.Dropped, reason
	}
	d.records.put(&r)
}

func (d *dispatcher) newRecord(j job) record.Client {
	return record.Client{
		V: record.ClientVersion, ID: d.idPrefix + strconv.Itoa(j.n), Load: d.index, Protocol: d.Protocol, Method: d.method,
		Planned: d.plan.Begin.Add(j.offset),
	}
}
