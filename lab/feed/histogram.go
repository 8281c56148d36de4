package feed

import (
	"math"
	"slices"
	"sort"
)

// growth is by how much each bucket's bound is larger than the one before it.
const growth = 1.02

// bounds are the upper bounds of the buckets in microseconds, as far as a day. A bound is computed once, so that the bucket of a time does
// not depend on how a logarithm is rounded.
var bounds = func() (all []float64) {
	for bound := 1.0; len(all) == 0 || all[len(all)-1] < 24*3600e6; bound *= growth {
		all = append(all, bound)
	}
	return all
}()

// bucket is that of a time in microseconds.
func bucket(us int64) int {
	if us <= 1 {
		return 0
	}
	b := min(int(math.Log(float64(us))/math.Log(growth)), len(bounds)-1)
	for b > 0 && bounds[b-1] >= float64(us) {
		b--
	}
	for b < len(bounds)-1 && bounds[b] < float64(us) {
		b++
	}
	return b
}

// add counts a time of so many microseconds.
func (h *Histogram) add(us int64) {
	b, all := bucket(us), *h
	i := sort.Search(len(all)/2, func(i int) bool { return all[2*i] >= b })
	if 2*i < len(all) && all[2*i] == b {
		all[2*i+1]++
		return
	}
	*h = slices.Insert(all, 2*i, b, 1)
}
