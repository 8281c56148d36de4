package experiment

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker/nature"
	"github.com/expr-lang/expr/vm/runtime"
	"google.golang.org/grpc/codes"

	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

var (
	anyType     = reflect.TypeFor[any]()
	metricsType = reflect.TypeFor[metrics]()
)

// A checker checks the names of metrics and what is done with them, in an expression whose types are known. It also keeps the text of
// each node, as the patcher after it changes them.
type checker struct {
	scenarios []scenario.Scenario
	on        *record.Target // nil: a fleet of the trial's own, or it is not known
	compares  bool
	condition bool
	used      []usedMetric
	texts     map[ast.Node]string
	whole     map[ast.Node]bool   // structs that nothing names a metric of
	order     []ast.Node          // of whole
	declared  map[string]ast.Node // values by let
	named     []ast.Node          // all metrics of a group
	sets      map[set]int         // that are named, and where
	anySet    bool                // it is not known which
	reads     bool                // whether any metric is read
	err       *exprError          // the first
}

func (c *checker) add(node ast.Node, format string, args ...any) {
	if c.err == nil {
		c.err = &exprError{start(node), fmt.Sprintf(format, args...)}
	}
}

// start is where the text of a node begins: the location of a chain of names is its last dot.
func start(node ast.Node) int {
	if n, ok := node.(*ast.MemberNode); ok {
		return start(n.Node)
	}
	return node.Location().From
}

// isObject reports whether a type is one of metrics or of what leads to them.
func isObject(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.NumField() > 0 && t.Field(0).Tag.Get("expr") != ""
}

// finish returns the first error.
func (c *checker) finish() *exprError {
	for _, node := range c.named {
		at, ok := c.setOf(node)
		c.sets[at], c.anySet = start(node), c.anySet || !ok
	}
	c.checkTarget()
	for _, node := range c.order {
		if c.whole[node] {
			c.add(node, "%s is many metrics: name one, like %s.%s", c.texts[node], c.texts[node], example(node.Type()))
		}
	}
	if c.condition && !c.reads && c.err == nil {
		c.err = &exprError{0, "reads no metric: it says the same whatever is measured"}
	}
	return c.err
}

// example completes a name that ends too early.
func example(t reflect.Type) string {
	names := fieldNames(t)
	switch {
	case t == metricsType:
		return "failed"
	case slices.Contains(names, "p99"):
		return "p99"
	case isObject(t.Field(0).Type):
		i := max(0, slices.Index(names, scenario.HTTP))
		return names[i] + "." + example(t.Field(i).Type)
	}
	return names[0]
}

// Visit makes a checker an ast.Visitor.
func (c *checker) Visit(node *ast.Node) {
	c.texts[*node] = (*node).String()
	switch n := (*node).(type) {
	case *ast.MemberNode:
		c.whole[n.Node] = false
		c.member(n)
	case *ast.VariableDeclaratorNode:
		c.whole[n.Value] = false
		c.declared[n.Name] = n.Value
	case *ast.BinaryNode:
		if n.Operator == "in" && isCounts(n.Right.Type()) {
			c.add(n.Right, "in does not say how often: compare the count, like %s[%s] > 0", c.texts[n.Right], c.texts[n.Left])
		}
	case *ast.CallNode:
		name, ok := n.Callee.(*ast.IdentifierNode)
		if !ok || fairnessChecks[name.Value] == nil || len(n.Arguments) == 0 {
			break
		}
		c.reads = true
		c.use(n, n.Arguments[0], fairnessNeeds[name.Value])
		if of := n.Arguments[0]; of.Type() == metricsType {
			c.whole[of] = false
		} else if c.whole[of] {
			c.whole[of] = false
			c.add(of, "%s wants all metrics of a load: write it like %s(%s)", name.Value, name.Value, strings.TrimSuffix(c.texts[of]+"."+example(of.Type()), ".failed"))
		}
		c.binomial(n)
	}
	if (*node).Type() == metricsType {
		c.named = append(c.named, *node)
	}
	if _, let := (*node).(*ast.VariableDeclaratorNode); !let && isObject((*node).Type()) { // A let's value is that of a node in it.
		c.whole[*node], c.order = true, append(c.order, *node)
	}
}

