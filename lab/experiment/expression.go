package experiment

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// keywords are words that mean something in expressions, beside functions: no phase, load or variant can have such a name.
var keywords = []string{
	"and", "or", "not", "in", "contains", "matches", "let", "if", "else", "true", "false", "nil", "env", scenario.Total,
}

// fairnessChecks are functions of expressions, by the arguments after the metrics.
var fairnessChecks = map[string]func(m measure.Metrics, more []any) measure.FairnessResult{
	"fair":              func(m measure.Metrics, _ []any) measure.FairnessResult { return m.Fair() },
	"fair_without_zone": func(m measure.Metrics, _ []any) measure.FairnessResult { return m.FairWithoutZone() },
	"binomial": func(m measure.Metrics, more []any) measure.FairnessResult {
		return m.Binomial(more[0].(string), reflect.ValueOf(more[1]).Convert(reflect.TypeFor[float64]()).Float())
	},
}

// ours reports whether a name is that of a function of this package.
func ours(name string) bool { return fairnessChecks[name] != nil || shareFunctions[name] != nil }

// reserved reports whether a name already means something in expressions.
func reserved(name string) bool {
	return slices.Contains(keywords, name) || slices.Contains(builtin.Names, name) || ours(name)
}

// An exprError is what is wrong with an expression; at is in characters.
type exprError struct {
	at      int
	message string
}

func (e *exprError) Error() string { return e.message }

// maxExpression is the most characters of an expression: the language recurses into each level of it, and Go ends a program whose stack
// is full.
const maxExpression = 1000

// An expression is compiled for some scenarios: one, or all that it compares. It can be evaluated once at a time.
type expression struct {
	scenarios   []scenario.Scenario
	compares    bool // its names begin with variants
	program     *vm.Program
	vm          vm.VM
	reads       *reads
	environment *environment
	sets        []set            // that it reads, as far as it is evaluated
	starts      map[set]int      // where their names begin, in characters
	metrics     map[set][]string // that it reads of them, as package measure names them
	sides       *sides           // of a comparison of two numbers; nil: it is none
}

// compile checks an expression, and compiles it for each variant, or once if it compares variants. A condition must be true or false. What
// the target does not give is an error; with nil it is one when it is evaluated.
func compile(e scenario.Experiment, on *record.Target, text string, condition bool) ([]*expression, error) {
	if n := utf8.RuneCountInString(text); n > maxExpression {
		return nil, &exprError{0, fmt.Sprintf("an expression of %d characters: want at most %d", n, maxExpression)}
	}
	if len(e.Scenarios) == 0 {
		return nil, &exprError{0, "there is nothing to evaluate it for"}
	}
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, exprErrorOf(err)
	}
	compares, err := resolve(e, tree.Node)
	if err != nil {
		return nil, err
	}
	together := 1
	if compares {
		together = len(e.Scenarios)
	}
	var all []*expression
	for scenarios := range slices.Chunk(e.Scenarios, together) {
		one, err := compileFor(scenarios, on, compares, text, condition)
		if err != nil {
			return nil, err
		}
		if compares && condition {
			one.sides = sidesOf(scenarios, tree.Node)
		}
		all = append(all, one)
	}
	return all, nil
}

