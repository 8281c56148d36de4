package draft

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// Limits of a file: those of experiments, and of maxLength, so that running it takes no longer than a pause for coffee.
const (
	maxPhases    = 20
	maxLoads     = 16
	maxDo        = 100
	maxPerSecond = 100_000
	maxRequests  = 2_000_000
	maxLength    = 5 * time.Minute
)

// settle is how long before the first action a phase ends, so that all its requests have ended when the action begins.
const settle = 500 * time.Millisecond

// A plan is what a file says.
type plan struct {
	History
	prepared effects // at the start
	phases   []phase
	loads    []load
	notes    []string // on how it differs from the history
}

// A phase is one of the plan, in which load and configuration stay the same.
type phase struct {
	name     string
	kind     string // prepare, before, during, since or steady
	from, to time.Duration
	Segment
	do []cluster
}

// plan is of the history from the last start of load on, or of as much of its end as fits into a file.
func (h History) plan() (*plan, error) {
	h.tidy()
	if len(h.Segments) == 0 {
		return nil, errors.New("no load was sent: start some, and save again")
	}
	first := h.lastStart()
	notes := slices.Concat(h.Unlike, h.limit(), h.effective(first), h.late())
	problem := "it planned no request; send it for longer, or at a higher rate, and save again"
	for start, more := first, true; more; start, more = h.next(start) {
		p := &plan{notes: slices.Clone(notes)}
		if start > first {
			p.notes = append(p.notes, fmt.Sprintf("the first %s are left out, as a file has at most %d phases, %s and %d requests", short(start-first), maxPhases, short(maxLength), maxRequests))
		}
		p.History, p.prepared = h.from(start)
		p.build()
		if len(p.loads) > 0 && p.fits() {
			return p, nil
		} else if len(p.loads) > 0 {
			problem = "it planned too many requests; send it at a lower rate, and save again"
		}
	}
	return nil, errors.New("the load since its last start is no experiment: " + problem)
}

func (p *plan) fits() bool {
	total, requests := time.Duration(0), 0
	for _, ph := range p.phases {
		if total += ph.to - ph.from; len(doNodes(ph)) > maxDo {
			return false
		}
	}
	for _, l := range p.loads {
		rate := l.rate(p.phases)
		if slices.Max(rate.PerSecond) > maxPerSecond {
			return false
		}
		requests += rate.Estimate(total)
	}
	return len(p.phases) <= maxPhases && len(p.loads) <= maxLoads && total <= maxLength && requests <= maxRequests
}

// build makes phases and loads of the history.
func (p *plan) build() {
	p.notes = append(p.notes, p.shorten()...)
	p.notes = append(p.notes, p.extend()...)
	clusters := clustersOf(p.Actions)
	p.notes = append(p.notes, p.moveChanges(clusters)...)
	p.cut(clusters)
	p.name(clusters)
	if first := p.prepared.prepare(); len(first) > 0 {
		length := time.Second + time.Duration(len(first))*100*time.Millisecond
		for i := range p.phases {
			p.phases[i].from, p.phases[i].to = p.phases[i].from+length, p.phases[i].to+length
			for k := range p.phases[i].do {
				p.phases[i].do[k].shift(length)
			}
		}
		c := cluster{actions: first}
		p.phases = slices.Insert(p.phases, 0, phase{name: prepare, kind: prepare, to: length, do: []cluster{c}, Segment: Segment{Edits: p.Segments[0].Edits}})
	}
	p.findLoads()
}

// moveChanges moves each change of load or configuration that was made while actions went on, to after them: an action ends in the phase
// in which it begins.
func (p *plan) moveChanges(clusters []cluster) (notes []string) {
	all, moved := p.Segments, 0
	for i := 0; i+1 < len(all); {
		at := all[i].To
		for _, c := range clusters {
			if c.from < at && at < c.to+c.margin {
				at = c.to + c.margin
			}
		}
		if at > all[i].To {
			moved++
		}
		all[i].To, all[i+1].From = at, at
		if all[i+1].To-at >= shortest {
			i++
			continue
		}
		all[i].To = max(at, all[i+1].To) // The next was over before the actions were.
		all = slices.Delete(all, i+1, i+2)
		if i+1 < len(all) {
			all[i+1].From = all[i].To
		}
	}
	p.Segments = all
	if moved > 0 {
		notes = append(notes, "what was changed while an action went on, or right after it, is changed somewhat later here: an action ends in the phase in which it begins")
	}
	return notes
}

// cut makes a phase of each segment, and one more of the time before the first action and of that after the last.
func (p *plan) cut(clusters []cluster) {
	var cuts []time.Duration
	if len(clusters) > 0 {
		last := clusters[len(clusters)-1]
		if cuts = []time.Duration{last.to + last.margin}; len(p.prepared) == 0 {
			cuts = []time.Duration{clusters[0].from - settle, last.to + last.margin}
		}
	}
	add := func(s Segment, from, to time.Duration) {
		ph := phase{from: from, to: to, Segment: s}
		for _, c := range clusters {
			if from <= c.from && c.from < to {
				ph.do = append(ph.do, c)
			}
		}
		p.phases = append(p.phases, ph)
	}
	for _, s := range p.Segments {
		from := s.From
		for _, at := range cuts {
			if from+shortest <= at && at <= s.To-shortest {
				add(s, from, at)
				from = at
			}
		}
		add(s, from, s.To)
	}
}

