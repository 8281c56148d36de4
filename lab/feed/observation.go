package feed

import (
	"cmp"
	"slices"
	"time"

	"trivet/lab/record"
)

// An observation is what a record says of events and states.
type observation struct {
	at       time.Duration
	kind     observationKind
	instance int // of an attempt or an arrival; -1: none that is known
	flow     int
	chosen   time.Duration // of an attempt: when nginx chose it; of failed: when the request began
	first    bool
	header   bool
	headerAt time.Duration // when that came, or before
	service  string        // of noLive
	event    *record.Event // of happened
}

type observationKind uint8

const (
	happened observationKind = iota
	arrived
	attempted
	noLive
	failed
)

func (o observation) compare(other observation) int {
	return cmp.Or(cmp.Compare(o.at, other.at), cmp.Compare(o.kind, other.kind), cmp.Compare(o.chosen, other.chosen), cmp.Compare(o.instance, other.instance),
		cmp.Compare(o.flow, other.flow), compareBool(o.header, other.header), compareBool(o.first, other.first), cmp.Compare(o.service, other.service))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// A queue holds observations back for a while and gives them out by time. Records of several files are read in an order of their own, and
// in another while they are written: what is said of them must not depend on that.
type queue struct {
	hold    time.Duration // for how long an earlier one may still come; 0: nothing is held back
	newest  time.Duration // of all records
	read    time.Duration // what happened until then is in the files, but for hold; files that had nothing more may have had it later
	waiting []observation
	give    func(observation)
}

// sometimes is after how many observations those are given out that need not wait any more.
const sometimes = 4096

func (q *queue) add(o observation) {
	q.newest = max(q.newest, o.at)
	if q.hold == 0 {
		q.give(o)
		return
	}
	if q.waiting = append(q.waiting, o); len(q.waiting)%sometimes == 0 {
		q.release(q.known())
	}
}

// known is until when everything has been read.
func (q *queue) known() time.Duration { return min(q.newest, q.read) - q.hold }

// release gives out what is not later than a time.
func (q *queue) release(until time.Duration) {
	slices.SortStableFunc(q.waiting, observation.compare)
	n := 0
	for n < len(q.waiting) && q.waiting[n].at <= until {
		q.give(q.waiting[n])
		n++
	}
	q.waiting = slices.Delete(q.waiting, 0, n)
}
