package measure

import (
	"slices"
	"testing"
	"time"
)

// Of n sorted samples, a percentile is the ⌈n·part⌉-th, to three significant digits, however few there are.
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
		for mille, got := range map[int]*time.Duration{500: l.P50, 900: l.P90, 990: l.P99, 999: l.P999} {
			rank := 1
			for 1000*rank < mille*n {
				rank++
			}
			if want := samples[rank-1]; max(got.Microseconds()-want, want-got.Microseconds()) > 1+want/2000 {
				t.Errorf("of %d samples, %d of 1000: %v, want %d µs", n, mille, got, want)
			}
		}
		slow.record(5_000_000) // One of n+1 took five seconds.
		if l := slow.latency(); (*l.P99 > time.Second) != (n+1 < 100) || (*l.P999 > time.Second) != (n+1 < 1000) || (*l.P50 > time.Second) != (n+1 < 2) {
			t.Errorf("one slow of %d: p50 %v, p99 %v, p999 %v", n+1, l.P50, l.P99, l.P999)
		}
	}
}
