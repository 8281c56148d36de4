package feed

import (
	"reflect"
	"slices"

	"trivet/lab/record"
)

// A view is what a source shows, and what of it has been sent.
type view struct {
	trial       int
	counter     *counter
	info        func() Trial
	sent        *Trial // the last that was sent
	failures    []Failure
	unsent      int // the last of the failures, so many
	maxFailures int
	health      bool   // there was an event of an instance's health
	problem     string // see Trial.Problem
}

func newView(trial int, c *counter) view { return view{trial: trial, counter: c} }

// add takes a record.
func (v *view) add(next any) {
	switch r := next.(type) {
	case record.Event:
		v.event(&r)
	case record.Sample:
		v.counter.sample(&r)
	case record.Call:
		v.counter.call(&r)
	case record.Outgoing:
		v.counter.outgoing(&r)
	case record.AccessLogEntry:
		attempts, err := r.Attempts()
		if err != nil {
			return // The reader has refused it.
		}
		v.counter.entry(&r, attempts)
	case record.Client:
		v.client(&r)
	}
}

func (v *view) event(e *record.Event) {
	at := e.Time.Sub(v.counter.begin)
	if e.Instance != nil {
		v.counter.addInstance(*e.Instance)
	}
	if e.Event == record.ProcessEvent && e.Start != "" && (e.Kind == record.Died || e.Kind == record.Stopped) {
		v.counter.end(e.Start, e.Process, at)
	}
}

func (v *view) client(r *record.Client) {
	flow, counted := v.counter.client(r)
	if !counted || r.Outcome == record.OK || r.Outcome == record.Dropped {
		return
	}
	if len(v.failures) < v.maxFailures {
		v.failures = append(v.failures, Failure{
			ID: r.ID, At: r.Planned.Sub(v.counter.begin).Milliseconds(), Flow: Flows[flow], Outcome: r.Outcome, Code: r.Code, Reason: r.Reason, Instance: r.Instance, Latency: r.Latency,
		})
		v.unsent++
	}
}

// maxInMessage bounds the bins and the failures of one message, so that it stays far below a megabyte.
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
	failures := v.failures
	if !everything {
		failures = failures[len(failures)-v.unsent:]
	}
	for some := range slices.Chunk(failures, 10*maxInMessage) {
		to = append(to, Message{Failures: &Failures{v.trial, slices.Clone(some)}})
	}
	return to
}
