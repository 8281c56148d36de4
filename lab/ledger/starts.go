package ledger

import (
	"fmt"

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
	calls  int  // arrivals and completions
	killed bool // it ended without draining
}

func (s starts) of(instance, id string) *startRecords {
	key := start{instance, id}
	if s[key] == nil {
		s[key] = &startRecords{}
	}
	return s[key]
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
