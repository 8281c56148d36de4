package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"trivet/internal/words"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A start is one start of an instance. Its ID alone is not enough: START_ID may be the same at two instances.
type start struct{ instance, id string }

// starts are those that the event log or a call names.
type starts map[start]*startRecords

// startRecords are what was recorded of a start.
type startRecords struct {
	events int  // that it began
	calls  int  // arrivals, completions and outgoing calls
	killed bool // it ended without draining

	arrivals, highest, sum uint64 // the number of arrivals, and of the numbers that they have, the highest and their sum
}

func (s starts) of(instance, id string) *startRecords {
	key := start{instance, id}
	if s[key] == nil {
		s[key] = &startRecords{}
	}
	return s[key]
}

// call takes a record of an instance.
func (s starts) call(c record.Call) {
	r := s.of(c.Instance, c.Start)
	r.calls++
	if c.Event == record.Arrival {
		r.arrivals, r.highest, r.sum = r.arrivals+1, max(r.highest, c.Call), r.sum+c.Call
	}
}

// outgoing takes a record of a call that an instance made.
func (s starts) outgoing(o record.Outgoing) { s.of(o.Instance, o.Start).calls++ }

// counted reports whether the arrivals have the numbers from 1 on, each once. One that was killed may not have written the last.
func (r *startRecords) counted() bool {
	return r.killed || r.arrivals == r.highest && r.sum == r.highest*(r.highest+1)/2
}

func (s starts) event(e record.Event) {
	if e.Event != record.ProcessEvent || e.Process == scenario.Nginx {
		return
	}
	switch clean := e.Exit != nil && e.Exit.Clean(); {
	case e.Kind == record.Started:
		s.of(e.Process, e.Start).events++
	case e.Kind == record.Died, e.Kind == record.Stopped && !clean:
		s.of(e.Process, e.Start).killed = true
	}
}

func (s starts) killed(instance, id string) bool {
	r := s[start{instance, id}]
	return r != nil && r.killed
}

// reasons are for calls of starts that the lab did not make, and for IDs that do not tell starts apart: a call that such a start did not
// complete may have been that of another, which was killed.
func (s starts) reasons() (all []string) {
	events := make(map[string]int)
	calls := 0
	for key, r := range s {
		events[key.id] += r.events
		if r.events == 0 {
			calls += r.calls
		}
	}
	if calls > 0 {
		all = append(all, fmt.Sprintf("%s has %s of instances whose start is not in %s", record.InstancesFile, words.Count(calls, "record"), record.EventsFile))
	}
	for _, key := range slices.SortedFunc(maps.Keys(s), func(a, b start) int {
		return cmp.Or(scenario.CompareNames(a.instance, b.instance), cmp.Compare(a.id, b.id))
	}) {
		if r := s[key]; r.events > 0 && !r.counted() {
			all = append(all, fmt.Sprintf("%s counted %d arrivals in its start %s, and %s has %d, or has a number twice", key.instance, r.highest, key.id, record.InstancesFile, r.arrivals))
		}
	}
	repeated := 0
	for id, n := range events {
		if n > 1 || n > 0 && id == "" {
			repeated += n
		}
	}
	if repeated > 0 {
		all = append(all, fmt.Sprintf("%s has %s of instances without an ID, or with one that another start has", record.EventsFile, words.Count(repeated, "start")))
	}
	return all
}
