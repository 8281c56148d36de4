package ledger

import (
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"trivet/lab/load"
)

// A tally counts the requests of one load in one phase.
type tally struct {
	Figures                                                 // without what is made of the rest at the end: Amplification, the latencies, Recovery, Turn
	latency, service, failedLatency, failedService *samples // nil: no sample
	lateness                                       *samples
	over                                           [len(grades)]int // by how much more than each grade's bound the generator was off
	expired                                        int              // answers that were OK long after the request's deadline
	course                                         *course
	border                                         int
}

func newTally(length time.Duration) *tally {
	return &tally{course: newCourse(length), Figures: Figures{
		Codes: make(map[string]int), Reasons: make(map[string]int), FirstAttempts: make(map[string]int), Answers: make(map[string]int),
	}}
}

// tally is that of a load in a phase.
func (b *Book) tally(load, phase int) *tally { return b.tallies[load*len(b.scene.Phases)+phase] }

// countClient counts what the client alone knows.
func (b *Book) countClient(stream int, r load.Record, at moment) {
	t := b.tally(stream, at.phase)
	from, _ := b.scene.bounds(at.phase)
	inPhase, inRun := time.Duration(at.start)-from, time.Duration(at.start)
	t.Requests++
	t.ClientAttempts += r.Attempts
	for _, c := range []struct {
		*course
		at time.Duration
	}{{t.course, inPhase}, {b.whole[stream], inRun}} {
		c.request(c.at, r.Outcome, r.Instance)
	}
	if r.Outcome == load.NotStarted {
		t.NotStarted++
		t.Reasons[r.Reason]++
		return
	}
	t.countLate(r, b.scene.Loads[stream].Deadline)
	if r.Code != "" {
		t.Codes[r.Code]++
	}
	if r.Outcome == load.OK {
		t.OK++
		t.Answers[r.Instance]++
		t.latency, t.service = t.latency.with(r.Latency), t.service.with(r.Service)
		return
	}
	t.Failed++
	t.failedLatency, t.failedService = t.failedLatency.with(r.Latency), t.failedService.with(r.Service)
	switch r.Outcome {
	case load.ByInstance:
		t.ByInstance++
	case load.ByNginx:
		t.ByNginx++
	case load.AtClient:
		t.AtClient++
		t.Reasons[r.Reason]++
	}
}

// countLate counts by how much the generator was off.
func (t *tally) countLate(r load.Record, deadline time.Duration) {
	off := r.Late
	if r.Stalled > r.Latency/noHarm {
		off = max(off, r.Stalled)
	}
	t.lateness = t.lateness.with(off)
	for i, g := range grades {
		if time.Duration(off)*time.Microsecond > g.bound {
			t.over[i]++
		}
	}
	t.Late = t.over[0]
	if deadline > 0 && r.Outcome == load.OK && time.Duration(r.Service)*time.Microsecond > deadline+Lateness {
		t.expired++
	}
}

// countPath counts what nginx and instances know of a request that has a client record.
func (b *Book) countPath(stream int, e *entry) {
	t := b.tally(stream, e.planned.phase)
	b.countBorder(stream, e)
	for _, w := range e.upstream {
		if w.fate == noLive {
			t.NoLive++
			continue
		}
		t.NginxAttempts++
		if w.first && w.door != unknownDoor {
			t.FirstAttempts[b.doors[w.door].instance]++
		}
		switch w.fate {
		case doubtful:
			t.UnknownToNginx++
			t.FailedAttempts++
		case unsent:
			t.FailedAttempts++
		}
	}
	for _, a := range e.answers {
		if a.own {
			t.NginxAnswers++
		}
	}
	t.Executions += len(e.calls)
	if len(e.calls) > 1 {
		t.ExecutedTwice++
	}
	if len(e.calls) == 0 && e.outcome != load.NotStarted {
		t.ReachedNobody++
	}
}

