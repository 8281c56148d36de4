package load

import (
	"iter"
	"math"
	"time"
)

// Count is how many requests the stream plans within d.
func (s Stream) Count(d time.Duration) int {
	count := 0
	for range s.Offsets(d) {
		count++
	}
	return count
}

// Offsets are the times of the stream's requests within d, since Plan.Begin: the n-th, counted from 0, is where the integral of the
// rate reaches n + 1/2. So at a constant rate r the first is half an interval after the beginning, d·r requests are planned in d, and
// each part of the time has its share to within one request.
//
// Between two points the rate is r + k·t and its integral r·t + k·t²/2, which is a after
//
//	t = 2a / (r + √(r² + 2ka))
//
// This form of the quadratic's solution divides neither by a slope of 0 nor by the difference of two numbers that are nearly the same.
func (s Stream) Offsets(d time.Duration) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		next, reached := 0.5, 0.0 // what the integral must reach, and what it has reached where the part begins
		for _, p := range s.parts(d) {
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

// parts are the stream's within d, without those of no length.
func (s Stream) parts(d time.Duration) []part {
	var parts []part
	for i, p := range s.Rate {
		end := Point{d, p.Rate} // After the last point the rate stays.
		if i+1 < len(s.Rate) {
			end = s.Rate[i+1]
		}
		if end.At > d { // The rate where d cuts it.
			end = Point{d, p.Rate + (end.Rate-p.Rate)*float64(d-p.At)/float64(end.At-p.At)}
		}
		if end.At > p.At {
			parts = append(parts, part{p.At, (end.At - p.At).Seconds(), p.Rate, end.Rate})
		}
	}
	return parts
}
