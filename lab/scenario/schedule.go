package scenario

import (
	"iter"
	"math"
	"time"
)

// Count is how many requests the rate plans within d.
func (r Rate) Count(d time.Duration) int {
	count := 0
	for range r.Offsets(d) {
		count++
	}
	return count
}

// Offsets are the planned starts of the requests within d, since the start of the first phase: the n-th, counted from 0, is where the
// integral of the rate reaches n + 1/2. So at a constant rate r the first is half an interval after the start, d·r requests are planned
// in d, and each part of the time has its share to within one request.
//
// Between two points the rate is r + k·t and its integral r·t + k·t²/2, which is a after
//
//	t = 2a / (r + √(r² + 2ka))
//
// This form of the quadratic's solution divides neither by a slope of 0 nor by the difference of two numbers that are nearly the same.
func (r Rate) Offsets(d time.Duration) iter.Seq[time.Duration] { return r.profile(d).offsets(d) }

func (p profile) offsets(d time.Duration) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		next, reached := 0.5, 0.0 // what the integral must reach, and what it has reached where the part begins
		for _, p := range p.parts(d) {
			slope := (p.last - p.first) / p.seconds
			area := (p.first + p.last) / 2 * p.seconds
			for ; next < reached+area; next++ {
				a := next - reached
				t := 2 * a / (p.first + math.Sqrt(max(0, p.first*p.first+2*slope*a)))
				if !yield(p.from + time.Duration(math.Round(t*1e9))) {
					return
				}
			}
			reached += area
		}
	}
}

// part is a time in which the rate changes evenly, from the first value to the last.
type part struct {
	from                 time.Duration
	seconds, first, last float64
}

// parts are those within d, without empty ones.
func (rate profile) parts(d time.Duration) []part {
	var parts []part
	for i, p := range rate {
		end := point{d, p.rate} // After the last point the rate stays.
		if i+1 < len(rate) {
			end = rate[i+1]
		}
		if end.at > d { // The rate where d cuts it.
			end = point{d, p.rate + (end.rate-p.rate)*float64(d-p.at)/float64(end.at-p.at)}
		}
		if end.at > p.at {
			parts = append(parts, part{p.at, (end.at - p.at).Seconds(), p.rate, end.rate})
		}
	}
	return parts
}
