package measure

import (
	"math"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

// A histogram is of microseconds; its zero value is empty. Quantiles are exact to three significant digits; count, mean and maximum are
// exact. It keeps counts only where there are samples, so its size follows their spread: a million around 1 ms take 45 KB; 180 KB, which
// is 1 µs to an hour in steps of 0.1 %, is the most.
type histogram struct {
	sketch *ddsketch.DDSketchWithExactSummaryStatistics // nil: empty
}

const longest = int64(time.Hour / time.Microsecond)

// steps are those of all histograms: bounds that grow by 0.1 %, so that the middle of a step is within 0.05 % of what is in it.
var steps, _ = mapping.NewLogarithmicMapping(0.0005) // It refuses only what is not between 0 and 1.

func (h *histogram) allocate() *ddsketch.DDSketchWithExactSummaryStatistics {
	if h.sketch == nil {
		h.sketch = ddsketch.NewDDSketchWithExactSummaryStatistics(steps, store.BufferedPaginatedStoreConstructor)
	}
	return h.sketch
}

func (h *histogram) record(us int64) {
	_ = h.allocate().Add(float64(min(max(us, 0), longest))) // It refuses only what is out of the range of the steps.
}

func (h *histogram) add(other histogram) {
	if other.sketch != nil {
		_ = h.allocate().MergeWith(other.sketch) // It refuses only other steps.
	}
}

func (h *histogram) latency() Latency {
	if h.sketch == nil {
		return Latency{}
	}
	us := func(value float64, _ error) *time.Duration { // There is an error only for an empty one.
		d := time.Duration(math.Round(value)) * time.Microsecond
		return &d
	}
	s := h.sketch
	mean := time.Duration(s.GetSum() / s.GetCount() * float64(time.Microsecond))
	l := Latency{Count: int(s.GetCount()), Mean: &mean, Max: us(s.GetMaxValue())}
	for _, p := range percentiles {
		if l.Count >= p.needs {
			*p.of(&l) = us(h.percentile(p.mille))
		}
	}
	return l
}

// percentiles are those of a Latency. Each needs so many samples that at least one is expected beyond it: of fewer it would be the
// maximum, or say that something is rare which was never seen.
var percentiles = []struct {
	mille, needs int
	of           func(*Latency) **time.Duration
}{
	{500, 2, func(l *Latency) **time.Duration { return &l.P50 }},
	{900, 10, func(l *Latency) **time.Duration { return &l.P90 }},
	{990, 100, func(l *Latency) **time.Duration { return &l.P99 }},
	{999, 1000, func(l *Latency) **time.Duration { return &l.P999 }},
}

// percentile is the nearest rank: of n samples the ⌈n·mille/1000⌉-th smallest. DDSketch returns the sample of rank ⌊q·(n-1)⌋, counted from
// 0, which is too small for few samples: half a rank more than the wanted one, it cannot be rounded to another.
func (h *histogram) percentile(mille int) (float64, error) {
	n := int(h.sketch.GetCount())
	rank := (n*mille + 999) / 1000 // in integers: 0.999·n may be rounded up
	return h.sketch.GetValueAtQuantile(min(1, (float64(rank)-0.5)/float64(n-1)))
}
