package scenario

import (
	"iter"
	"math"
	"time"
)

// Shapes of rates.
const (
	Constant = "constant"
	Ramp     = "ramp" // evenly from the first rate to the second
	Step     = "step" // each rate for a part of the time
)

// A Rate is how many requests are planned per second.
type Rate struct {
	Shape     string    `json:"shape"`      // Constant, Ramp or Step
	PerSecond []float64 `json:"per_second"` // at least one
	// For has, of a Step, how long each rate lasts, together the whole time; none: equal parts of it.
	For []time.Duration `json:"for,omitempty"`
}

// Estimate is about how many requests the rate plans within d. Unlike Count it takes no time itself.
func (r Rate) Estimate(d time.Duration) int {
	sum := 0.0
	for _, p := range r.parts(d) {
		sum += (p.first + p.last) / 2 * p.seconds
	}
	return int(math.Ceil(sum))
}

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
// Within a part the rate is r + k·t and its integral r·t + k·t²/2, which is a after
//
//	t = 2a / (r + √(r² + 2ka))
//
// This form of the quadratic's solution divides neither by a slope of 0 nor by the difference of two numbers that are nearly the same.
func (r Rate) Offsets(d time.Duration) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		next, reached := 0.5, 0.0 // what the integral must reach, and what it has reached where the part begins
		for _, p := range r.parts(d) {
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

// parts are those of d.
func (r Rate) parts(d time.Duration) []part {
	if r.Shape == Ramp {
		return []part{{0, d.Seconds(), r.PerSecond[0], r.PerSecond[1]}}
	}
	var parts []part
	if len(r.For) > 0 {
		from := time.Duration(0)
		for i, rate := range r.PerSecond {
			parts = append(parts, part{from, r.For[i].Seconds(), rate, rate})
			from += r.For[i]
		}
		return parts
	}
	n := time.Duration(len(r.PerSecond))
	for i, rate := range r.PerSecond {
		from, to := d*time.Duration(i)/n, d*time.Duration(i+1)/n
		parts = append(parts, part{from, (to - from).Seconds(), rate, rate})
	}
	return parts
}
