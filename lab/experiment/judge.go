package experiment

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr"

	"trivet/lab/ledger"
)

// A Judgement is whether one expectation held, in one variant or over all.
type Judgement struct {
	Text     string `json:"text"` // the expectation, as the file writes it
	Line     int    `json:"line"` // in the file
	Variant  string `json:"variant,omitempty"`
	Held     bool   `json:"held"`
	Measured string `json:"measured"`      // what the expectation reads: "during.http.failed = 3", and of a law its sentence; joined by "; "
	Err      string `json:"err,omitempty"` // why it could not be asked; then it did not hold
}

// Measures gives what was measured: of a phase (or "run", the whole time) of a variant, under the name of a protocol or of a load. false: there
// is no such.
type Measures = func(variant, phase, name string) (ledger.Figures, bool)

// Judge asks all expectations, in the file's order, each of every variant or once over all. The error joins those that could not be
// asked (figures are missing, or a division has no result), whose judgements say so too.
func (f *File) Judge(figures Measures) ([]Judgement, error) {
	var all []Judgement
	var faults []error
	for _, e := range f.Expect {
		for _, variant := range f.asked(e.expression) {
			j := Judgement{Text: e.Text, Line: e.Line, Variant: variant}
			value, operands, err := f.ask(e.expression, variant, figures)
			j.Held, _ = value.(bool)
			j.Measured = strings.Join(operands, "; ")
			if err != nil {
				j.Held, j.Err = false, err.Error()
				faults = append(faults, &Fault{f.Path, e.Line, e.Column, fmt.Sprintf("%s: %v", e.Text, err)})
			}
			all = append(all, j)
		}
	}
	return all, errors.Join(faults...)
}

// asked are the variants that an expression is asked of; one "" over all.
func (f *File) asked(e expression) []string {
	if e.over {
		return []string{""}
	}
	var names []string
	for _, v := range f.Variants {
		names = append(names, v.Name)
	}
	return names
}

// ask is an expression's value, and what it read.
func (f *File) ask(e expression, variant string, figures Measures) (value any, operands []string, err error) {
	read := func(named, phase, group string) ledger.Figures {
		if named == "" {
			named = variant
		}
		got, ok := figures(named, phase, group)
		if !ok && err == nil {
			err = fmt.Errorf("nothing was measured of %s in phase %s, variant %s", group, phase, named)
		}
		return got
	}
	s := scopeOver(f.Variants)
	if !e.over {
		s = scopeOf(f.Variants[slices.IndexFunc(f.Variants, func(v Variant) bool { return v.Name == variant })])
	}
	environment := s.environment(read)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range e.operands {
		operands = append(operands, o.say(e.over, read))
		if nothing := o.nothing(e.over, read); nothing != "" && err == nil {
			err = errors.New(nothing)
		}
	}
	if err != nil {
		return nil, operands, err
	}
	value, err = expr.Run(e.programs[variant], environment)
	if err != nil {
		err = errors.New(lapseOf(err).message)
	}
	return value, operands, err
}

// lookup gives figures that are there.
type lookup = func(variant, phase, group string) ledger.Figures

// figures are those that an operand is about, and its path from there on.
func (o operand) figures(over bool, read lookup) (ledger.Figures, []string) {
	path, variant := o.path, ""
	if over {
		variant, path = path[0], path[1:]
	}
	return read(variant, path[0], path[1]), path[2:]
}

// nothing says why an operand has no value: a law that cannot tell, how long requests took of which there was none, or since when all was well
// when it was not. Each would be taken for something, true here and false with a "!" before it: an nginx that fails everything would keep
// every bound on the latency, and on the time until it is back.
func (o operand) nothing(over bool, read lookup) string {
	figures, path := o.figures(over, read)
	if o.law != "" {
		if judged := laws[o.law](figures, o.more); !judged.Tells {
			return o.text + ": " + judged.Why
		}
		return ""
	}
	switch recovery := figures.Recovery; strings.Join(path, ".") {
	case "recovery.first_success":
		if !recovery.Recovered {
			return o.text + " has no value: no request was OK after a failure"
		}
	case "recovery.fair_again":
		if !recovery.FairAtEnd {
			return o.text + " has no value: the shares were not even at the end"
		}
	}
	if len(path) == 2 && path[1] != "count" {
		if l, ok := reflect.ValueOf(figures).Field(slices.Index(figureNames(reflect.TypeFor[ledger.Figures]()), path[0])).Interface().(ledger.Latency); ok && l.Count == 0 {
			return o.text + " has no value: there was no such request"
		}
	}
	return ""
}