// Kinds of phases, which their names begin with.
const (
	prepare = "prepare" // brings the fleet into the state in which it was; without load
	before  = "before"  // any action
	during  = "during"
	since   = "after"  // the last action
	steady  = "steady" // without any
)

// name names each phase by when it is, and by a number where there are several of a kind.
func (p *plan) name(clusters []cluster) {
	counts := map[string]int{}
	for i := range p.phases {
		ph := &p.phases[i]
		switch {
		case len(clusters) == 0 && len(p.prepared) == 0:
			ph.kind = steady
		case len(clusters) == 0:
			ph.kind = since
		case ph.to <= clusters[0].from && len(p.prepared) == 0:
			ph.kind = before
		case ph.from >= clusters[len(clusters)-1].to:
			ph.kind = since
		default:
			ph.kind = during
		}
		counts[ph.kind]++
	}
	number := map[string]int{}
	for i := range p.phases {
		ph := &p.phases[i]
		if ph.name = ph.kind; counts[ph.kind] > 1 {
			number[ph.kind]++
			ph.name = fmt.Sprintf("%s_%d", ph.kind, number[ph.kind])
		}
	}
}

// A load is one of the plan: requests of one kind, in the phases that have them.
type load struct {
	kind
	name  string
	rates map[string]float64 // by phase
}

// A kind of requests is all about them but their rate.
type kind struct {
	protocol string
	hold     time.Duration // of watches; 0: unary
	interval time.Duration // of their messages; 0: the default
	channels int           // 0: the default
	deadline time.Duration // 0: the default
	retry    bool
}

// rate is the load's as a scenario has it.
func (l load) rate(phases []phase) scenario.Rate {
	r := scenario.Rate{Shape: scenario.Step}
	for _, ph := range phases {
		r.PerSecond, r.For = append(r.PerSecond, l.rates[ph.name]), append(r.For, ph.to-ph.from)
	}
	return r
}

// Deadlines that a file can have, and the one of a load without any.
const minDeadline, maxDeadline, defaultDeadline = time.Millisecond, time.Minute, 5 * time.Second

// defaultChannels are a gRPC load's that names none.
const defaultChannels = 4

// kindsOf are a segment's, each with one rate.
func kindsOf(s Segment) (all []kind, perSecond []float64) {
	deadline := s.Deadline
	if deadline > 0 {
		deadline = min(max(deadline.Round(resolution), minDeadline), maxDeadline)
	}
	if s.HTTP > 0 {
		all, perSecond = append(all, kind{protocol: scenario.HTTP, deadline: deadline, retry: s.Retry}), append(perSecond, s.HTTP)
	}
	if s.GRPC > 0 {
		all, perSecond = append(all, kind{protocol: scenario.GRPC, deadline: deadline, retry: s.Retry}), append(perSecond, s.GRPC)
	}
	if s.Streams > 0 {
		hold := s.Hold
		if hold <= 0 {
			hold = DefaultHold
		}
		hold = min(max(hold.Round(resolution), minDeadline), maxDeadline-resolution)
		more := deadline
		if more == 0 {
			more = defaultDeadline
		}
		k := kind{protocol: scenario.GRPC, hold: hold, interval: s.Interval, channels: s.Channels, deadline: min(hold+more, maxDeadline), retry: s.Retry}
		all, perSecond = append(all, k), append(perSecond, s.Streams/hold.Seconds())
	}
	return all, perSecond
}

// findLoads makes a load of all requests that differ in rate alone.
func (p *plan) findLoads() {
	p.loads = nil
	for _, ph := range p.phases {
		all, perSecond := kindsOf(ph.Segment)
		for i, k := range all {
			n := slices.IndexFunc(p.loads, func(have load) bool { return have.kind == k })
			if n < 0 {
				p.loads, n = append(p.loads, load{kind: k, rates: map[string]float64{}}), len(p.loads)
			}
			p.loads[n].rates[ph.name] = perSecond[i]
		}
	}
	total := p.phases[len(p.phases)-1].to
	p.loads = slices.DeleteFunc(p.loads, func(l load) bool {
		rate := l.rate(p.phases)
		return rate.Estimate(total) <= 1 && rate.Count(total) == 0
	})
	p.nameLoads()
}

// nameLoads leaves the only load of a protocol without a name.
func (p *plan) nameLoads() {
	counts, numbers := map[string]int{}, map[string]int{}
	name := func(l load) string {
		switch {
		case l.hold > 0:
			return "streams"
		case slices.ContainsFunc(p.loads, func(l load) bool { return l.hold > 0 }) && l.protocol == scenario.GRPC:
			return "calls"
		}
		return l.protocol
	}
	for _, l := range p.loads {
		counts[name(l)]++
	}
	for i := range p.loads {
		l := &p.loads[i]
		of := name(*l)
		if l.name = of; counts[of] > 1 {
			numbers[of]++
			l.name = fmt.Sprintf("%s_%d", of, numbers[of])
		} else if of == l.protocol {
			l.name = ""
		}
	}
}

// configurations are those that the phases have, the first first, as the first segment that has it says it.
func (p *plan) configurations() (all []Segment) {
	for _, s := range p.Segments {
		if !slices.ContainsFunc(all, func(have Segment) bool { return slices.Equal(have.Edits, s.Edits) }) {
			all = append(all, s)
		}
	}
	return all
}

// shipped reports whether edits leave nginx's way of choosing instances as it is shipped: round robin that never ejects one.
func shipped(edits []confedit.Edit) bool {
	return !slices.ContainsFunc(edits, func(e confedit.Edit) bool { return !isKeepalive(e) })
}
