// Package stats says what paired measurements allow to be claimed.
package stats

import (
	"fmt"
	"math"
	"slices"
)

// LeastPairs is how many pairs a claim takes.
const LeastPairs = 9

// Estimate is a mean with its 95 % interval.
type Estimate struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	N    int     `json:"n"`
}

// Ratio estimates A/B from pairs {A, B}, each measured one right after the other. It works on the logarithms: a ratio of 2 and one of 1/2
// are then equally far from 1, and what slows a whole pair down, as noise on a shared machine does, cancels. All values must be above 0.
func Ratio(pairs [][2]float64) Estimate {
	logs := make([]float64, len(pairs))
	for i, p := range pairs {
		logs[i] = math.Log(p[0] / p[1])
	}
	e := Mean(logs)
	return Estimate{math.Exp(e.Mean), math.Exp(e.Low), math.Exp(e.High), e.N}
}

// Mean estimates the mean of independent values by Student's t. Of fewer than two the interval is everything.
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

// t95 are the 0.975 quantiles of Student's t with 1, 2, … degrees of freedom.
var t95 = [...]float64{
	12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
	2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
	2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
}

// T95 is the 0.975 quantile of Student's t, which bounds a 95 % interval on both sides. Beyond the table it is the normal quantile with
// the first two terms of its expansion in 1/freedom, which there is right to four digits.
func T95(freedom int) float64 {
	if freedom <= len(t95) {
		return t95[freedom-1]
	}
	const z = 1.959964
	f := float64(freedom)
	return z + (z*z*z+z)/(4*f) + (5*math.Pow(z, 5)+16*z*z*z+3*z)/(96*f*f)
}

// Median is the middle of the values, and 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// Quantile is the value that a share q of the values does not exceed; 0 of none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, max(0, int(math.Ceil(q*float64(len(s))))-1))]
}

// A Bar is what a figure must reach.
type Bar struct {
	AtMost bool    `json:"at_most"` // else at least
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`
}

func (b Bar) String() string {
	sign := "≥"
	if b.AtMost {
		sign = "≤"
	}
	if b.Unit != "" {
		return fmt.Sprintf("%s %g %s", sign, b.Value, b.Unit)
	}
	return fmt.Sprintf("%s %g", sign, b.Value)
}

// Verdict is what may be said of a figure.
type Verdict string

// Verdicts.
const (
	Reached     Verdict = "reached"
	NotReached  Verdict = "not reached"
	NotResolved Verdict = "not resolved" // The interval holds the bar, or there were too few pairs.
	NoBar       Verdict = "-"            // A figure for the reader.
	NotMeasured Verdict = "not measured"
	Errors      Verdict = "errors" // There were errors, so that the figure counts for nothing.
)

// Judge compares an estimate with the bar: the whole interval must be on one side of it.
func Judge(e Estimate, bar *Bar) Verdict {
	if bar == nil {
		return NoBar
	}
	if e.N < LeastPairs {
		return NotResolved
	}
	below, above := e.High <= bar.Value, e.Low >= bar.Value
	switch {
	case below && bar.AtMost, above && !bar.AtMost:
		return Reached
	case below, above:
		return NotReached
	}
	return NotResolved
}
