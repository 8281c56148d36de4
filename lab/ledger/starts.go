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
type starts struct {
	of     map[start]*startRecords
	target bool // the instances were there before the trial
}

func newStarts(target bool) starts { return starts{make(map[start]*startRecords), target} }

// startRecords are what was recorded of a start.
type startRecords struct {
	events int  // that it began
	calls  int  // arrivals, completions and outgoing calls
	killed bool // it ended without draining

	arrivals, highest, sum uint64 // the number of arrivals, and of the numbers that they have, the highest and their sum
	numbers                numbers
}

func (s starts) find(instance, id string) *startRecords {
	key := start{instance, id}
	if s.of[key] == nil {
		s.of[key] = &startRecords{}
	}
	return s.of[key]
}

// call takes a record of an instance.
func (s starts) call(c record.Call, planned bool) {
	r := s.find(c.Instance, c.Start)
	r.calls++
	if c.Event == record.Arrival {
		r.arrivals, r.highest, r.sum = r.arrivals+1, max(r.highest, c.Call), r.sum+c.Call
		if s.target {
			r.numbers.add(c.Call, planned)
		}
	}
}

// outgoing takes a record of a call that an instance made.
func (s starts) outgoing(o record.Outgoing) { s.find(o.Instance, o.Start).calls++ }

// counted reports whether the arrivals have the numbers from 1 on, each once. One that was killed may not have written the last.
func (r *startRecords) counted() bool {
	return r.killed || r.arrivals == r.highest && r.sum == r.highest*(r.highest+1)/2
}

func (s starts) event(e record.Event) {
	if e.Event != record.ProcessEvent || e.Process == scenario.Nginx {
		return
	}
	unknown := s.target && e.Start == "" // An instance that has recorded no call yet.
	ended := e.Kind == record.Died || e.Kind == record.Stopped && (e.Exit != nil || !s.target) && (e.Exit == nil || !e.Exit.Clean())
	switch {
	case e.Kind == record.Started && !unknown:
		s.find(e.Process, e.Start).events++
	case ended && unknown:
		for key, r := range s.of {
			r.killed = r.killed || key.instance == e.Process
		}
	case ended:
		s.find(e.Process, e.Start).killed = true
	}
}

// killed reports whether a start was killed. On a target the records of one that was may be lost, so id "" is any start there.
func (s starts) killed(instance, id string) bool {
	if s.target && id == "" {
		for key, r := range s.of {
			if key.instance == instance && r.killed {
				return true
			}
		}
	}
	r := s.of[start{instance, id}]
	return r != nil && r.killed
}

// wrongArrivals says, in words, how the numbers of the arrivals in a start cannot be; "" if they can. Of a start that was there before the
// trial not all are known, but between two of the trial's none is missing.
func (s starts) wrongArrivals(key start, r *startRecords) string {
	switch {
	case r.events == 0 || r.killed:
		return ""
	case s.target:
		if what := r.numbers.wrong(); what != "" {
			return fmt.Sprintf("%s in its start %s: %s", key.instance, key.id, what)
		}
		return ""
	case r.counted():
		return ""
	}
	return fmt.Sprintf("%s counted %d arrivals in its start %s, and %s has %d, or has a number twice", key.instance, r.highest, key.id, record.InstancesFile, r.arrivals)
}

// reasons are for calls of starts that the lab did not make, and for IDs that do not tell starts apart: a call that such a start did not
// complete may have been that of another, which was killed.
func (s starts) reasons() (all []string) {
	events := make(map[string]int)
	calls := 0
	for key, r := range s.of {
		events[key.id] += r.events
		if r.events == 0 {
			calls += r.calls
		}
	}
	if calls > 0 {
		all = append(all, fmt.Sprintf("%s has %s of instances whose start is not in %s", record.InstancesFile, words.Count(calls, "record"), record.EventsFile))
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.of), func(a, b start) int {
		return cmp.Or(scenario.CompareNames(a.instance, b.instance), cmp.Compare(a.id, b.id))
	}) {
		if what := s.wrongArrivals(key, s.of[key]); what != "" {
			all = append(all, what)
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
