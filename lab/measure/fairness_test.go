package measure

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// rotation is the first attempts of n requests in smooth weighted round robin, by so many workers with rotations of their own and after so many
// resets.
func rotation(rng *rand.Rand, n, instances, workers, configurations int) Metrics {
	f := Metrics{FirstAttempts: make(map[string]int), RoundRobin: RoundRobin{WholeUpstream: true, Workers: workers, Configurations: configurations, Instances: instances}}
	next := make([]int, workers)
	for i := range n {
		if i%((n+configurations-1)/configurations) == 0 {
			clear(next)
		}
		w := rng.IntN(workers)
		f.FirstAttempts[fmt.Sprint("whoami-", next[w]%instances+1)]++
		next[w]++
	}
	f.measure()
	return f
}

func (f *Metrics) measure() {
	least, most := 1<<30, 0
	for i := range f.RoundRobin.Instances {
		n := f.FirstAttempts[fmt.Sprint("whoami-", i+1)]
		least, most = min(least, n), max(most, n)
	}
	f.RoundRobin.Spread = most - least
}

// skewed moves 2 % of the first attempts from one instance to another.
func (f Metrics) skewed(from, to int) Metrics {
	n := 0
	moved := make(map[string]int)
	for name, count := range f.FirstAttempts {
		n += count
		moved[name] = count
	}
	moved[fmt.Sprint("whoami-", from)] -= n / 50
	moved[fmt.Sprint("whoami-", to)] += n / 50
	f.FirstAttempts = moved
	f.measure()
	return f
}

func TestFairPassesRoundRobinAndFailsASkew(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, instances, workers, configurations, boundary int }{
		{150, 3, 1, 1, 0}, {100, 2, 1, 1, 0}, {3000, 3, 1, 1, 0}, {3001, 7, 1, 1, 5}, {3000, 3, 1, 4, 20}, {20_000, 5, 1, 16, 100},
		{1000, 3, 4, 1, 0}, {3000, 3, 8, 3, 10},
	} {
		for seed := range uint64(5) {
			rng := rand.New(rand.NewPCG(seed, 3))
			f := rotation(rng, c.n, c.instances, c.workers, c.configurations)
			f.RoundRobin.BoundaryRequests = c.boundary
			// As many as are open at the boundary may be counted on its other side: the worst is all at one instance.
			f.FirstAttempts["whoami-1"] -= c.boundary / 2
			f.FirstAttempts["whoami-2"] += c.boundary - c.boundary/2
			f.measure()
			check := Metrics.Fair
			if c.workers > 1 {
				check = Metrics.FairWithoutZone
			}
			if j := check(f); !j.Passed {
				t.Errorf("%+v, seed %d: %s", c, seed, j.Explanation)
			}
			for _, ends := range [][2]int{{1, 2}, {2, 1}, {c.instances, 1}} {
				if j := check(f.skewed(ends[0], ends[1])); j.Passed || !strings.Contains(j.Explanation, "unfair: ") {
					t.Errorf("%+v, seed %d, a skew from %v: %s", c, seed, ends, j.Explanation)
				}
			}
		}
	}
}

func TestFairIsInconclusive(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Metrics){
		"fair: the spread of 300":              func(*Metrics) {},
		"1 attempt failed and 0 found no live": func(f *Metrics) { f.FailedAttempts = 1 },
		"2 found no live":                      func(f *Metrics) { f.NoLiveUpstreams = 2 },
		"not all requests of their upstream":   func(f *Metrics) { f.RoundRobin.WholeUpstream = false },
		"want 2 instances":                     func(f *Metrics) { f.RoundRobin.Instances = 1 },
		"a skew of 2 % is 6, no more than the spread of 6 that is allowed anyway; want more than 349": func(f *Metrics) { f.RoundRobin.BoundaryRequests = 5 },
	} {
		f := rotation(rand.New(rand.NewPCG(1, 1)), 300, 3, 1, 1)
		change(&f)
		if j := f.Fair(); !strings.Contains(j.Explanation, want) || j.Inconclusive == strings.HasPrefix(want, "fair") || j.Passed != strings.HasPrefix(want, "fair") {
			t.Errorf("%v: %s; want %s", j.Passed, j.Explanation, want)
		}
	}
	// The advice is the least that is enough.
	for n, enough := range map[int]bool{349: false, 350: true} {
		f := rotation(rand.New(rand.NewPCG(1, 1)), n, 3, 1, 1)
		f.RoundRobin.BoundaryRequests = 5
		if j := f.Fair(); j.Passed != enough {
			t.Errorf("%d: %s", n, j.Explanation)
		}
	}
}

func TestBinomialPassesChanceAndFailsASkew(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n     int
		share float64
	}{{40_000, 1.0 / 3}, {45_000, 0.5}, {5_000, 0.01}, {20_000, 0.1}, {5_000, 0.99}, {100_000, 1.0 / 7}} {
		draw := func(rng *rand.Rand, p float64) Metrics {
			f := Metrics{FirstAttempts: make(map[string]int)}
			for range c.n {
				if rng.Float64() < p {
					f.FirstAttempts["whoami-1"]++
				} else {
					f.FirstAttempts["whoami-2"]++
				}
			}
			return f
		}
		for seed := range uint64(2) {
			rng := rand.New(rand.NewPCG(seed, 4))
			if j := draw(rng, c.share).Binomial("whoami-1", c.share); !j.Passed {
				t.Errorf("%+v, seed %d: %s", c, seed, j.Explanation)
			}
			for _, p := range []float64{c.share + 0.02, c.share - 0.02} {
				if p < 0 || p > 1 {
					continue
				}
				if j := draw(rng, p).Binomial("whoami-1", c.share); j.Passed || !strings.Contains(j.Explanation, "not as chance gives") {
					t.Errorf("%+v, seed %d, really %g: %s", c, seed, p, j.Explanation)
				}
			}
		}
	}
}

