package experiment

import (
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
	Inconclusive bool   `json:"inconclusive"`    // neither passed nor failed; Error says why
	Measured     string `json:"measured"`        // what was read: "during.http.failed = 3", and of a fairness check its explanation; joined by "; "
	Error        string `json:"error,omitempty"` // a metric without a value, a fairness check that cannot tell, an expression that cannot be evaluated
}

// Measures returns the metrics of a group (a protocol or a load) in a phase of a variant, or in scenario.Total; false if there are none.
type Measures = func(variant, phase, group string) (measure.Metrics, bool)

// Judge evaluates all expectations in the file's order, each for every variant, or once if it compares variants. It needs no file.
func Judge(e scenario.Experiment, m Measures) []ExpectationResult {
	var all []ExpectationResult
	for _, expectation := range e.Expect {
		result := ExpectationResult{Text: expectation.Text, Line: expectation.Line}
		compiled, err := compile(e, expectation.Text, true)
		if err != nil {
			result.Inconclusive, result.Error = true, err.Error()
			all = append(all, result)
			continue
		}
		for _, one := range compiled {
			if !one.compares {
				result.Variant = one.scenarios[0].Variant
			}
			all = append(all, one.judge(result, m))
		}
	}
	return all
}

func (e *expression) judge(result ExpectationResult, m Measures) ExpectationResult {
	value, read, err := e.evaluate(m)
	passed, isBool := value.(bool)
	if err == nil && !isBool {
		err = fmt.Errorf("it is %v, neither true nor false", value)
	}
	result.Measured = strings.Join(read, "; ")
	if err != nil {
		result.Inconclusive, result.Error = true, err.Error()
		return result
	}
	result.Passed = passed
	return result
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

// Answer is the experiment's answer with what was measured; "" if it has none. Where an expression has no value, its place says why.
func Answer(e scenario.Experiment, m Measures) string {
	parts, _ := braces(e.Answer)
	var b strings.Builder
	for i, text := range parts {
		if i%2 == 0 {
			b.WriteString(text)
			continue
		}
		var value any
		compiled, err := compile(e, text, false)
		if err == nil {
			value, _, err = compiled[0].evaluate(m)
		}
		if err != nil {
			fmt.Fprintf(&b, "(%s: %v)", text, err)
			continue
		}
		b.WriteString(Say(value))
	}
	return b.String()
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
	for i, e := range f.Expect {
		if at := fmt.Sprintf("/expect/%d", i); f.doc.valid(at) {
			_, err := compile(f.Experiment, e.Text, true)
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
			compiled, err := compile(f.Experiment, text, false)
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
