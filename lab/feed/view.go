package feed

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"trivet/internal/hop"
	"trivet/lab/record"
)

// A view is what a source shows, and what of it has been sent.
type view struct {
	trial       int
	counter     *counter
	narrator    *narrator
	queue       queue
	info        func() Trial
	sent        *Trial // the last that was sent
	failures    []Failure
	unsent      int  // the last of the failures, so many
	maxFailures int  //
	newest      bool // of more failures the newest are kept, else the first
	ended       bool // the event log says that the trial has ended
	problem     string
}

func newView(trial int, c *counter, clock clock) *view {
	v := &view{trial: trial, counter: c, narrator: &narrator{trial: trial, instances: func() []Instance { return c.instances }, clock: clock, actions: make(map[string]*row), nginx: make(map[string]*row), well: make(map[string]*row)}}
	v.queue.give = v.narrator.take
	return v
}

// add takes a record.
func (v *view) add(next any) {
	switch r := next.(type) {
	case record.Event:
		v.event(&r)
	case record.Sample:
		v.reached(r.Time)
		v.counter.sample(&r)
	case record.Call:
		v.call(&r)
	case record.Outgoing:
		v.counter.outgoing(&r)
	case record.AccessLogEntry:
		v.entry(&r)
	case record.Client:
		v.client(&r)
	}
}

func (v *view) since(t time.Time) time.Duration { return t.Sub(v.counter.begin) }

// reached is that a record has a time.
func (v *view) reached(t time.Time) { v.queue.newest = max(v.queue.newest, v.since(t)) }

func (v *view) event(e *record.Event) {
	at := v.since(e.Time)
	if e.Instance != nil {
		v.counter.addInstance(*e.Instance)
	}
	switch {
	case e.Event == record.Probe:
		return
	case e.Event == record.ProcessEvent && e.Start != "" && (e.Kind == record.Died || e.Kind == record.Stopped):
		v.counter.end(e.Start, e.Process, at)
	case e.Event == record.Ended || e.Event == record.LabError || e.Event == record.Interrupted:
		v.ended = true
	}
	v.queue.add(observation{at: at, kind: happened, instance: -1, event: e})
}

func (v *view) call(r *record.Call) {
	v.reached(r.Time)
	instance, flow := v.counter.call(r)
	if r.Event == record.Arrival && !probe(r.ID) {
		v.queue.add(observation{at: v.since(r.Time), kind: arrived, instance: instance, flow: flow})
	}
}

func (v *view) entry(r *record.AccessLogEntry) {
	attempts, err := r.Attempts()
	if err != nil {
		return // The reader has refused it.
	}
	flow, service := v.counter.entry(r, attempts)
	end, begin := v.since(r.When()), v.since(r.Begin())
	v.queue.newest = max(v.queue.newest, end)
	for _, a := range attempts {
		at, known := v.counter.endpoints[a.Addr]
		switch {
		case a.Fate == record.NoLive:
			if service == "" {
				service = serviceOf(a.Addr)
			}
			v.queue.add(observation{at: end, kind: noLive, instance: -1, flow: flow, chosen: begin, service: service})
		case known:
			v.queue.add(observation{at: end, kind: attempted, instance: at.instance, flow: at.flow, chosen: begin, first: a.First, header: !withoutHeader(a), headerAt: headerAt(r, begin, end)})
		}
	}
}

// headerAt is when the response header of an entry's last attempt came, or before: the attempts before it took some time, too.
func headerAt(r *record.AccessLogEntry, begin, end time.Duration) time.Duration {
	seconds, err := strconv.ParseFloat(r.HeaderTime[strings.LastIndexByte(r.HeaderTime, ' ')+1:], 64)
	if err != nil {
		return end
	}
	return min(end, begin+time.Duration(seconds*float64(time.Second)))
}

// serviceOf is that of an upstream, by its name: front_http, whoami_grpc.
func serviceOf(upstream string) string {
	if strings.HasPrefix(upstream, hop.Front) {
		return hop.Front
	}
	return hop.Whoami
}

func (v *view) client(r *record.Client) {
	flow, counted := v.counter.client(r)
	end := v.since(r.Planned) + time.Duration(r.Latency)*time.Microsecond
	v.queue.newest = max(v.queue.newest, end)
	if !counted || r.Outcome == record.OK || r.Outcome == record.Dropped {
		return
	}
	v.queue.add(observation{at: end, kind: failed, instance: -1, flow: flow, chosen: v.since(r.Planned)})
	if len(v.failures) == v.maxFailures && !v.newest {
		return
	}
	v.failures = append(v.failures, Failure{
		ID: r.ID, At: v.since(r.Planned).Milliseconds(), Flow: Flows[flow], Outcome: r.Outcome, Code: r.Code, Reason: r.Reason, Instance: r.Instance, Latency: r.Latency,
	})
	v.unsent++
	if old := len(v.failures) - v.maxFailures; old > 0 {
		v.failures = slices.Delete(v.failures, 0, old)
		v.unsent = min(v.unsent, v.maxFailures)
	}
}

// maxInMessage bounds the bins of one message, so that it stays far below a megabyte.
const maxInMessage = 100

// Changed is what has changed since the last call; at first it is everything.
func (v *view) Changed() []Message {
	info := v.trialNow()
	var all []Message
	if v.sent == nil || !reflect.DeepEqual(*v.sent, info) {
		v.sent = &info
		all = append(all, Message{Trial: &info})
	}
	all = v.messages(all, false)
	v.counter.seen()
	v.narrator.seen()
	v.unsent = 0
	return all
}

// Snapshot is everything that must be known to show the trial.
func (v *view) Snapshot() []Message {
	info := v.trialNow()
	return v.messages([]Message{{Trial: &info}}, true)
}

func (v *view) trialNow() Trial {
	info := v.info()
	info.Instances = slices.Clone(info.Instances)
	return info
}

func (v *view) messages(to []Message, everything bool) []Message {
	for bins := range slices.Chunk(v.counter.changed(everything), maxInMessage) {
		to = append(to, Message{Bins: &Bins{v.trial, bins}})
	}
	to = v.narrator.messages(to, everything)
	failures := v.failures
	if !everything {
		failures = failures[len(failures)-v.unsent:]
	}
	for some := range slices.Chunk(failures, 10*maxInMessage) {
		to = append(to, Message{Failures: &Failures{v.trial, slices.Clone(some)}})
	}
	return to
}
