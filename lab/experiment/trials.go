package experiment

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"trivet/lab/scenario"
)

// confidence is that of the intervals of medians.
const confidence = 0.95

// maxDifferent is how many different values are written out, of those that have no median.
const maxDifferent = 3

// summarize says what the trials read: where they differ, the median and the range.
func summarize(reads [][]read) (all []string) {
	var texts []string
	values := map[string][]any{}
	for _, trial := range reads {
		for _, r := range trial {
			if values[r.text] == nil {
				texts = append(texts, r.text)
			}
			values[r.text] = append(values[r.text], r.value)
		}
	}
	for _, text := range texts {
		if _, said := values[text][0].(explanation); said {
			all = append(all, text+": "+summary(values[text]))
		} else {
			all = append(all, text+" = "+summary(values[text]))
		}
	}
	return all
}

// summary says a value of each trial: the median and the range of numbers, or which values there were.
func summary(values []any) string {
	var numbers []float64
	var different []string
	for _, value := range values {
		if n, ok := number(value); ok {
			numbers = append(numbers, n)
		}
		if said := Say(value); !slices.Contains(different, said) {
			different = append(different, said)
		}
	}
	switch {
	case len(different) == 1:
		return different[0]
	case len(numbers) == len(values):
		slices.Sort(numbers)
		say := func(n float64) string { return Say(like(values[0], n)) }
		return fmt.Sprintf("%s (%s to %s)", say(median(numbers)), say(numbers[0]), say(numbers[len(numbers)-1]))
	case len(different) > maxDifferent:
		different = append(different[:maxDifferent], "…")
	}
	return strings.Join(different, " or ")
}

// like is a number as a value of the same kind: a duration stays one.
func like(value any, n float64) any {
	if _, ok := value.(time.Duration); ok {
		return time.Duration(math.Round(n))
	}
	return n
}

// median is that of sorted numbers, at least one.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// medianInterval returns the indexes of the order statistics between which the median of the population lies, and with which
// probability. Of n values, so many lie below the median as of n throws of a coin are heads (the binomial distribution with p = 1/2), so
// the median lies between the i-th and the (n+1-i)-th smallest, counted from 1, with the probability
//
//	1 - 2·P(X ≤ i-1), X ~ B(n, 1/2)
//
// whatever the distribution of the values: W. J. Conover, Practical Nonparametric Statistics, 3.2. It is the narrowest such pair with at
// least 95 %, or the smallest and the largest value.
func medianInterval(n int) (low, high int, probability float64) {
	term := math.Pow(0.5, float64(n)) // P(X = i)
	outside := term
	probability = 1 - 2*outside
	for i := 1; 2*i < n-1; i++ {
		term *= float64(n-i+1) / float64(i)
		if outside += term; 1-2*outside < confidence {
			break
		}
		low, probability = i, 1-2*outside
	}
	return low, n - 1 - low, probability
}

// sides are what a condition compares: two numbers, without a constant factor.
type sides struct {
	texts [2]string
	of    [2]*expression
}

// sidesOf are those of a comparison whose sides both read metrics; nil of anything else.
func sidesOf(scenarios []scenario.Scenario, root ast.Node) *sides {
	n, ok := root.(*ast.BinaryNode)
	if !ok || !slices.Contains([]string{"<", "<=", ">", ">=", "==", "!="}, n.Operator) {
		return nil
	}
	s := &sides{}
	for i, side := range []ast.Node{n.Left, n.Right} {
		s.texts[i] = withoutFactor(side).String()
		one, err := compileFor(scenarios, nil, true, s.texts[i], false)
		if err != nil || len(one.sets) == 0 {
			return nil
		}
		if t := one.program.Node().Type(); t.Kind() != reflect.Int && t.Kind() != reflect.Int64 && t.Kind() != reflect.Float64 {
			return nil
		}
		s.of[i] = one
	}
	return s
}

// withoutFactor is x in 3 * x, x * 3 and x / 3.
func withoutFactor(node ast.Node) ast.Node {
	n, ok := node.(*ast.BinaryNode)
	switch {
	case ok && (n.Operator == "*" || n.Operator == "/") && literal(n.Right):
		return withoutFactor(n.Left)
	case ok && n.Operator == "*" && literal(n.Left):
		return withoutFactor(n.Right)
	}
	return node
}

// size says how large the difference is: the medians of both sides, and that of their ratio in each trial, with its interval. It is "" if
// there is nothing to say.
func (s *sides) size(trials int, m Measures) string {
	if s == nil {
		return ""
	}
	var values [2][]any
	var ratios []float64
	for trial := 1; trial <= trials; trial++ {
		var pair [2]float64
		for i, side := range s.of {
			value, _, err := side.evaluate(reading(trial, m, nil))
			n, ok := number(value)
			if err != nil || !ok {
				return ""
			}
			values[i], pair[i] = append(values[i], value), n
		}
		if pair[1] != 0 {
			ratios = append(ratios, pair[0]/pair[1])
		}
	}
	said := fmt.Sprintf("%s %s, %s %s", s.texts[0], summary(values[0]), s.texts[1], summary(values[1]))
	if len(ratios) < trials { // A ratio to 0 is no number.
		return said
	}
	slices.Sort(ratios)
	low, high, probability := medianInterval(trials)
	return fmt.Sprintf("%s: ratio %s (%s to %s: %.0f %%)", said, Say(median(ratios)), Say(ratios[low]), Say(ratios[high]), 100*probability)
}
