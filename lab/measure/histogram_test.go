package measure

import (
	"slices"
	"testing"
	"time"
)

// Of n sorted samples, a percentile is the ⌈n·part⌉-th, to three significant digits; of fewer samples than it needs it has no value.
func TestPercentileIsTheNearestRank(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 1000; n++ {
		var spread, slow histogram
		var samples []int64
		for i := range n {
			samples = append(samples, int64(1000+(i*7919)%n*13))
			spread.record(samples[i])
			slow.record(1000)
		}
		slices.Sort(samples)
		l := spread.latency()
		for _, p := range []struct {
			mille, needs int
			got          *time.Duration
		}{{500, 2, l.P50}, {900, 10, l.P90}, {990, 100, l.P99}, {999, 1000, l.P999}} {
			if (p.got != nil) != (n >= p.needs) {
				t.Errorf("of %d samples, %d of 1000: %v, want a value from %d samples on", n, p.mille, p.got, p.needs)
			}
			if p.got == nil {
				continue
			}
			rank := 1
			for 1000*rank < p.mille*n {
				rank++
			}
			if want := samples[rank-1]; max(p.got.Microseconds()-want, want-p.got.Microseconds()) > 1+want/2000 {
				t.Errorf("of %d samples, %d of 1000: %v, want %d µs", n, p.mille, p.got, want)
			}
		}
		slow.record(5_000_000) // One of n+1 took five seconds: no percentile that has a value is as rare.
		if l := slow.latency(); value(l.P99) > time.Second || value(l.P999) > time.Second || value(l.P50) > time.Second || *l.Max < 4*time.Second {
			t.Errorf("one slow of %d: p50 %v, p99 %v, p999 %v", n+1, l.P50, l.P99, l.P999)
		}
	}
}
