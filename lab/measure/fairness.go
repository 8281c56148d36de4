package measure

import (
	"fmt"
	"math"
	"sort"
	"time"

	"trivet/internal/words"
	"trivet/lab/scenario"
)

const (
	// skew is the smallest unfairness that a fairness check must detect: this part of the first attempts at another instance.
	skew = 0.02
	// falseAlarm is how often Binomial refuses what chance gives, and missed how often it accepts a skew, at most.
	falseAlarm = 1e-6
	missed     = 1e-3
)

// A FairnessResult is whether a fairness check passed.
type FairnessResult struct {
	Passed       bool   `json:"passed"`
	Inconclusive bool   `json:"inconclusive"` // neither passed nor failed
	Explanation  string `json:"explanation"`  // a sentence with the numbers
}

func inconclusive(why string, args ...any) FairnessResult {
	return FairnessResult{Inconclusive: true, Explanation: "inconclusive: " + fmt.Sprintf(why, args...)}
}

// Fair checks whether the first attempts are what round robin gives in an upstream with zone, where all workers share one rotation: of
// any number of choices in a row, the largest share is at most one above the smallest (all weights 1; nginx picks the server with the
// largest current weight and subtracts the sum of the weights from it: ngx_http_upstream_get_peer, "smooth weighted round-robin"). Each of
// nginx's configurations starts a rotation of its own, and each request that was open at an end of the phase may have had its choice on
// the other side. So it passes if
//
//	Spread ≤ Configurations + BoundaryRequests
//
// It is inconclusive if an attempt failed (nginx then picks again), if these are not all requests of their upstream, or if there are too
// few to detect a skew of 2 %: that many first attempts moved from one instance to another must fail it.
func (m Metrics) Fair() FairnessResult {
	return m.fair("with zone", m.RoundRobin.Configurations+m.RoundRobin.BoundaryRequests)
}

// FairWithoutZone is Fair in an upstream without zone, where each worker has a rotation of its own:
//
//	Spread ≤ Workers × Configurations + BoundaryRequests
func (m Metrics) FairWithoutZone() FairnessResult {
	if why := m.Unknown("round_robin.workers"); why != "" {
		return inconclusive("%s", why)
	}
	return m.fair("without zone", m.RoundRobin.Workers*m.RoundRobin.Configurations+m.RoundRobin.BoundaryRequests)
}

func (m Metrics) fair(where string, allowed int) FairnessResult {
	n := m.firstAttempts()
	// Moved between the instances whose counts were furthest apart in the other direction, m attempts change -allowed to 2m-allowed.
	moved := int(skew * float64(n))
	r := m.RoundRobin
	switch {
	case m.Unknown("round_robin.spread") != "":
		return inconclusive("%s", m.Unknown("round_robin.spread"))
	case r.Others > 0:
		return inconclusive("others sent the target %s meanwhile, which took turns, too", words.Count(r.Others, "request"))
	case !r.WholeUpstream:
		return inconclusive("these are not all requests of their upstream; ask for the protocol, which has all of them")
	case r.Instances < 2:
		return inconclusive("want 2 instances or more, and there is %d", r.Instances)
	case m.picksAgain() != "":
		return inconclusive("%s", m.picksAgain())
	case moved <= allowed:
		return inconclusive("of %d first attempts a skew of 2 %% is %d, no more than the spread of %d that is allowed anyway; want more than %d first attempts",
			n, moved, allowed, int(math.Ceil(float64(allowed+1)/skew))-1)
	}
	word := "fair"
	if r.Spread > allowed {
		word = "unfair"
	}
	return FairnessResult{Passed: r.Spread <= allowed, Explanation: fmt.Sprintf("%s: the spread of %d first attempts is %d, and round robin %s allows %d (%s, %s, %s open at an end of the phase)", word, n, r.Spread, where, allowed,
		words.Count(r.Configurations, "configuration"), words.Count(r.Workers, "worker"), words.Count(r.BoundaryRequests, "request"))}
}