// countBorder counts the turns that a request which spans the border of two phases may have taken in the other.
func (b *Book) countBorder(stream int, e *entry) {
	last := b.scene.phaseAt(time.Duration(e.planned.end))
	if last <= e.planned.phase {
		return
	}
	for phase := e.planned.phase; phase <= last; phase++ {
		b.tally(stream, phase).border += max(e.lines, 1)
	}
}

// add adds the counts of other. What is made of them follows in figures.
func (t *tally) add(other *tally) {
	for _, c := range []struct {
		sum *int
		n   int
	}{
		{&t.Requests, other.Requests}, {&t.NotStarted, other.NotStarted}, {&t.Late, other.Late}, {&t.OK, other.OK}, {&t.Failed, other.Failed},
		{&t.ByInstance, other.ByInstance}, {&t.ByNginx, other.ByNginx}, {&t.AtClient, other.AtClient},
		{&t.ClientAttempts, other.ClientAttempts}, {&t.NginxAttempts, other.NginxAttempts}, {&t.Executions, other.Executions},
		{&t.ExecutedTwice, other.ExecutedTwice}, {&t.ReachedNobody, other.ReachedNobody}, {&t.UnknownToNginx, other.UnknownToNginx},
		{&t.NoLive, other.NoLive}, {&t.FailedAttempts, other.FailedAttempts}, {&t.NginxAnswers, other.NginxAnswers}, {&t.border, other.border},
		{&t.expired, other.expired},
	} {
		*c.sum += c.n
	}
	for i, n := range other.over {
		t.over[i] += n
	}
	for _, m := range []struct{ sum, of map[string]int }{
		{t.Codes, other.Codes}, {t.Reasons, other.Reasons}, {t.FirstAttempts, other.FirstAttempts}, {t.Answers, other.Answers},
	} {
		for name, n := range m.of {
			m.sum[name] += n
		}
	}
	t.latency, t.service, t.lateness = t.latency.and(other.latency), t.service.and(other.service), t.lateness.and(other.lateness)
	t.failedLatency, t.failedService = t.failedLatency.and(other.failedLatency), t.failedService.and(other.failedService)
}

// figures are the sum of some loads' tallies in one phase, or in all of them if it is -1.
func (b *Book) figures(loads []int, phase int) Figures {
	phases, length := []int{phase}, b.scene.end()
	if phase < 0 {
		phases = nil
		for i := range b.scene.Phases {
			phases = append(phases, i)
		}
	} else {
		length = b.scene.Phases[phase].For
	}
	sum := newTally(length)
	for _, l := range loads {
		for _, p := range phases {
			sum.add(b.tally(l, p))
		}
		if phase < 0 {
			sum.course.add(b.whole[l])
		} else {
			sum.course.add(b.tally(l, phase).course)
		}
	}
	f := sum.Figures
	if sent := f.Requests - f.NotStarted; sent > 0 {
		f.Amplification = float64(f.NginxAttempts) / float64(sent)
	}
	f.Latency, f.Service = sum.latency.latency(), sum.service.latency()
	f.FailedLatency, f.FailedService = sum.failedLatency.latency(), sum.failedService.latency()
	f.Lateness = sum.lateness.latency()
	f.Recovery = sum.course.recovery(b.instances())
	f.Turn = Turn{Spread: b.spread(f.FirstAttempts), Border: sum.border, Workers: b.scene.Workers, Instances: len(b.scene.Instances)}
	if phase < 0 {
		f.Turn.Border = 0 // Nothing was before, and all that came has been waited for.
	}
	from, to := time.Duration(math.MinInt64), time.Duration(math.MaxInt64)
	if phase >= 0 {
		from, to = b.scene.bounds(phase)
	}
	f.Turn.Generations = 1 + b.diary.reloads(from, to)
	f.Turn.Upstream = b.allOfProtocol(loads)
	return f
}

func (b *Book) instances() []string {
	var names []string
	for _, i := range b.scene.Instances {
		names = append(names, i.Name)
	}
	return names
}

