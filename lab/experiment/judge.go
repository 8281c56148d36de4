package experiment

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// An ExpectationResult is the outcome of one expectation, in one variant or over those that it compares.
type ExpectationResult struct {
	Text         string `json:"text"` // the expectation, as the file writes it
	Line         int    `json:"line"` // in the file
	Variant      string `json:"variant,omitempty"`
	Passed       bool   `json:"passed"`
	Inconclusive bool   `json:"inconclusive"` // neither passed nor failed; Error says why
	// Measured is what was read: "during.http.failed = 3", and of a fairness check its explanation; joined by "; ". Of several trials it
	// has the median and the range.
	Measured string `json:"measured"`
	// Error is why it is inconclusive: a metric without a value, a fairness check that cannot tell, an expression that cannot be
	// evaluated, a metric that is in doubt, or trials that disagree.
	Error  string `json:"error,omitempty"`
	Trials int    `json:"trials,omitempty"` // how often it was evaluated, if more than once
	Held   int    `json:"held,omitempty"`   // in how many of Trials it passed
	Size   string `json:"size,omitempty"`   // of a comparison of two numbers over several trials: their medians, and that of their ratio, with an interval
}

// Measures returns the two readings of the metrics of a group (a protocol or a load) in a phase, or in scenario.Total, of one trial of a
// variant, counted from 1: as measured, and without what is in doubt. It returns false if there are none.
type Measures = func(variant string, trial int, phase, group string) (measured, adjusted measure.Metrics, ok bool)

// Judge evaluates all expectations in the file's order, each for every variant, or once if it compares variants. It needs no file.
//
// An expectation that does not compare variants passes if it holds in every trial, and fails if it fails in any. One that compares them
// compares the first trial of each, the second of each, and so on; it passes if it holds in all, and fails if in none. In between, and
// where a result is in doubt, it is inconclusive.
func Judge(e scenario.Experiment, m Measures) []ExpectationResult {
	var all []ExpectationResult
	for _, expectation := range e.Expect {
		result := ExpectationResult{Text: expectation.Text, Line: expectation.Line}
		compiled, err := compile(e, nil, expectation.Text, true)
		if err != nil {
			result.Inconclusive, result.Error = true, err.Error()
			all = append(all, result)
			continue
		}
		for _, one := range compiled {
			if !one.compares {
				result.Variant = one.scenarios[0].Variant
			}
			all = append(all, one.judge(result, max(1, e.Trials), m))
		}
	}
	return all
}

// judge completes the result of an expectation.
func (e *expression) judge(result ExpectationResult, trials int, m Measures) ExpectationResult {
	var held, failed int
	var reads [][]read
	for trial := 1; trial <= trials; trial++ {
		passed, read, err := e.trial(trial, m)
		reads = append(reads, read)
		switch {
		case err != nil && result.Error == "":
			result.Error = err.Error()
			if trials > 1 {
				result.Error = fmt.Sprintf("trial %d: %v", trial, err)
			}
		case err != nil:
		case passed:
			held++
		default:
			failed++
		}
	}
	result.Measured = strings.Join(summarize(reads), "; ")
	result.Passed = held == trials
	result.Inconclusive = held < trials && failed == 0
	if e.compares {
		result.Inconclusive = held < trials && failed < trials
	}
	if !result.Inconclusive {
		result.Error = ""
	}
	if trials > 1 {
		result.Trials, result.Held = trials, held
		share := fmt.Sprintf("passed in %d of %d trials", held, trials)
		switch {
		case result.Inconclusive && result.Error == "":
			result.Error = share
		case result.Inconclusive:
			result.Error = share + "; " + result.Error
		}
		result.Size = e.sides.size(trials, m)
	}
	return result
}

// trial evaluates a condition for one trial. The error says why it is inconclusive; what was read is what was measured.
func (e *expression) trial(trial int, m Measures) (passed bool, reads []read, err error) {
	doubtful := e.doubtful(trial, m)
	passed, reads, err = e.condition(reading(trial, m, nil))
	for _, adjusted := range combinations(doubtful) {
		other, _, otherErr := e.condition(reading(trial, m, adjusted))
		if err == nil && (otherErr != nil || other != passed) {
			return false, reads, e.doubt(reads, trial, m, doubtful)
		}
	}
	if err == nil && len(doubtful) > 0 {
		for _, e.reads.instead = range e.between(reads, trial, m, doubtful) {
			other, _, otherErr := e.condition(reading(trial, m, nil))
			if e.reads.instead = nil; otherErr != nil || other != passed {
				return false, reads, e.doubt(reads, trial, m, doubtful)
			}
		}
	}
	return passed, reads, err
}

// condition is the value of a condition.
func (e *expression) condition(of func(set) (measure.Metrics, bool)) (passed bool, reads []read, err error) {
	value, reads, err := e.evaluate(of)
	passed, isBool := value.(bool)
	if err == nil && !isBool {
		err = fmt.Errorf("it is %v, neither true nor false", value)
	}
	return passed, reads, err
}

// Say writes a value for people: what is not whole with three digits.
func Say(value any) string {
	switch v := value.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatFloat(v, 'f', -1, 64)
		}
		return strconv.FormatFloat(v, 'g', 3, 64)
	case time.Duration:
		unit := time.Duration(1)
		for v.Abs()/unit >= 1000 {
			unit *= 10
		}
		return v.Round(unit).String()
	}
	if v := reflect.ValueOf(value); value != nil && isCounts(v.Type()) {
		var all []string
		for name, count := range v.Seq2() {
			all = append(all, fmt.Sprintf("%v: %v", name, count))
		}
		slices.Sort(all)
		return "{" + strings.Join(all, ", ") + "}"
	}
	return fmt.Sprint(value)
}

