package measure

import (
	"slices"
	"time"

	"trivet/lab/record"
)

// A timeline is when requests failed and when they were OK, by their planned times since a start. It takes 125 bytes per second of its
// length, and a count per second and instance.
type timeline struct {
	length      time.Duration
	instances   []string
	failed      bool
	first, last time.Duration // of the failures
	ok          []uint64      // a bit for each millisecond in which a request was planned that was OK
	seconds     []second
	ended       []int // OK responses that ended in each second; those after the last one too
}

// second is what was planned in one.
type second struct {
	requests, ok int
	prompt       int   // OK within a second of their planned starts, or of the time for which they were held open
	byInstance   []int // OK, in the order of the instances
}

func newTimeline(length time.Duration, instances []string) *timeline {
	t := &timeline{length: length, instances: instances, ok: make([]uint64, length/(64*time.Millisecond)+1), seconds: make([]second, length/time.Second+1)}
	for i := range t.seconds {
		t.seconds[i].byInstance = make([]int, len(instances))
	}
	return t
}

// request adds one that was planned before the end, and took so long from there, for a part of which it was held open.
func (t *timeline) request(at, latency, held time.Duration, outcome, instance string) {
	s := &t.seconds[at/time.Second]
	s.requests++
	switch outcome {
	case record.OK:
		s.ok++
		if latency-held <= time.Second {
			s.prompt++
		}
		t.end(int((at+latency)/time.Second), 1)
		if i := slices.Index(t.instances, instance); i >= 0 {
			s.byInstance[i]++
		}
		t.ok[at/time.Millisecond/64] |= 1 << (at / time.Millisecond % 64)
	case record.Dropped:
	default:
		t.failure(at, at)
	}
}

// end adds OK responses that ended in a second.
func (t *timeline) end(second, n int) {
	for len(t.ended) <= second {
		t.ended = append(t.ended, 0)
	}
	t.ended[second] += n
}

func (t *timeline) failure(first, last time.Duration) {
	if !t.failed {
		t.failed, t.first, t.last = true, first, last
	}
	t.first, t.last = min(t.first, first), max(t.last, last)
}

// add adds another timeline of the same time, and of instances that this one has, too.
func (t *timeline) add(other *timeline) {
	if other.failed {
		t.failure(other.first, other.last)
	}
	for i, word := range other.ok {
		t.ok[i] |= word
	}
	for i, s := range other.seconds {
		sum := &t.seconds[i]
		sum.requests, sum.ok, sum.prompt = sum.requests+s.requests, sum.ok+s.ok, sum.prompt+s.prompt
		for n, name := range other.instances {
			sum.byInstance[slices.Index(t.instances, name)] += s.byInstance[n]
		}
	}
	for i, n := range other.ended {
		t.end(i, n)
	}
}

func (s *second) add(other second) {
	s.requests += other.requests
	s.ok += other.ok
	s.prompt += other.prompt
	for i, n := range other.byInstance {
		s.byInstance[i] += n
	}
}

func (t *timeline) recovery() Recovery {
	r := Recovery{Failed: t.failed}
	if t.failed {
		first, last := t.first, t.last
		r.FirstFailure, r.LastFailure = &first, &last
		r.FirstSuccess = t.okAfter(int(last / time.Millisecond))
		r.Recovered = r.FirstSuccess != nil
	}
	// What remains after the last whole second belongs to it: it is the end, and has to count, and alone it may be too short to judge.
	whole := max(1, int(t.length/time.Second))
	from := whole
	for end := len(t.seconds); from > 0; from-- {
		fair, responses := t.fair(from-1, end)
		if !fair {
			break
		}
		if end = from - 1; from == whole || responses < r.FairResponses {
			r.FairResponses = responses
		}
	}
	if r.FairAtEnd = from < whole; r.FairAtEnd {
		since := time.Duration(from) * time.Second
		r.FairSince = &since
	}
	return r
}

// okAfter is the first millisecond after that one in which an OK request was planned; nil if there is none.
func (t *timeline) okAfter(ms int) *time.Duration {
	for ms++; ms < 64*len(t.ok); ms++ {
		if t.ok[ms/64]&(1<<(ms%64)) != 0 {
			at := time.Duration(ms) * time.Millisecond
			return &at
		}
	}
	return nil
}

// fair reports whether, of what was planned in the seconds before end, every instance sent 90 % of an equal share of the OK responses, or
// the shares lie no further apart than round robin allows: of eleven responses of three instances one sent three, which is less than
// 90 %. Seconds in which nothing was planned are fair. It also returns the number of OK responses.
func (t *timeline) fair(from, end int) (fair bool, responses int) {
	sum := second{byInstance: make([]int, len(t.instances))}
	for _, s := range t.seconds[from:end] {
		sum.add(s)
	}
	switch {
	case sum.requests == 0:
		return true, 0
	case sum.ok == 0 || len(t.instances) == 0:
		return false, sum.ok
	}
	least, most := slices.Min(sum.byInstance), slices.Max(sum.byInstance)
	return 10*len(t.instances)*least >= 9*sum.ok || most-least <= 1, sum.ok
}

// keptUp is the part of the requests planned in a second that must have been OK within a second of their planned starts.
const keptUp = 0.95

func (t *timeline) saturation() Saturation {
	var s Saturation
	for _, n := range t.ended {
		s.Peak = max(s.Peak, float64(n))
	}
	behind := func(i int) bool { return float64(t.seconds[i].prompt) < keptUp*float64(t.seconds[i].requests) }
	for i := range len(t.seconds) - 1 {
		if !behind(i) || !behind(i+1) {
			continue
		}
		s.Saturated = true
		if i > 0 {
			rate := float64(t.seconds[i-1].requests)
			s.Knee = &rate
		}
		return s
	}
	return s
}
