package ledger

import (
	"fmt"
	"math"
)

const (
	// skew is the smallest unfairness that a law must see to say anything: so much of the first attempts at another instance.
	skew = 0.02
	// falseAlarm is how often Binomial refuses what is lawful, and missed how often it accepts a skew, at most.
	falseAlarm = 1e-6
	missed     = 1e-3
)

// A Judgement is whether a law holds, and why: a sentence with the numbers. Where a law cannot tell, it neither holds nor does not.
type Judgement struct {
	Holds bool   `json:"holds"`
	Tells bool   `json:"tells"` // false: it cannot tell, and Why says why
	Why   string `json:"why"`
}

func holds(ok bool, why string, args ...any) Judgement {
	return Judgement{ok, true, fmt.Sprintf(why, args...)}
}

func cannotTell(why string, args ...any) Judgement {
	return Judgement{Why: "cannot tell: " + fmt.Sprintf(why, args...)}
}

// Fair tells whether the first attempts are what round robin gives on a group with zone, where all workers share one turn: of any number
// of turns in a row, the largest share is at most one above the smallest (all weights 1; nginx picks the server with the largest current
// weight, and takes the weights' sum off it: ngx_http_upstream_get_peer, "smooth weighted round-robin"). Each of nginx's configurations
// begins a turn of its own, and each request that was open at an end of the phase may have had its turn on the other side: the law is
//
//	Spread ≤ Generations + Border
//
// It cannot tell when an attempt failed (nginx then picks again), when these are not all requests of their
// group, or when there are too few to see a skew of 2 %: that many first attempts moved from one instance to another must break it.
func (f Figures) Fair() Judgement { return f.fair("with zone", f.Turn.Generations+f.Turn.Border) }

// FairWithoutZone is Fair on a group without zone, where each worker has a turn of its own:
//
//	Spread ≤ Workers × Generations + Border
func (f Figures) FairWithoutZone() Judgement {
	return f.fair("without zone", f.Turn.Workers*f.Turn.Generations+f.Turn.Border)
}

func (f Figures) fair(where string, allowed int) Judgement {
	n := 0
	for _, count := range f.FirstAttempts {
		n += count
	}
	// Moved between the instances whose counts were furthest apart in the other direction, m attempts change -allowed to 2m-allowed.
	moved := int(skew * float64(n))
	switch t := f.Turn; {
	case !t.Upstream:
		return cannotTell("these are not all requests of their group of servers; ask for all of the protocol")
	case t.Instances < 2:
		return cannotTell("fair shares want two instances or more, and there is %d", t.Instances)
	case f.FailedAttempts+f.NoLive > 0:
		return cannotTell("%d attempts failed and %d found no live server, and nginx then picks again", f.FailedAttempts, f.NoLive)
	case moved <= allowed:
		return cannotTell("of %d first attempts a skew of 2 %% is %d, no more than the %d that may lie between the shares anyway; want more than %d",
			n, moved, allowed, int(math.Ceil(float64(allowed+1)/skew))-1)
	case t.Spread > allowed:
		return holds(false, "unfair: %d between the largest and the smallest share of %d first attempts, round robin %s allows %d (%s)", t.Spread, n, where, allowed, f.allowance())
	default:
		return holds(true, "fair: %d between the largest and the smallest share of %d first attempts, round robin %s allows %d (%s)", t.Spread, n, where, allowed, f.allowance())
	}
}

func (f Figures) allowance() string {
	return fmt.Sprintf("%s, %s, %s open at an end of the phase", count(f.Turn.Generations, "configuration"), count(f.Turn.Workers, "worker"), count(f.Turn.Border, "request"))
}

// Binomial tells whether an instance's part of the first attempts is what chance gives when each request falls to it with the probability
// share, whatever the others do: random, split_clients, and hash over keys that differ. (Keys that come again are drawn once, however many
// requests they make: count keys then.) The count must lie where a binomial distribution puts it but for one time in a million, by its
// exact tails, half of that on each side.
//
// It cannot tell when an attempt failed, or when there are too few to see a skew of two percentage points: a
// probability of share ± 0.02 must be refused 999 times of 1000.
func (f Figures) Binomial(instance string, share float64) Judgement {
	if !(share > 0 && share < 1) {
		return cannotTell("a share of %g; want one between 0 and 1", share)
	}
	if f.FailedAttempts+f.NoLive > 0 {
		return cannotTell("%d attempts failed and %d found no live server, and nginx then picks again", f.FailedAttempts, f.NoLive)
	}
	n := 0
	for _, count := range f.FirstAttempts {
		n += count
	}
	least, most := band(n, share)
	if !tells(n, share, least, most) {
		return cannotTell("%d first attempts are too few to see a skew of 2 percentage points; want about %d", n, enough(share))
	}
	got := f.FirstAttempts[instance]
	words := "as"
	if got < least || got > most {
		words = "not as"
	}
	return holds(words == "as", "%s: %d of %d first attempts (%.2f %%), %s chance gives with %.2f %%: %d to %d, but for one time in a million",
		instance, got, n, 100*float64(got)/float64(n), words, 100*share, least, most)
}

// band is the least and the most of n that are lawful with probability p.
func band(n int, p float64) (least, most int) {
	least = smallest(n, func(k int) bool { return below(n, p, k) >= falseAlarm/2 })
	most = smallest(n, func(k int) bool { return below(n, 1-p, n-k-1) < falseAlarm/2 })
	return least, most
}

// tells reports whether a skew would be seen.
func tells(n int, p float64, least, most int) bool {
	up, down := p+skew, p-skew
	seen := true
	if up < 1 {
		seen = below(n, up, most) < missed
	}
	if down > 0 {
		seen = seen && below(n, 1-down, n-least) < missed
	}
	return seen && n > 0
}

// enough is about how many first attempts tell, by the normal distribution.
func enough(p float64) int {
	const alarm, miss = 4.892, 3.09 // its quantiles for half of falseAlarm, and for missed
	// Of the two skewed ones that which lies nearer to a half scatters more.
	q := p + skew
	if p > 0.5 {
		q = p - skew
	}
	root := (alarm*math.Sqrt(p*(1-p)) + miss*math.Sqrt(q*(1-q))) / skew
	return int(math.Ceil(root*root/100)) * 100
}

// smallest is the smallest k of 0 to n for which a condition holds that once it holds holds for all above; n+1 if there is none.
func smallest(n int, holds func(int) bool) int {
	low, high := 0, n+1
	for low < high {
		if middle := (low + high) / 2; holds(middle) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
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
	// Downwards from k the terms only shrink: k is below the mean.
	total := 0.0
	for i := k; i >= 0; i-- {
		term := math.Exp(choose(n, i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
		if total += term; term < total*1e-12 {
			break
		}
	}
	return total
}

// choose is the logarithm of n over k.
func choose(n, k int) float64 {
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v }
	return lg(n) - lg(k) - lg(n-k)
}