func TestBinomialIsInconclusive(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]Metrics{
		"3000 first attempts are too few to detect a skew of 2 percentage points; want about 35800": {FirstAttempts: map[string]int{"whoami-1": 1000, "whoami-2": 2000}},
		"0 first attempts are too few": {},
		"7 attempts failed":            {FailedAttempts: 7, FirstAttempts: map[string]int{"whoami-1": 1e5, "whoami-2": 2e5}},
	} {
		if j := f.Binomial("whoami-1", 1.0/3); j.Passed || !strings.Contains(j.Explanation, want) {
			t.Errorf("%v: %s; want %s", j.Passed, j.Explanation, want)
		}
	}
	for _, share := range []float64{0, 1, -1, 2} {
		if j := (Metrics{}).Binomial("whoami-1", share); j.Passed || !strings.Contains(j.Explanation, "want one above 0 and below 1") {
			t.Errorf("%g: %s", share, j.Explanation)
		}
	}
	// What enough advises is enough, and not much more than that.
	for _, share := range []float64{0.01, 0.1, 1.0 / 3, 0.5, 0.9} {
		for part, conclusive := range map[float64]bool{1.1: true, 0.8: false} {
			n := int(part * float64(enough(share)))
			f := Metrics{FirstAttempts: map[string]int{"whoami-1": int(share * float64(n)), "whoami-2": n - int(share*float64(n))}}
			if j := f.Binomial("whoami-1", share); j.Passed != conclusive {
				t.Errorf("%g of what is enough for %g: %s", part, share, j.Explanation)
			}
		}
	}
}

// By hand: 638/1024 sums the first six binomial coefficients of 10, and so on.
func TestBelowSumsBinomialTerms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    int
		p    float64
		k    int
		want float64
	}{{10, 0.5, 5, 0.623046875}, {10, 0.5, -1, 0}, {10, 0.5, 10, 1}, {3, 1.0 / 3, 0, 8.0 / 27}, {3, 1.0 / 3, 2, 26.0 / 27}} {
		if got := below(c.n, c.p, c.k); got < c.want*(1-1e-9) || got > c.want*(1+1e-9) {
			t.Errorf("below(%d, %g, %d) is %g, want %g", c.n, c.p, c.k, got, c.want)
		}
	}
}

// Of millions the sums are those that the logarithm of each term gives, and what is far below the mean has no terms.
func TestBelowOfMillions(t *testing.T) {
	t.Parallel()
	const n = 2_000_000
	for _, p := range []float64{0.02, 1.0 / 3, 0.5} {
		deviation := math.Sqrt(n * p * (1 - p))
		for _, z := range []float64{-5, -4.892, -3.09, -1} {
			k := int(n*p + z*deviation)
			want := 0.0
			for i := k; i > k-int(9*deviation); i-- {
				want += math.Exp(choose(n, i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
			}
			if got := below(n, p, k); got < want*(1-1e-7) || got > want*(1+1e-7) {
				t.Errorf("below(%d, %g, %d) is %g, want %g", n, p, k, got, want)
			}
		}
		// The band is as wide as the normal distribution's, for numbers as large.
		least, most := band(n, p)
		if low, high := n*p-4.892*deviation, n*p+4.892*deviation; math.Abs(float64(least)-low) > 5 || math.Abs(float64(most)-high) > 5 {
			t.Errorf("the band of %g is %d to %d, want about %.0f to %.0f", p, least, most, low, high)
		}
	}
	if got := below(2_000_000_000, 0.5, 900_000_000); got != 0 { // To add all of them would take minutes.
		t.Errorf("below the mean by 4472 deviations: %g", got)
	}
}

// What is planned is conclusive exactly if a flawless run of it is.
func TestPlannedMetricsAreThoseOfAFlawlessRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, instances, workers, configurations int }{
		{50, 3, 2, 1}, {51, 3, 2, 1}, {99, 3, 2, 1}, {100, 3, 2, 1}, {149, 3, 2, 1}, {150, 3, 2, 1}, {3000, 3, 8, 3}, {3000, 1, 1, 1}, {0, 3, 1, 1}, {100, 7, 1, 1}, {100, 7, 1, 2},
	} {
		planned := Planned(c.n, c.instances, c.workers, c.configurations)
		if err := planned.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		f := rotation(rand.New(rand.NewPCG(1, 1)), c.n, c.instances, c.workers, c.configurations)
		if got, want := planned.Fair(), f.Fair(); got.Inconclusive != want.Inconclusive || !got.Inconclusive && !got.Passed {
			t.Errorf("%+v: %+v, want %+v", c, got, want)
		}
		if got, want := planned.FairWithoutZone(), f.FairWithoutZone(); got.Inconclusive != want.Inconclusive {
			t.Errorf("%+v: %+v, want %+v", c, got, want)
		}
		if got, want := planned.Binomial("whoami-1", 0.3), f.Binomial("whoami-1", 0.3); got.Inconclusive != want.Inconclusive {
			t.Errorf("%+v: %+v, want %+v", c, got, want)
		}
	}
}