// Answer is the experiment's answer with what was measured; "" if it has none. Of several trials that differ it has the median and the
// range. Where an expression has no value, its place says why.
func Answer(e scenario.Experiment, m Measures) string {
	parts, _ := braces(e.Answer)
	var b strings.Builder
	for i, text := range parts {
		if i%2 == 0 {
			b.WriteString(text)
			continue
		}
		values, others, err := answer(e, text, m)
		if err != nil {
			fmt.Fprintf(&b, "(%s: %v)", text, err)
			continue
		}
		b.WriteString(summary(values) + otherwise(values, others))
	}
	return b.String()
}

// answer is the value of an expression in each trial, and in others the one without what is in doubt.
func answer(e scenario.Experiment, text string, m Measures) (values, others []any, err error) {
	compiled, err := compile(e, nil, text, false)
	if err != nil {
		return nil, nil, err
	}
	for trial := 1; trial <= max(1, e.Trials); trial++ {
		value, _, err := compiled[0].evaluate(reading(trial, m, nil))
		if err != nil {
			return nil, nil, err
		}
		other, _, err := compiled[0].evaluate(reading(trial, m, compiled[0].doubtful(trial, m)))
		if err != nil {
			other = "without a value"
		}
		values, others = append(values, value), append(others, other)
	}
	return values, others, nil
}

// otherwise says what values may have been, if that is not about the same: a number between the two.
func otherwise(values, others []any) string {
	sign, differ := " or ", false
	for i, value := range values {
		x, isNumber := number(value)
		y, also := number(others[i])
		by := math.Abs(x - y)
		_, isTime := value.(time.Duration)
		switch {
		case !isNumber || !also:
			differ = differ || Say(value) != Say(others[i])
		case by > max(math.Abs(x), math.Abs(y))/10 && (!isTime || by > float64(time.Millisecond)):
			differ, sign = true, " ≥"
			if y > x {
				sign = " ≤"
			}
		}
	}
	switch {
	case !differ:
		return ""
	case sign == " or ":
		return sign + summary(others)
	}
	return " (" + strings.TrimSpace(sign) + summary(others) + ")"
}

// checkExpressions compiles the expectations and the answer.
func (f *File) checkExpressions() {
	if !f.named() {
		return
	}
	report := func(at, prefix, text string, offset int, err error) {
		if e, ok := errors.AsType[*exprError](err); ok {
			f.doc.add(f.doc.inText(at, offset+e.at), "%s%s: %s", prefix, clip(text), e.message)
		}
	}
	var v varier
	if !f.unplanned {
		v = newVarier(f.Scenarios)
	}
	check := func(text string, condition bool) ([]*expression, error) {
		compiled, err := compile(f.Experiment, f.on.record(), text, condition)
		for _, one := range compiled {
			if f.unplanned {
				break
			}
			err = cmp.Or(err, v.check(one, text, condition))
		}
		return compiled, err
	}
	for i, e := range f.Expect {
		if at := fmt.Sprintf("/expect/%d", i); f.doc.valid(at) {
			_, err := check(e.Text, true)
			report(at, "", e.Text, 0, err)
		}
	}
	const at, prefix = "/answer", "answer: "
	if !f.doc.valid(at) {
		return
	}
	parts, ok := braces(f.Answer)
	if !ok {
		f.doc.add(f.doc.position(at), `answer: a brace is open: want expressions in braces, like "{during.http.failed} requests failed"`)
	}
	offset := 0
	for i, text := range parts {
		if i%2 == 1 {
			offset++
			compiled, err := check(text, false)
			report(at, prefix, text, offset, err)
			if len(compiled) > 1 {
				f.doc.add(f.doc.inText(at, offset), "answer: %s has %d values, one per variant: name one, like %s.%s", text, len(compiled), f.Scenarios[0].Variant, text)
			}
			offset++
		}
		offset += len([]rune(text))
	}
}

// named reports whether all phases and loads have the names that expressions need; without them all names would be unknown.
func (f *File) named() bool {
	for _, s := range f.Scenarios {
		if len(s.Loads) == 0 || len(s.Phases) == 0 ||
			slices.ContainsFunc(s.Loads, func(l scenario.Load) bool { return l.Protocol == "" || l.Name == "" }) ||
			slices.ContainsFunc(s.Phases, func(p scenario.Phase) bool { return p.Name == "" }) {
			return false
		}
	}
	return true
}

// braces cuts a text into what is outside of braces (even indexes) and what is in them (odd ones). Braces and quotes may stand in an
// expression.
func braces(text string) (parts []string, ok bool) {
	depth, quote, from := 0, byte(0), 0
	for i := range len(text) {
		c := text[i]
		switch {
		case quote != 0:
			if c == quote && text[i-1] != '\\' {
				quote = 0
			}
		case depth > 0 && (c == '"' || c == '\''):
			quote = c
		case c == '{':
			if depth++; depth == 1 {
				parts, from = append(parts, text[from:i]), i+1
			}
		case c == '}' && depth > 0:
			if depth--; depth == 0 {
				parts, from = append(parts, text[from:i]), i+1
			}
		}
	}
	return append(parts, text[from:]), depth == 0
}
