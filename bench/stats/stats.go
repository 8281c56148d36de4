// Package stats decides what blocks of measurements allow to be claimed.
package stats

import (
	"fmt"
	"math"
	"slices"
)

// MinBlocks is how many blocks a claim needs.
const MinBlocks = 9

// Estimate is a mean with its 95 % interval.
type Estimate struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	N    int     `json:"n"`
}

// Ratio estimates A/B from the means {A, B} of blocks. It works on logarithms: 2 and 1/2 are then equally far from 1, and what slows a
// whole block down, like noise on a shared machine, cancels. All values must be above 0.
func Ratio(blocks [][2]float64) Estimate {
	logs := make([]float64, len(blocks))
	for i, b := range blocks {
		logs[i] = math.Log(b[0] / b[1])
	}
	e := Mean(logs)
	return Estimate{math.Exp(e.Mean), math.Exp(e.Low), math.Exp(e.High), e.N}
}

// Mean estimates the mean of independent values by Student's t. The interval of a single value is infinite.
func Mean(values []float64) Estimate {
	n := float64(len(values))
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	mean := sum / n
	if len(values) < 2 {
		return Estimate{mean, math.Inf(-1), math.Inf(1), len(values)}
	}
	square := 0.0
	for _, v := range values {
		square += (v - mean) * (v - mean)
	}
	half := T95(len(values)-1) * math.Sqrt(square/(n-1)/n)
	return Estimate{mean, mean - half, mean + half, len(values)}
}

// t95 holds the 0.975 quantiles of Student's t for 1, 2, … degrees of freedom.
var t95 = [...]float64{
	12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
	2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
	2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
}

// T95 returns the 0.975 quantile of Student's t, the bound of a two-sided 95 % interval. Beyond the table it is the normal quantile with
// the first two terms of its expansion in 1/freedom, right to four digits there.
func T95(freedom int) float64 {
	if freedom <= len(t95) {
		return t95[freedom-1]
	}
	const z = 1.959964
	f := float64(freedom)
	return z + (z*z*z+z)/(4*f) + (5*math.Pow(z, 5)+16*z*z*z+3*z)/(96*f*f)
}

// Quantile returns the least value that a share q of the values does not exceed; 0 if there are none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, max(0, int(math.Ceil(q*float64(len(s))))-1))]
}

// Kinds of bars.
const (
	AtMost  = "≤"
	AtLeast = "≥"
	Equal   = "="
)

// A Bar is what a metric should reach.
type Bar struct {
	Kind  string  `json:"kind"`
	Value float64 `json:"value"`
}

func (b Bar) String() string { return fmt.Sprintf("%s %g", b.Kind, b.Value) }

// Verdict is what may be said about a metric.
type Verdict string

// Verdicts.
const (
	Reached      Verdict = "reached"
	NotReached   Verdict = "not reached"
	Inconclusive Verdict = "inconclusive" // The interval contains the bar, or there were too few blocks.
	NoBar        Verdict = "-"
	NotMeasured  Verdict = "not measured"
	Errors       Verdict = "errors" // Too many blocks met errors.
)

// Judge compares an estimate with the bar: the whole interval must be on one side of it, or contain it if the bar is [Equal].
func Judge(e Estimate, bar *Bar) Verdict {
	if bar == nil {
		return NoBar
	}
	if e.N < MinBlocks {
		return Inconclusive
	}
	below, above := e.High <= bar.Value, e.Low >= bar.Value
	switch {
	case below && bar.Kind == AtMost, above && bar.Kind == AtLeast, !below && !above && bar.Kind == Equal:
		return Reached
	case below, above:
		return NotReached
	}
	return Inconclusive
}