func compileFor(scenarios []scenario.Scenario, on *record.Target, compares bool, text string, condition bool) (*expression, error) {
	e := &expression{scenarios: scenarios, compares: compares, reads: &reads{}, environment: newEnvironment(scenarios, compares)}
	check := &checker{
		scenarios: scenarios, on: on, compares: compares, condition: condition,
		texts: map[ast.Node]string{}, whole: map[ast.Node]bool{}, declared: map[string]ast.Node{}, sets: map[set]int{},
	}
	options := append(e.reads.options(),
		expr.Env(reflect.ValueOf(e.environment.root).Elem().Interface()),
		expr.DisableBuiltin("now"), expr.Optimize(false), expr.Patch(check), expr.Patch(&patcher{check.texts, map[ast.Node]ast.Node{}}))
	if condition {
		options = append(options, expr.AsBool())
	}
	var err error
	e.program, err = expr.Compile(text, options...)
	if found := check.finish(); found != nil {
		return nil, found
	}
	if err != nil {
		return nil, exprErrorOf(err)
	}
	switch t := e.program.Node().Type(); {
	case condition && t.Kind() != reflect.Bool:
		return nil, &exprError{0, "is no condition: want an expression that is true or false, like during.http.failed == 0"}
	case t.Kind() == reflect.Func:
		return nil, &exprError{0, "is a function: call it"}
	}
	e.starts, e.metrics = check.sets, check.metrics()
	for at := range e.environment.at {
		if _, read := check.sets[at]; read || check.anySet {
			e.sets = append(e.sets, at)
		}
	}
	slices.SortFunc(e.sets, func(a, b set) int { return strings.Compare(a.String(), b.String()) })
	return e, nil
}

// evaluate returns the value of an expression, and what it read. The error says why it has no value.
func (e *expression) evaluate(of func(set) (measure.Metrics, bool)) (value any, read []read, err error) {
	if value, read, err = e.run(of); err != nil {
		err = exprErrorOf(err)
	}
	return value, read, err
}

// run is evaluate with the language's own errors.
func (e *expression) run(of func(set) (measure.Metrics, bool)) (value any, read []read, err error) {
	for _, at := range e.sets {
		m, ok := of(at)
		if !ok {
			return nil, nil, fmt.Errorf("no metrics of %v", at)
		}
		for _, metric := range e.metrics[at] {
			if why := m.Unknown(metric); why != "" {
				return nil, nil, noValue(fmt.Sprintf("%s of %v has no value: %s", metric, at, why))
			}
		}
		e.environment.put(at, m)
	}
	e.reads.all = nil
	value, err = e.vm.Run(e.program, e.environment.root)
	return value, e.reads.all, err
}

// structs are what the environment is made of, as the language's errors print them.
var structs = regexp.MustCompile(`struct \{.*\}`)

// exprErrorOf is an error of the expression language, reworded where that is clearer.
func exprErrorOf(err error) *exprError {
	e := &exprError{message: err.Error()}
	if at, ok := errors.AsType[*file.Error](err); ok {
		e = &exprError{at.From, at.Message}
	}
	m, _, _ := strings.Cut(strings.TrimSpace(e.message), "\n")
	m = structs.ReplaceAllString(m, "phases or loads")
	m = strings.NewReplacer("experiment.metrics", "metrics", "*time.Duration", "duration", "time.Duration", "duration", "unexpected token EOF", "it ends too early").Replace(m)
	switch {
	case strings.Contains(m, "mismatched types duration"), strings.Contains(m, "and duration)"):
		m += `: write a duration like duration("250ms")`
	case strings.HasPrefix(m, "expected bool, but got unknown"):
		m = "is no condition: want an expression that is true or false, like during.http.failed == 0"
	case strings.HasPrefix(m, "expected bool, but got "):
		m = "is no condition but " + strings.TrimPrefix(m, "expected bool, but got ") + ": compare it with something, like == 0"
	case strings.Contains(m, `unexpected token Operator("=")`):
		m += ": equal is =="
	}
	e.message = m
	return e
}

