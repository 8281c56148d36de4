package ledger

import (
	"fmt"
	"math"
	"slices"
	"time"

	"trivet/lab/record"
)

const (
	minCompared = 20                   // requests without which a distribution says nothing
	near        = 5 * time.Millisecond // differences count up to this, so that a few large ones decide nothing
	// apart is by how much nginx's duration must exceed the client's on average, beside four standard errors. nginx's is of whole
	// milliseconds, and right on average. Of the experiments of the catalog, also beside 8 busy loops, it was always 0.6 ms or more less.
	apart = 100 * time.Microsecond
	// tooEarly is the part of the responses that may end at the client before nginx sent them: of 30,000 none did.
	tooEarly = 0.05
	// A response may reach the client so long after nginx sent it, in the middle, beside the generator's stalls and one and a half times
	// what a tenth of the requests started late: a generator that is not woken to send is not woken to read either. And it must be most of
	// the service time: beside busy loops the middle was up to 11 ms, but of 60, and up to two thirds, but less than 9 ms.
	delayed, mostly = 3 * time.Millisecond, 0.85
)

// A distribution is of requests that were sent once and had a whole response: how their times at the client differ from nginx's.
type distribution struct {
	n                    int
	difference, squares  float64 // nginx's duration minus the client's service time, within near, in ms
	early                int     // responses that ended at the client before nginx sent them
	service, late, delay buckets // delay: from nginx's end to the client's
}

func (d *distribution) add(c *record.Client, nginx, delay time.Duration) {
	d.n++
	service := time.Duration(c.Service) * time.Microsecond
	ms := float64(min(max(nginx-service, -near), near)) / float64(time.Millisecond)
	d.difference += ms
	d.squares += ms * ms
	if delay < 0 {
		d.early++
	}
	d.service.add(service)
	d.late.add(time.Duration(c.Late) * time.Microsecond)
	d.delay.add(delay - time.Duration(c.Stalled)*time.Microsecond)
}

// contradiction says, in words, what cannot be of a client's time that contains nginx's; "" if nothing. Ends are not compared if the wall
// clock was set during the trial.
func (d *distribution) contradiction(stepped bool) string {
	if d.n < minCompared {
		return ""
	}
	n := float64(d.n)
	mean := d.difference / n
	deviation := math.Sqrt(max(0, d.squares/n-mean*mean) / n)
	middle, delay := d.service.quantile(0.5), d.delay.quantile(0.5)
	switch {
	case mean > 4*deviation+float64(apart)/float64(time.Millisecond):
		return fmt.Sprintf("half of %d requests took the client at most %v, and nginx, whose time is part of that, took %.2f ms longer on average", d.n, middle, mean)
	case stepped:
	case float64(d.early) > tooEarly*n:
		return fmt.Sprintf("%d of %d responses ended at the client before nginx sent them", d.early, d.n)
	case delay > delayed+d.late.quantile(0.9)*3/2 && float64(delay) > mostly*float64(middle):
		return fmt.Sprintf("half of %d responses took %v or more from nginx to the client, most of the %v that the whole requests took; nine of ten started at most %v late",
			d.n, delay, middle, d.late.quantile(0.9))
	}
	return ""
}

// buckets count times from 1 µs on, four per power of two.
type buckets [160]uint32

func (b *buckets) add(d time.Duration) {
	us := max(1, float64(d)/float64(time.Microsecond))
	b[min(len(b)-1, int(4*math.Log2(us)))]++
}

// quantile is within a fifth of the nearest rank; 0 of nothing.
func (b *buckets) quantile(q float64) time.Duration {
	sum := 0
	for _, n := range b {
		sum += int(n)
	}
	rank := int(math.Ceil(q * float64(sum)))
	for i, n := range b {
		if rank -= int(n); rank <= 0 && sum > 0 {
			us := math.Pow(2, (float64(i)+0.5)/4)
			unit := math.Pow(10, math.Floor(math.Log10(us))-1) // two digits
			return time.Duration(math.Round(us/unit) * unit * float64(time.Microsecond))
		}
	}
	return 0
}

// A clock shows steps of the wall clock: by nine requests of each second that ended in it, how nginx's times, which follow the wall clock,
// lie to the client's, which do not.
type clock map[int64]*second

type second struct {
	n    int
	late time.Duration       // the most that a request started late, or the generator stalled during one
	gaps [9][2]time.Duration // from the client's start to nginx's, and from nginx's end to the client's
}

func (c clock) add(at int64, start, end time.Duration) {
	if s := c.second(at); s.n < len(s.gaps) {
		s.gaps[s.n] = [2]time.Duration{start, end}
		s.n++
	}
}

// wasLate takes by how much the generator was late with a request, or stalled during it.
func (c clock) wasLate(at int64, late time.Duration) {
	s := c.second(at)
	s.late = max(s.late, late)
}

func (c clock) second(at int64) *second {
	if c[at] == nil {
		c[at] = &second{}
	}
	return c[at]
}

// shift is by how much the wall clock was set since the load began: nginx then starts so much later than the client, and ends so much
// later. A request that waits for nginx only starts later; a client that reads late only ends later. It is false for a second of which
// too little is known.
func (c clock) shift(at int64) (time.Duration, bool) {
	s := c[at]
	if s == nil || s.n < 3 {
		return 0, false
	}
	var middle [2]time.Duration
	for i := range middle {
		var all []time.Duration
		for _, gap := range s.gaps[:s.n] {
			all = append(all, gap[i])
		}
		slices.Sort(all)
		middle[i] = all[len(all)/2]
	}
	switch start, end := middle[0], -middle[1]; {
	case min(start, end) > ahead:
		return min(start, end), true
	case max(start, end) < -ahead:
		return max(start, end), true
	}
	return 0, true
}

// around are the shifts in a second and the two beside it.
func (c clock) around(at int64) (all []time.Duration) {
	for _, s := range []int64{at - 1, at, at + 1} {
		if shift, ok := c.shift(s); ok {
			all = append(all, shift)
		}
	}
	return all
}

// late is the most that the generator was late in a second and the two beside it.
func (c clock) late(at int64) (most time.Duration) {
	for i := at - 1; i <= at+1; i++ {
		if s := c[i]; s != nil {
			most = max(most, s.late)
		}
	}
	return most
}

func (c clock) stepped() bool {
	for at := range c {
		if shift, _ := c.shift(at); shift != 0 {
			return true
		}
	}
	return false
}

// first is the shift in the first second that has one.
func (c clock) first() (time.Duration, bool) {
	least := int64(math.MaxInt64)
	for at := range c {
		if _, ok := c.shift(at); ok {
			least = min(least, at)
		}
	}
	return c.shift(least)
}
