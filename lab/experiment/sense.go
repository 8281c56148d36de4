package experiment

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"

	"trivet/internal/nearest"
	"trivet/lab/ledger"
	"trivet/lab/load"
)

// complete refuses a chain that ends before it has come to a figure, anywhere but as a law's first argument: what is read of it in a roundabout way
// (let, a list, a choice) could not be looked at, to see whether it has a value at all.
func (r *reader) complete(node ast.Node, c []step) {
	switch t := r.typeOf(c); {
	case r.lawful[node] != "":
		if t != reflect.TypeFor[ledger.Figures]() {
			r.lapse(c[0], "%s wants all figures of calls: write it like %s(%s)", r.lawful[node], r.lawful[node], spell(r.calling(c)))
		}
	case r.inPhase(c) == nil, t == reflect.TypeFor[ledger.Figures]():
		r.lapse(c[0], "%s is many figures: name one, like %s.failed", spell(c), spell(r.calling(c)))
	case t != nil && t.Kind() == reflect.Struct:
		name := figureNames(t)[0]
		if t == reflect.TypeFor[ledger.Latency]() {
			name = "p99"
		}
		r.lapse(c[0], "%s is many figures: name one, like %s.%s", spell(c), spell(c), name)
	}
}

// calling is the beginning of a chain, as far as it takes to name calls; what it lacks is filled in.
func (r *reader) calling(c []step) []step {
	want := 2
	if r.over {
		want++
	}
	c = slices.Clone(c[:min(len(c), want)])
	for len(c) < want {
		name := r.of.Variants[0].Calls()[0]
		if r.over && len(c) == 1 {
			name = run
		}
		c = append(c, step{name: name})
	}
	return c
}

// law refuses a call of a law whose arguments are not written out, or make no sense. What is wrong with their types the language tells.
func (r *reader) law(call *ast.CallNode, name string) {
	at := step{at: call.Location().From}
	if len(call.Arguments) == 0 {
		return
	}
	of, more := chain(call.Arguments[0]), []any(nil)
	for _, a := range call.Arguments[1:] {
		more = append(more, constant(a))
	}
	switch {
	case of == nil || r.declared[of[0].name] || slices.Contains(more, nil):
		r.lapse(at, "the arguments of %s must be written out, like %s", name, lawExamples[name])
		return
	case r.typeOf(of) != reflect.TypeFor[ledger.Figures]():
		return // That has been told.
	}
	if len(more) == 2 {
		r.binomial(at, of, more)
	}
	r.show(operand{call.String(), pathOf(of), name, more})
}

var lawExamples = map[string]string{
	"fair": "fair(run.http)", "fair_without_zone": "fair_without_zone(run.http)", "binomial": `binomial(run.http, "whoami-1", 1/3)`,
}

func (r *reader) binomial(at step, of []step, more []any) {
	if share, ok := more[1].(float64); ok && !(share > 0 && share < 1) {
		r.lapse(at, "a share of %v: want one between 0 and 1, without them", share)
	}
	name, ok := more[0].(string)
	if !ok {
		return
	}
	for _, v := range r.of.Variants {
		known := instances(v.Instances)
		if (!r.over || v.Name == of[0].name) && !slices.Contains(known, name) {
			r.lapse(at, "there is no %s among %d instances%s: did you mean %s?", name, len(known), v.phrase(), nearest.Name(name, known))
			return
		}
	}
}

// refuse tells of what is none of a condition's business.
func (r *reader) refuse(node ast.Node) {
	at := step{at: node.Location().From}
	switch n := node.(type) {
	case *ast.SequenceNode:
		r.lapse(at, "several expressions, of which the last alone would count: write each as an entry of its own, or join them by and")
	case *ast.BuiltinNode:
		if n.Name == "now" {
			r.lapse(at, "now() is another time whenever the report is made: compare figures with what is written out")
		}
	}
}

// writtenOut tells whether a node has nothing in it that is known only later.
func writtenOut(node ast.Node) bool {
	return ast.Find(node, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.IdentifierNode, *ast.PointerNode:
			return true
		}
		return false
	}) == nil
}

// values evaluates all that is written out, also where the whole would not come to it, and finds what has no value.
func (r *reader) values() []lapse {
	for _, node := range r.all {
		at := node.Location().From
		if n, ok := node.(*ast.BinaryNode); ok && (n.Operator == "/" || n.Operator == "%") && writtenOut(n.Right) {
			if v, err := expr.Eval(n.Right.String(), nil); err == nil && isZero(v) {
				return []lapse{{at, "a division by 0 has no value"}}
			}
		}
		switch node.(type) {
		case *ast.BuiltinNode, *ast.BinaryNode, *ast.UnaryNode, *ast.ConditionalNode, *ast.MemberNode, *ast.SliceNode:
		default:
			continue
		}
		if !writtenOut(node) {
			continue
		}
		value, err := expr.Eval(node.String(), nil)
		if err != nil {
			return []lapse{{at, lapseOf(err).message}}
		}
		if f, ok := value.(float64); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
			return []lapse{{at, node.String() + " has no value"}}
		}
	}
	return nil
}

func isZero(v any) bool {
	switch v := v.(type) {
	case int:
		return v == 0
	case float64:
		return v == 0
	case time.Duration:
		return v == 0
	}
	return false
}

// divisions makes a division by 0 an error: the language says +Inf, which is larger than any bound, or NaN, which is neither true nor
// false of anything.
type divisions struct {
	trial bool // nothing has been measured: what is read may be 0
}

// divisor is the name of the function around each divisor. Nobody can write it.
const divisor = "divided by"

// Visit makes divisions an ast.Visitor.
func (d *divisions) Visit(node *ast.Node) {
	n, ok := (*node).(*ast.BinaryNode)
	if !ok || n.Operator != "/" && n.Operator != "%" {
		return
	}
	call := &ast.CallNode{Callee: &ast.IdentifierNode{Value: divisor}, Arguments: []ast.Node{n.Right, &ast.StringNode{Value: n.Right.String()}}}
	call.SetLocation(n.Right.Location())
	call.Callee.SetLocation(n.Right.Location())
	n.Right = call
}

func (d *divisions) options() []expr.Option {
	check := func(arguments ...any) (any, error) {
		value, text := arguments[0], arguments[1]
		switch {
		case !isZero(value):
			return value, nil
		case d.trial:
			return reflect.ValueOf(1).Convert(reflect.TypeOf(value)).Interface(), nil
		}
		return nil, fmt.Errorf("has no value: %s is 0, and nothing can be divided by that", text)
	}
	return []expr.Option{
		expr.Patch(d),
		expr.Function(divisor, check, new(func(int, string) int), new(func(time.Duration, string) time.Duration), new(func(float64, string) float64), new(func(any, string) any)),
	}
}

// specimen are figures as there may be, to try expressions with: all are 0.
func specimen(v Variant) ledger.Figures {
	f := ledger.Figures{
		Codes: map[string]int{"200": 0, "OK": 0}, Reasons: map[string]int{load.Deadline: 0}, FirstAttempts: map[string]int{}, Answers: map[string]int{},
	}
	for _, name := range instances(v.Instances) {
		f.FirstAttempts[name], f.Answers[name] = 0, 0
	}
	return f
}