// Planned are the metrics of n requests of a whole upstream that are all OK at their first attempts, in turn, with none open at an end of
// the phase. A fairness check that is inconclusive for them always is: before a run, that can be said of what it plans. A configuration
// is nginx's, one more per reload and start of nginx (see [RoundRobin]).
func Planned(n, instances, workers, configurations int) Metrics {
	m := Metrics{
		Requests: n, OK: n, ClientAttempts: n, NginxAttempts: n, Executions: n,
		Codes: CodeCounts{"200": n}, Reasons: ReasonCounts{}, FirstAttempts: InstanceCounts{}, OKByInstance: InstanceCounts{},
		RoundRobin: RoundRobin{WholeUpstream: true, Configurations: configurations, Workers: workers, Instances: instances},
		Recovery:   Recovery{FairAtEnd: true, FairSince: new(time.Duration)},
	}
	if n > 0 {
		m.Amplification = new(1.0)
	}
	for i, name := range scenario.InstanceNames(instances) {
		share := (n + instances - 1 - i) / instances
		m.FirstAttempts[name], m.OKByInstance[name] = share, share
	}
	if n%instances != 0 {
		m.RoundRobin.Spread = 1
	}
	var times histogram
	if n > 0 {
		_ = times.allocate().AddWithCount(1, float64(n)) // It refuses only what is out of the range of the steps.
	}
	m.Latency, m.ServiceTime, m.Lateness = times.latency(), times.latency(), times.latency()
	return m
}

func (m Metrics) firstAttempts() (n int) {
	for _, count := range m.FirstAttempts {
		n += count
	}
	return n
}

// picksAgain says why first attempts depend on more than the balancing method; "" if they do not.
func (m Metrics) picksAgain() string {
	if m.FailedAttempts+m.NoLiveUpstreams == 0 {
		return ""
	}
	return fmt.Sprintf("%s failed and %d found no live server, and nginx then picks again", words.Count(m.FailedAttempts, "attempt"), m.NoLiveUpstreams)
}

// Binomial checks whether an instance's part of the first attempts is what chance gives when each request falls to it with the probability
// share, independently of the others: random, split_clients, and hash over keys that differ. (Keys that come again are drawn once,
// however many requests they make: count keys then.) It passes if the count lies where a binomial distribution puts it but for one time in a
// million, by its exact tails, half of that on each side.
//
// It is inconclusive if an attempt failed, or if there are too few to detect a skew of two percentage points: a probability of share ±
// 0.02 must be refused 999 times out of 1000.
func (m Metrics) Binomial(instance string, share float64) FairnessResult {
	if !(share > 0 && share < 1) {
		return inconclusive("a share of %g; want one above 0 and below 1", share)
	}
	if why := m.picksAgain(); why != "" {
		return inconclusive("%s", why)
	}
	n := m.firstAttempts()
	least, most := band(n, share)
	if !detects(n, share, least, most) {
		return inconclusive("%d first attempts are too few to detect a skew of 2 percentage points; want about %d", n, enough(share))
	}
	got := m.FirstAttempts[instance]
	passed, word := got >= least && got <= most, "as"
	if !passed {
		word = "not as"
	}
	return FairnessResult{Passed: passed, Explanation: fmt.Sprintf("%s: %d of %d first attempts (%.2f %%), %s chance gives with %.2f %%: %d to %d, but for one time in a million",
		instance, got, n, 100*float64(got)/float64(n), word, 100*share, least, most)}
}

// band is the least and the most of n that chance gives with probability p, but for one time in a million.
func band(n int, p float64) (least, most int) {
	least = sort.Search(n+1, func(k int) bool { return below(n, p, k) >= falseAlarm/2 })
	most = sort.Search(n+1, func(k int) bool { return below(n, 1-p, n-k-1) < falseAlarm/2 })
	return least, most
}

// detects reports whether a skew would be seen.
func detects(n int, p float64, least, most int) bool {
	up, down := p+skew, p-skew
	return n > 0 && (up >= 1 || below(n, up, most) < missed) && (down <= 0 || below(n, 1-down, n-least) < missed)
}

// enough is about how many first attempts detect a skew, by the normal distribution.
func enough(p float64) int {
	const alarm, miss = 4.892, 3.09 // its quantiles for half of falseAlarm, and for missed
	// Of the two skewed probabilities, the one nearer to a half scatters more.
	q := p + skew
	if p > 0.5 {
		q = p - skew
	}
	root := (alarm*math.Sqrt(p*(1-p)) + miss*math.Sqrt(q*(1-q))) / skew
	return int(math.Ceil(root*root/100)) * 100
}

// below is the probability of k or fewer of n, each with probability p.
func below(n int, p float64, k int) float64 {
	if k < 0 {
		return 0
	}
	if k >= n {
		return 1
	}
	if mean := float64(n) * p; float64(k) > mean {
		return 1 - below(n, 1-p, n-k-1)
	}
	// Downwards from k the terms only shrink: k is below the mean. Each follows from the one above it, so that only the first needs
	// logarithms; far below the mean all are 0.
	term := math.Exp(choose(n, k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	total, odds := 0.0, (1-p)/p
	for i := k; term > total*1e-12; i-- {
		total += term
		term *= float64(i) / float64(n-i+1) * odds
	}
	return total
}

// choose is the logarithm of n over k.
func choose(n, k int) float64 {
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v }
	return lg(n) - lg(k) - lg(n-k)
}