// member checks a name after a dot, or a key in brackets.
func (c *checker) member(n *ast.MemberNode) {
	name, written := n.Property.(*ast.StringNode)
	of := n.Node.Type()
	if inner, ok := n.Node.(*ast.MemberNode); ok && written && isCounts(of) {
		c.key(inner, name)
	}
	if !isObject(of) || !written {
		return
	}
	names := fieldNames(of)
	i := slices.Index(names, name.Value)
	if i < 0 {
		phrase := ""
		if word(of) == "load" {
			phrase = in(c.scenario(n))
		}
		c.add(name, "unknown %s %s%s%s", word(of), name.Value, phrase, hint(name.Value, names))
	} else if !isObject(of.Field(i).Type) {
		c.reads = true
	}
	c.useMember(n, name.Value)
}

// word returns what a struct's fields name: metric, load, phase or variant.
func word(t reflect.Type) string {
	switch {
	case t.Name() != "":
		return "metric"
	case t.Field(0).Type == metricsType:
		return "load"
	case t.Field(0).Type.NumField() > 0 && t.Field(0).Type.Field(0).Type == metricsType:
		return "phase"
	}
	return "variant"
}

// key refuses a key that the evaluation would refuse, if it evaluated it.
func (c *checker) key(metric *ast.MemberNode, key *ast.StringNode) {
	of, ok := metric.Property.(*ast.StringNode)
	if !ok {
		return
	}
	s, phrase := c.scenario(metric), ""
	if s.OwnNames && metric.Type() == instanceCounts {
		c.add(key, "%s[%q] names an instance, and those of the target have names of their own, and may change: largest_share and smallest_share are of all, like largest_share(%s)", of.Value, key.Value, c.texts[metric])
		return
	}
	protocol, instances := "", s.ServiceNames()
	if at, ok := c.setOf(metric.Node); ok && len(s.Group(at.group)) > 0 {
		protocol, instances = s.GroupProtocol(at.group), s.GroupInstances(at.group)
	}
	known, never := unknownKey(metric.Type(), key.Value, protocol, instances)
	switch {
	case never && metric.Type() == instanceCounts:
		phrase = in(s)
	case never && metric.Type() == codeCounts && protocol == scenario.HTTP:
		phrase = ` over HTTP, where codes are numbers`
	}
	if never {
		c.add(key, "%s never has %q%s%s", of.Value, key.Value, phrase, hint(key.Value, known))
	}
}

var (
	codeCounts     = reflect.TypeFor[measure.CodeCounts]()
	reasonCounts   = reflect.TypeFor[measure.ReasonCounts]()
	instanceCounts = reflect.TypeFor[measure.InstanceCounts]()
)

// isCounts reports whether a type is that of a metric with keys.
func isCounts(t reflect.Type) bool {
	return t == codeCounts || t == reasonCounts || t == instanceCounts
}

// unknownKey reports whether counts of a type can never have a key, which would count as 0, and returns the keys that they can have. The
// protocol is "" if it is not known.
func unknownKey(of reflect.Type, key, protocol string, instances []string) (known []string, never bool) {
	switch of {
	case codeCounts:
		if protocol != scenario.GRPC && httpStatus.MatchString(key) {
			return nil, false
		}
		if protocol == scenario.HTTP {
			return []string{`codes["200"]`, `codes["502"]`}, true
		}
		for code := codes.OK; code <= codes.Unauthenticated; code++ {
			known = append(known, code.String())
		}
	case reasonCounts:
		known = record.Reasons
	default:
		known = instances
	}
	return known, !slices.Contains(known, key)
}

var httpStatus = regexp.MustCompile(`^[1-5][0-9][0-9]$`)

// scenario is the one that a chain of names begins with; the first if it does not say.
func (c *checker) scenario(node ast.Node) *scenario.Scenario {
	switch n := node.(type) {
	case *ast.MemberNode:
		return c.scenario(n.Node)
	case *ast.IdentifierNode:
		if i := slices.IndexFunc(c.scenarios, func(s scenario.Scenario) bool { return s.Variant == n.Value }); i > 0 {
			return &c.scenarios[i]
		}
	}
	return &c.scenarios[0]
}

