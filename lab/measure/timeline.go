package measure

import (
	"math/bits"
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
}

// second is what was planned in one.
type second struct {
	requests, ok int
	byInstance   []int // OK, in the order of the instances
}

func newTimeline(length time.Duration, instances []string) *timeline {
	return &timeline{length: length, instances: instances}
}

func (t *timeline) request(at time.Duration, outcome, instance string) {
	s := t.second(int(at / time.Second))
	s.requests++
	switch outcome {
	case record.OK:
		s.ok++
		if i := slices.Index(t.instances, instance); i >= 0 {
			s.byInstance[i]++
		}
		t.okAt(int(at / time.Millisecond))
	case record.Dropped:
	default:
		t.failure(at, at)
	}
}

func (t *timeline) second(i int) *second {
	for len(t.seconds) <= i {
		t.seconds = append(t.seconds, second{byInstance: make([]int, len(t.instances))})
	}
	return &t.seconds[i]
}

func (t *timeline) okAt(ms int) {
	for len(t.ok) <= ms/64 {
		t.ok = append(t.ok, 0)
	}
	t.ok[ms/64] |= 1 << (ms % 64)
}

func (t *timeline) failure(first, last time.Duration) {
	if !t.failed {
		t.failed, t.first, t.last = true, first, last
	}
	t.first, t.last = min(t.first, first), max(t.last, last)
}

// add adds another timeline of the same time and instances.
func (t *timeline) add(other *timeline) {
	if other.failed {
		t.failure(other.first, other.last)
	}
	for i, word := range other.ok {
		for len(t.ok) <= i {
			t.ok = append(t.ok, 0)
		}
		t.ok[i] |= word
	}
	for i, s := range other.seconds {
		t.second(i).add(s)
	}
}

func (s *second) add(other second) {
	s.requests += other.requests
	s.ok += other.ok
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
	for end := max(whole, len(t.seconds)); from > 0 && t.fair(from-1, end); from-- {
		end = from - 1
	}
	if r.FairAtEnd = from < whole; r.FairAtEnd {
		since := time.Duration(from) * time.Second
		r.FairSince = &since
	}
	return r
}

// okAfter is the first millisecond after that one in which an OK request was planned; nil if there is none.
func (t *timeline) okAfter(ms int) *time.Duration {
	for i := (ms + 1) / 64; i < len(t.ok); i++ {
		word := t.ok[i]
		if i == (ms+1)/64 {
			word &= ^uint64(0) << ((ms + 1) % 64)
		}
		if word != 0 {
			at := time.Duration(i*64+bits.TrailingZeros64(word)) * time.Millisecond
			return &at
		}
	}
	return nil
}

// fair reports whether, of what was planned in the seconds before end, every instance sent 90 % of an equal share of the OK responses, or
// the shares lie no further apart than round robin allows: of eleven responses of three instances one sent three, which is less than
// 90 %. Seconds in which nothing was planned are fair.
func (t *timeline) fair(from, end int) bool {
	sum := second{byInstance: make([]int, len(t.instances))}
	for _, s := range t.seconds[min(from, len(t.seconds)):min(end, len(t.seconds))] {
		sum.add(s)
	}
	switch {
	case sum.requests == 0:
		return true
	case sum.ok == 0 || len(t.instances) == 0:
		return false
	}
	least, most := slices.Min(sum.byInstance), slices.Max(sum.byInstance)
	return 10*len(t.instances)*least >= 9*sum.ok || most-least <= 1
}