// say is what an operand was.
func (o operand) say(over bool, read lookup) string {
	figures, path := o.figures(over, read)
	if o.law != "" {
		return o.text + ": " + laws[o.law](figures, o.more).Why
	}
	v := reflect.ValueOf(figures)
	for _, name := range path {
		if v.Kind() == reflect.Struct {
			v = v.Field(slices.Index(figureNames(v.Type()), name))
			continue
		}
		if found := v.MapIndex(reflect.ValueOf(name)); found.IsValid() {
			v = found
		} else {
			v = reflect.Zero(v.Type().Elem())
		}
	}
	return o.text + " = " + Say(v.Interface())
}

// Say writes a value for people: three digits of what is not whole.
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
	case map[string]int:
		var all []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			all = append(all, fmt.Sprintf("%s: %d", key, v[key]))
		}
		return "{" + strings.Join(all, ", ") + "}"
	}
	return fmt.Sprint(value)
}

// A part of an answer is text, or an expression.
type part struct {
	text string // as it stands, or the expression's
	expression
}

// Answered is the answer with what was measured in it; "" if the file has none. Where an expression has no value, its place says why.
func (f *File) Answered(figures Measures) string {
	var b strings.Builder
	for _, p := range f.answer {
		if p.programs == nil {
			b.WriteString(p.text)
			continue
		}
		value, _, err := f.ask(p.expression, f.asked(p.expression)[0], figures)
		if err != nil {
			fmt.Fprintf(&b, "(%s: %v)", p.text, err)
			continue
		}
		b.WriteString(Say(value))
	}
	return b.String()
}

// expressions compiles the expectations and the answer.
func (d *decoder) expressions(f *File, doc *document) {
	for i, text := range doc.Expect {
		n := d.given(&doc.Expect[i])
		if text == "" || n == nil || !d.sound(f) {
			continue
		}
		at := where(n)
		e, lapses := f.compile(text, true)
		for _, l := range lapses {
			d.add(d.inText(n, l.at), "%s: %s", clip(text), l.message)
		}
		f.Expect = append(f.Expect, Expectation{text, at.line, at.column, e})
	}
	n := d.given(&doc.Answer)
	if n == nil || doc.Answer == "" || !d.sound(f) {
		return
	}
	texts, ok := braces(doc.Answer)
	if !ok {
		d.add(where(n), `answer: a brace is open: want expressions in braces, like "{during.http.failed} requests failed"`)
	}
	at := 0
	for i, text := range texts {
		p := part{text: text}
		if i%2 == 1 {
			var lapses []lapse
			p.expression, lapses = f.compile(text, false)
			for _, l := range lapses {
				d.add(d.inText(n, at+1+l.at), "answer: %s: %s", clip(text), l.message)
			}
			if len(lapses) == 0 && !p.over && len(f.Variants) > 1 {
				d.add(d.inText(n, at+1), "answer: %s is asked of %d variants: name one, like %s.%s", text, len(f.Variants), f.Variants[0].Name, text)
			}
			at += 2
		}
		at += len([]rune(text))
		f.answer = append(f.answer, p)
	}
}

// clip shortens a text to what an error can hold.
func clip(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// sound tells whether there are names enough to look at expressions; without them all would be unknown.
func (d *decoder) sound(f *File) bool {
	return len(f.Phases) > 0 && !slices.ContainsFunc(f.Variants, func(v Variant) bool {
		return slices.ContainsFunc(v.Loads, func(l Load) bool { return l.Protocol == "" }) || len(v.Loads) == 0
	}) && !slices.ContainsFunc(f.Phases, func(p Phase) bool { return p.Name == "" })
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