// binomial refuses arguments that make no sense.
func (c *checker) binomial(n *ast.CallNode) {
	if len(n.Arguments) != 3 {
		return
	}
	if name, ok := n.Arguments[1].(*ast.StringNode); ok {
		s := c.scenario(n.Arguments[0])
		if s.OwnNames {
			c.add(name, "%s is an instance, and those of the target have names of their own, and may change: largest_share and smallest_share are of all", name.Value)
		} else if known := s.ServiceNames(); !slices.Contains(known, name.Value) {
			c.add(name, "unknown instance %s%s%s", name.Value, in(s), hint(name.Value, known))
		}
	}
	if share, err := expr.Eval(c.texts[n.Arguments[2]], nil); err == nil {
		if f := reflect.ValueOf(share); f.CanFloat() && !(f.Float() > 0 && f.Float() < 1) || f.CanInt() {
			c.add(n, "a share of %v: want one above 0 and below 1", share)
		}
	}
}

// fieldNames are the names of a struct's fields in expressions.
func fieldNames(t reflect.Type) []string {
	var names []string
	for field := range t.Fields() {
		if field.IsExported() {
			names = append(names, field.Tag.Get("expr"))
		}
	}
	return names
}

// A patcher puts a call around everything that may have no value, so that evaluation ends there with an error: each metric, and each
// number and each value of unknown type that is computed. So a missing value can make nothing pass, neither a condition nor its opposite.
type patcher struct {
	texts   map[ast.Node]string
	patched map[ast.Node]ast.Node // what is in the call
}

// Names of the functions around nodes, by whether the type is known. No expression can contain them.
const (
	checkFunction     = "check value"
	checkAnyFunction  = "check value of any type"
	lookUpFunction    = "look up key"
	lookUpAnyFunction = "look up key in any type"
)

// Visit makes a patcher an ast.Visitor.
func (p *patcher) Visit(node *ast.Node) {
	t := (*node).Type()
	switch n := (*node).(type) {
	case *ast.MemberNode:
		// Of a map only the entry is read; but in a predicate, which takes the entries in any order, all of it.
		each := ast.Find(n, func(n ast.Node) bool { _, ok := n.(*ast.PointerNode); return ok }) != nil
		if inner, ok := p.patched[n.Node]; ok && inner.Type().Kind() == reflect.Map && !each {
			n.Node = inner
		}
		p.lookUp(node, n)
		if !isObject(t) && t.Kind() != reflect.Func {
			p.patch(node, !each)
		}
	case *ast.BinaryNode:
		if t.Kind() == reflect.Float64 || t == anyType && strings.Contains("+ - * / % ** ^", n.Operator) {
			p.patch(node, false)
		}
	case *ast.BuiltinNode:
		if t == anyType || t.Kind() == reflect.Int || t.Kind() == reflect.Float64 {
			p.patch(node, false)
		}
	case *ast.CallNode:
		n.SetNature(nature.Nature{}) // The language is to check its arguments again, with what is around them.
		if name, ok := n.Callee.(*ast.IdentifierNode); ok && ours(name.Value) {
			n.Arguments = append(n.Arguments, &ast.StringNode{Value: p.texts[n]})
		}
	}
}

// lookUp puts a call in the place of a member that may be looked up by a key that its counts never have.
func (p *patcher) lookUp(node *ast.Node, n *ast.MemberNode) {
	name := lookUpFunction
	switch of := n.Node.Type(); {
	case of == anyType:
		name = lookUpAnyFunction
	case !isCounts(of):
		return
	}
	in := n.Node
	if inner, ok := p.patched[in]; ok {
		in = inner
	}
	call := &ast.CallNode{
		Callee:    &ast.IdentifierNode{Value: name},
		Arguments: []ast.Node{n.Node, n.Property, &ast.StringNode{Value: p.texts[in]}},
	}
	p.texts[call] = p.texts[n]
	ast.Patch(node, call)
	call.Callee.SetLocation(call.Location())
}

func (p *patcher) patch(node *ast.Node, read bool) {
	name := checkFunction
	if (*node).Type() == anyType {
		name = checkAnyFunction
	}
	call := &ast.CallNode{
		Callee:    &ast.IdentifierNode{Value: name},
		Arguments: []ast.Node{*node, &ast.StringNode{Value: p.texts[*node]}, &ast.BoolNode{Value: read}},
	}
	p.patched[call] = *node
	ast.Patch(node, call)
	call.Callee.SetLocation(call.Location())
}

// noValue says why there is no value: then an expectation is inconclusive.
type noValue string

func (n noValue) Error() string { return string(n) }

// keyError says that a key never occurs.
type keyError string

func (k keyError) Error() string { return string(k) }

// reads are what an evaluation has read, each once.
type reads struct {
	all     []read
	instead map[string]any // values to read in the place of those of the metrics, by text
}