func (b *Book) spread(first map[string]int) int {
	var counts []int
	for _, i := range b.scene.Instances {
		counts = append(counts, first[i.Name])
	}
	if len(counts) == 0 {
		return 0
	}
	return slices.Max(counts) - slices.Min(counts)
}

// named are the loads that a name means: that load, or all of the protocol of that name.
func (b *Book) named(name string) []int {
	var byName, byProtocol []int
	for i, l := range b.scene.Loads {
		if l.Name == name {
			byName = append(byName, i)
		}
		if l.Protocol == name {
			byProtocol = append(byProtocol, i)
		}
	}
	if len(byProtocol) > 0 {
		return byProtocol
	}
	return byName
}

// allOfProtocol tells whether there are no other loads that use the same group of servers.
func (b *Book) allOfProtocol(loads []int) bool {
	protocols := make(map[string]bool)
	for _, l := range loads {
		protocols[b.scene.Loads[l].Protocol] = true
	}
	for i, l := range b.scene.Loads {
		if protocols[l.Protocol] && !slices.Contains(loads, i) {
			return false
		}
	}
	return len(protocols) == 1
}

// samples is a histogram of microseconds. A nil one is empty.
type samples hdrhistogram.Histogram

const longest = int64(time.Hour / time.Microsecond)

func (s *samples) with(us int64) *samples {
	if s == nil {
		s = (*samples)(hdrhistogram.New(1, longest, 3))
	}
	// It refuses only what is out of its range.
	_ = (*hdrhistogram.Histogram)(s).RecordValue(min(max(us, 0), longest))
	return s
}

func (s *samples) and(other *samples) *samples {
	if other == nil {
		return s
	}
	sum := (*hdrhistogram.Histogram)(other)
	if s == nil {
		return (*samples)(hdrhistogram.Import(sum.Export()))
	}
	(*hdrhistogram.Histogram)(s).Merge(sum)
	return s
}

func (s *samples) latency() Latency {
	if s == nil {
		return Latency{}
	}
	h := (*hdrhistogram.Histogram)(s)
	at := func(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
	q := h.ValueAtPercentilesSlice([]float64{50, 90, 99, 99.9})
	return Latency{
		Count: int(h.TotalCount()), Mean: time.Duration(h.Mean() * float64(time.Microsecond)),
		P50: at(q[0]), P90: at(q[1]), P99: at(q[2]), P999: at(q[3]), Max: at(h.Max()),
	}
}

// Live is what a view of a run that is going on shows.
type Live struct {
	Phase     string // the last that has begun; "" before the first
	Protocols map[string]Count
}

// Count is how requests ended, so far.
type Count struct{ OK, Failed, NotStarted int }

// Live is cheap: it can be asked a few times a second.
func (b *Book) Live() Live {
	live := Live{Phase: b.diary.phase, Protocols: make(map[string]Count)}
	for i, l := range b.scene.Loads {
		c := live.Protocols[l.Protocol]
		for p := range b.scene.Phases {
			t := b.tally(i, p)
			c.OK, c.Failed, c.NotStarted = c.OK+t.OK, c.Failed+t.Failed, c.NotStarted+t.NotStarted
		}
		live.Protocols[l.Protocol] = c
	}
	return live
}

// Figures are what was counted of a phase's requests, or of the whole run's if phase is "": those of the load of that name, or those
// of all loads of a protocol if name is load.HTTP or load.GRPC. It is false if there is no such phase or no such load. Before Settle,
// what nginx and instances saw of the newest requests is not in it.
func (b *Book) Figures(phase, name string) (Figures, bool) {
	at := slices.IndexFunc(b.scene.Phases, func(p Phase) bool { return p.Name == phase })
	loads := b.named(name)
	if len(loads) == 0 || at < 0 && phase != "" {
		return Figures{}, false
	}
	return b.figures(loads, at), true
}
