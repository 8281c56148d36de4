package ledger

import (
	"math/bits"
	"slices"
	"time"

	"trivet/lab/load"
)

// A course is when requests failed and when they were OK, by their planned times since a beginning. It grows with the length of the time:
// 125 bytes a second and a count for each instance.
type course struct {
	length      time.Duration
	failed      bool
	first, last time.Duration // of the failures
	good        []uint64      // a bit for each millisecond in which a request was planned that was OK
	seconds     []second
}

// second is what was planned in one.
type second struct {
	requests int
	answers  map[string]int // by instance
}

func newCourse(length time.Duration) *course { return &course{length: length} }

func (c *course) request(at time.Duration, outcome, instance string) {
	s := c.second(int(at / time.Second))
	s.requests++
	switch outcome {
	case load.OK:
		if s.answers == nil {
			s.answers = make(map[string]int)
		}
		s.answers[instance]++
		c.goodAt(int(at / time.Millisecond))
	case load.NotStarted:
	default:
		c.failure(at, at)
	}
}

func (c *course) second(i int) *second {
	for len(c.seconds) <= i {
		c.seconds = append(c.seconds, second{})
	}
	return &c.seconds[i]
}

func (c *course) goodAt(ms int) {
	for len(c.good) <= ms/64 {
		c.good = append(c.good, 0)
	}
	c.good[ms/64] |= 1 << (ms % 64)
}

func (c *course) failure(first, last time.Duration) {
	if !c.failed {
		c.failed, c.first, c.last = true, first, last
	}
	c.first, c.last = min(c.first, first), max(c.last, last)
}

// add adds another course of the same time.
func (c *course) add(other *course) {
	if other.failed {
		c.failure(other.first, other.last)
	}
	for i, word := range other.good {
		for len(c.good) <= i {
			c.good = append(c.good, 0)
		}
		c.good[i] |= word
	}
	for i, s := range other.seconds {
		sum := c.second(i)
		sum.requests += s.requests
		for name, n := range s.answers {
			if sum.answers == nil {
				sum.answers = make(map[string]int)
			}
			sum.answers[name] += n
		}
	}
}

func (c *course) recovery(instances []string) Recovery {
	var r Recovery
	if c.failed {
		r.Failed, r.FirstFailure, r.LastFailure = true, c.first, c.last
		r.FirstSuccess, r.Recovered = c.goodAfter(int(c.last / time.Millisecond))
	}
	// What is left over after the last whole second belongs to it: it is the end, and has to count, and alone it may be too short to judge.
	whole := max(1, int(c.length/time.Second))
	from := whole
	for end := max(whole, len(c.seconds)); from > 0 && c.fair(from-1, end, instances); from-- {
		end = from - 1
	}
	if r.FairAtEnd = from < whole; r.FairAtEnd {
		r.FairAgain = time.Duration(from) * time.Second
	}
	return r
}

// goodAfter is the first millisecond after that one in which an OK request was planned.
func (c *course) goodAfter(ms int) (time.Duration, bool) {
	for i := (ms + 1) / 64; i < len(c.good); i++ {
		word := c.good[i]
		if i == (ms+1)/64 {
			word &= ^uint64(0) << ((ms + 1) % 64)
		}
		if word != 0 {
			return time.Duration(i*64+bits.TrailingZeros64(word)) * time.Millisecond, true
		}
	}
	return 0, false
}

// fair tells whether every instance has given 90 % of an equal share of the answers to what was planned in some seconds, of which end is none any
// more, or they lie no further apart than round robin's law allows: of eleven answers of three instances one has three, which is less than
// 90 %. Seconds in which nothing was planned are fair.
func (c *course) fair(from, end int, instances []string) bool {
	requests, all, answers := 0, 0, make(map[string]int)
	for _, s := range c.seconds[min(from, len(c.seconds)):min(end, len(c.seconds))] {
		requests += s.requests
		for name, n := range s.answers {
			all += n
			answers[name] += n
		}
	}
	if requests == 0 {
		return true
	}
	var shares []int
	for _, name := range instances {
		shares = append(shares, answers[name])
	}
	if all == 0 || len(shares) == 0 {
		return false
	}
	least, most := slices.Min(shares), slices.Max(shares)
	return 10*len(shares)*least >= 9*all || most-least <= 1
}