// A read is a metric, or a fairness check, whose value is its explanation.
type read struct {
	text  string // as the expression writes it
	value any
}

func (r read) String() string {
	if said, ok := r.value.(explanation); ok {
		return r.text + ": " + string(said)
	}
	return r.text + " = " + Say(r.value)
}

// explanation is what a fairness check says.
type explanation string

func (r *reads) add(text string, value any) {
	said := read{text, value}.String()
	if !slices.ContainsFunc(r.all, func(other read) bool { return other.text == text && other.String() == said }) {
		r.all = append(r.all, read{text, value})
	}
}

// check is the function around nodes: of a value, its text, and whether it is read of the metrics.
func (r *reads) check(arguments ...any) (any, error) {
	value, text := arguments[0], arguments[1].(string)
	if pointer := reflect.ValueOf(value); value == nil || pointer.Kind() == reflect.Pointer && pointer.IsNil() {
		return nil, noValue(text + " has no value")
	} else if pointer.Kind() == reflect.Pointer {
		value = pointer.Elem().Interface()
	}
	if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return nil, noValue(fmt.Sprintf("%s has no value: it is %v", text, f))
	}
	if arguments[2].(bool) {
		if other, ok := r.instead[text]; ok {
			value = other
		}
		r.add(text, value)
	}
	return value, nil
}

// lookUp is the function in the place of a member: of a value, the key, and the value's text.
func lookUp(arguments ...any) (any, error) {
	in, key := arguments[0], arguments[1]
	if counts := reflect.ValueOf(in); in != nil && isCounts(counts.Type()) {
		var instances []string
		for _, name := range counts.MapKeys() {
			instances = append(instances, name.String())
		}
		slices.SortFunc(instances, scenario.CompareNames)
		name, isText := key.(string)
		if !isText {
			return nil, keyError(fmt.Sprintf("the keys of %v are text: want %q", arguments[2], fmt.Sprint(key)))
		}
		if known, never := unknownKey(counts.Type(), name, "", instances); never {
			return nil, keyError(fmt.Sprintf("%v never has %q%s", arguments[2], name, hint(name, known)))
		}
	}
	return runtime.Fetch(in, key), nil
}

// options are the functions of expressions, beside the language's own.
func (r *reads) options() []expr.Option {
	options := []expr.Option{
		expr.Function(checkAnyFunction, r.check, new(func(any, string, bool) any)),
		expr.Function(checkFunction, r.check,
			new(func(int, string, bool) int), new(func(float64, string, bool) float64), new(func(*float64, string, bool) float64), new(func(bool, string, bool) bool),
			new(func(*time.Duration, string, bool) time.Duration), new(func(measure.CodeCounts, string, bool) measure.CodeCounts),
			new(func(measure.ReasonCounts, string, bool) measure.ReasonCounts), new(func(measure.InstanceCounts, string, bool) measure.InstanceCounts),
			new(func(any, string, bool) any)),
		expr.Function(lookUpAnyFunction, lookUp, new(func(any, any, string) any)),
		expr.Function(lookUpFunction, lookUp, new(func(measure.CodeCounts, any, string) int), new(func(measure.ReasonCounts, any, string) int),
			new(func(measure.InstanceCounts, any, string) int)),
	}
	for name, check := range fairnessChecks {
		types := []any{new(func(metrics) bool), new(func(metrics, string) bool)}
		if name == "binomial" {
			types = []any{new(func(metrics, string, float64) bool), new(func(metrics, string, float64, string) bool)}
		}
		options = append(options, expr.Function(name, r.fairness(check), types...))
	}
	for name, share := range shareFunctions {
		options = append(options, expr.Function(name, shareOf(share), new(func(measure.InstanceCounts) float64), new(func(measure.InstanceCounts, string) float64)))
	}
	return options
}

// fairness is a fairness check as a function of expressions, whose last argument is its text.
func (r *reads) fairness(check func(measure.Metrics, []any) measure.FairnessResult) func(...any) (any, error) {
	return func(arguments ...any) (any, error) {
		last := len(arguments) - 1
		result := check(measure.Metrics(arguments[0].(metrics)), arguments[1:last])
		text := arguments[last].(string)
		r.add(text, explanation(result.Explanation))
		if result.Inconclusive {
			return nil, noValue(text + ": " + result.Explanation)
		}
		return result.Passed, nil
	}
}