// resolve checks the names that an expression begins with, and refuses what could make it pass for a wrong reason. It reports whether the
// expression compares variants.
func resolve(e scenario.Experiment, root ast.Node) (compares bool, err error) {
	phases, variants := namesIn(e)
	names := slices.Concat(phases, variants)
	r := &resolver{declared: map[string]bool{}, callees: map[ast.Node]bool{}}
	ast.Walk(&root, r)
	var phase, variant *ast.IdentifierNode
	for _, n := range r.names {
		at := n.Location().From
		switch {
		case r.declared[n.Value]:
		case r.callees[n]:
			if !ours(n.Value) {
				r.add(at, "unknown function %s%s", n.Value, hint(n.Value, slices.Concat(slices.Sorted(maps.Keys(fairnessChecks)), slices.Sorted(maps.Keys(shareFunctions)), builtin.Names)))
			}
		case slices.Contains(phases, n.Value):
			phase = cmp.Or(phase, n)
			r.everywhere(e, n)
		case slices.Contains(variants, n.Value):
			variant = n
		default:
			r.add(at, "unknown name %s%s", n.Value, hint(n.Value, names))
		}
	}
	if phase != nil && variant != nil {
		r.err = nil // That the phase is not in every variant follows.
		r.add(phase.Location().From, "%s is a phase and %s a variant: name a variant everywhere, or nowhere", phase.Value, variant.Value)
	}
	if r.err != nil {
		return false, r.err
	}
	return variant != nil, nil
}

// namesIn are the names that expressions begin with: phases of any variant, and variants.
func namesIn(e scenario.Experiment) (phases, variants []string) {
	for _, s := range e.Scenarios {
		for _, p := range s.Phases {
			if !slices.Contains(phases, p.Name) {
				phases = append(phases, p.Name)
			}
		}
		if s.Variant != scenario.Only {
			variants = append(variants, s.Variant)
		}
	}
	return append(phases, scenario.Total), variants
}

// everywhere refuses a phase that a variant does not have, as an expression without variants applies to all.
func (r *resolver) everywhere(e scenario.Experiment, phase *ast.IdentifierNode) {
	for _, s := range e.Scenarios {
		if phase.Value != scenario.Total && s.Phase(phase.Value) < 0 {
			var known []string
			for _, p := range s.Phases {
				known = append(known, p.Name)
			}
			r.add(phase.Location().From, "unknown phase %s%s%s", phase.Value, in(&s), hint(phase.Value, append(known, scenario.Total)))
		}
	}
}

// A resolver collects the names of an expression that are not those of fields, and errors that need no types.
type resolver struct {
	names    []*ast.IdentifierNode
	declared map[string]bool // by let
	callees  map[ast.Node]bool
	err      *exprError // the first
}

func (r *resolver) add(at int, format string, args ...any) {
	if r.err == nil {
		r.err = &exprError{at, fmt.Sprintf(format, args...)}
	}
}

// Visit makes a resolver an ast.Visitor.
func (r *resolver) Visit(node *ast.Node) {
	at := (*node).Location().From
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		r.names = append(r.names, n)
	case *ast.VariableDeclaratorNode:
		r.declared[n.Name] = true
	case *ast.CallNode:
		r.callees[n.Callee] = true
	case *ast.SequenceNode:
		r.add(at, "several expressions, of which only the last would count: write each as an entry of its own, or join them by and")
	case *ast.NilNode, *ast.ChainNode:
		r.add(at, "nil and ?. are not supported: an expectation that reads a metric without a value is inconclusive; ask for count, failed, recovered or fair_at_end")
	case *ast.BinaryNode:
		right, isInt := n.Right.(*ast.IntegerNode)
		switch {
		case n.Operator == "??":
			r.add(at, "?? is not supported: an expectation that reads a metric without a value is inconclusive; ask for count, failed, recovered or fair_at_end")
		case (n.Operator == "/" || n.Operator == "%") && isInt && right.Value == 0:
			r.add(at, "a division by 0 has no value")
		}
	case *ast.BuiltinNode:
		if len(n.Arguments) > 0 && !slices.ContainsFunc(n.Arguments, func(a ast.Node) bool { return !literal(a) }) {
			if _, err := expr.Eval(n.String(), nil); err != nil {
				r.add(at, "%s", exprErrorOf(err).message)
			}
		}
	}
}

func literal(n ast.Node) bool {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return true
	}
	return false
}
