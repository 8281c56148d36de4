package feed

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The percentiles of merged histograms are within 1 % of the exact ones, wherever the times lie.
func TestPercentilesOfMergedHistogramsAreWithinOnePercent(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, scale := range []float64{20, 1e3, 1e6, 3e9} {
		var sum Histogram
		var all []int64
		for range 40 {
			var h Histogram
			for range 50 {
				us := int64(scale * math.Exp(random.NormFloat64()/2))
				all = append(all, us)
				h.add(us)
			}
			sum.merge(h)
		}
		slices.Sort(all)
		if sum.count() != len(all) {
			t.Errorf("%d times of %d", sum.count(), len(all))
		}
		for _, mille := range []int{1, 500, 900, 990, 999, 1000} {
			exact := float64(all[(len(all)*mille+999)/1000-1])
			if got := sum.percentile(mille); math.Abs(got-exact) > exact/100+0.5 { // Times are whole microseconds.
				t.Errorf("scale %g: the percentile of %d/1000 is %.1f µs, and exactly %.0f", scale, mille, got, exact)
			}
		}
	}
}

func TestBucketHoldsWhatItSays(t *testing.T) {
	t.Parallel()
	for us := int64(0); us < int64(24*time.Hour/time.Microsecond); us += 1 + us/1000 {
		b := bucket(us)
		if upper := math.Pow(growth, float64(b)); float64(us) > upper*(1+1e-9) || b > 0 && float64(us) <= math.Pow(growth, float64(b-1))*(1-1e-9) {
			t.Fatalf("%d µs in bucket %d, which ends at %f", us, b, upper)
		}
	}
	if b := bucket(math.MaxInt64); b != len(bounds)-1 {
		t.Errorf("bucket %d of %d", b, len(bounds))
	}
}

func TestWidthKeepsAnyTrialToSixHundredBins(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ length, width time.Duration }{
		{time.Second, 100 * time.Millisecond}, {time.Minute, 100 * time.Millisecond}, {61 * time.Second, 250 * time.Millisecond}, {150 * time.Second, 250 * time.Millisecond},
		{300 * time.Second, 500 * time.Millisecond}, {301 * time.Second, time.Second}, {601 * time.Second, 2 * time.Second}, {time.Hour, 10 * time.Second}, {24 * time.Hour, 200 * time.Second},
	} {
		if got := binWidth(row.length); got != row.width {
			t.Errorf("%v: got %v, want %v", row.length, got, row.width)
		}
	}
}

// merge adds another histogram, as the page does.
func (h *Histogram) merge(other Histogram) {
	sum := make(Histogram, 0, len(*h)+len(other))
	all := *h
	for len(all) > 0 || len(other) > 0 {
		switch {
		case len(other) == 0 || len(all) > 0 && all[0] < other[0]:
			sum, all = append(sum, all[0], all[1]), all[2:]
		case len(all) == 0 || other[0] < all[0]:
			sum, other = append(sum, other[0], other[1]), other[2:]
		default:
			sum, all, other = append(sum, all[0], all[1]+other[1]), all[2:], other[2:]
		}
	}
	*h = sum
}

// count is how many times it has.
func (h Histogram) count() (n int) {
	for i := 1; i < len(h); i += 2 {
		n += h[i]
	}
	return n
}

// percentile is the nearest rank, in microseconds: the middle of the bucket that holds the ⌈n·mille/1000⌉-th smallest of n times. It is 0
// without any.
func (h Histogram) percentile(mille int) float64 {
	rank := (h.count()*mille + 999) / 1000
	for i := 0; i < len(h); i += 2 {
		if rank -= h[i+1]; rank <= 0 {
			return middle(h[i])
		}
	}
	return 0
}

func middle(bucket int) float64 {
	if bucket == 0 {
		return 1
	}
	return (bounds[bucket-1] + bounds[bucket]) / 2
}
