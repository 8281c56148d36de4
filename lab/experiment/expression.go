package experiment

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"trivet/internal/nearest"
	"trivet/lab/ledger"
)

// run is, in expectations, the whole time.
const run = "run"

// words of the expression language, which no name can be.
var keywords = []string{
	"and", "or", "not", "in", "contains", "matches", "let", "if", "else", "true", "false", "nil", run, "env",
}

// reserved tells whether a name means something in expressions already.
func reserved(name string) bool {
	return slices.Contains(keywords, name) || slices.Contains(builtin.Names, name) || laws[name] != nil
}

// laws are the functions that judge figures, by the arguments after them.
var laws = map[string]func(f ledger.Figures, more []any) ledger.Judgement{
	"fair":              func(f ledger.Figures, _ []any) ledger.Judgement { return f.Fair() },
	"fair_without_zone": func(f ledger.Figures, _ []any) ledger.Judgement { return f.FairWithoutZone() },
	"binomial": func(f ledger.Figures, more []any) ledger.Judgement {
		return f.Binomial(more[0].(string), more[1].(float64))
	},
}

// functions are the laws for the expression language.
func functions() []expr.Option {
	holds := func(name string) func(...any) (any, error) {
		return func(arguments ...any) (any, error) {
			return laws[name](arguments[0].(ledger.Figures), arguments[1:]).Holds, nil
		}
	}
	one := new(func(ledger.Figures) bool)
	return []expr.Option{
		expr.Function("fair", holds("fair"), one),
		expr.Function("fair_without_zone", holds("fair_without_zone"), one),
		expr.Function("binomial", holds("binomial"), new(func(ledger.Figures, string, float64) bool)),
	}
}

// A scope is what names an expression may begin with: those of a variant's phases, or those of all variants.
type scope struct {
	phases []string // and run
	groups map[string][]string
	over   bool // names begin with variants
}

// scopeOf is the scope of one variant.
func scopeOf(v Variant) scope {
	s := scope{groups: map[string][]string{"": v.Calls()}}
	for _, p := range v.Phases {
		s.phases = append(s.phases, p.Name)
	}
	s.phases = append(s.phases, run)
	return s
}

// scopeOver is the scope of all variants.
func scopeOver(variants []Variant) scope {
	s := scopeOf(variants[0])
	s.over, s.groups = true, map[string][]string{}
	for _, v := range variants {
		s.groups[v.Name] = v.Calls()
	}
	return s
}

// variants are the names of an over-all scope, in some order.
func (s scope) variants() []string {
	var names []string
	for name := range s.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// environment is what expressions of the scope read; figures may be nil, for the types alone.
func (s scope) environment(figures func(variant, phase, group string) ledger.Figures) any {
	if figures == nil {
		figures = func(string, string, string) ledger.Figures { return ledger.Figures{} }
	}
	phases := func(variant string) any {
		return record(s.phases, func(phase string) any {
			return record(s.groups[variant], func(group string) any { return figures(variant, phase, group) })
		})
	}
	if s.over {
		return record(s.variants(), phases)
	}
	return phases("")
}

// record is a struct with a field for each name, as expressions see them. (The language also takes maps; but at version 1.17.8 it cannot
// compile a struct inside a map inside a map.)
func record(names []string, of func(name string) any) any {
	var fields []reflect.StructField
	var values []reflect.Value
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		value := reflect.ValueOf(of(name))
		values = append(values, value)
		fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", len(fields)), Type: value.Type(), Tag: reflect.StructTag(fmt.Sprintf("expr:%q", name))})
	}
	v := reflect.New(reflect.StructOf(fields)).Elem()
	for i, value := range values {
		v.Field(i).Set(value)
	}
	return v.Interface()
}

// An expression is one that can be asked: of each variant, or once over all of them.
type expression struct {
	over     bool
	programs map[string]*vm.Program // by variant; "" over all
	operands []operand              // what it reads, in its order
}

// An operand is a figure that an expression reads, or a law that it asks.
type operand struct {
	text string
	path []string // names, from the variant or the phase on
	law  string   // "" for a figure
	more []any    // the law's other arguments
}

// A lapse is what is wrong with an expression; at is in characters.
type lapse struct {
	at      int
	message string
}

// longest is the most characters of an expression, also of the tag in keys.go: the language recurses into each level of it, and Go ends a program whose stack is full.
const longest = 1000

// compile checks an expression against the file, and makes it ready. condition: its value must be true or false.
func (f *File) compile(text string, condition bool) (expression, []lapse) {
	if n := utf8.RuneCountInString(text); n > longest {
		return expression{}, []lapse{{0, fmt.Sprintf("an expression of %d characters: want at most %d", n, longest)}}
	}
	tree, err := parser.Parse(text)
	if err != nil {
		return expression{}, []lapse{lapseOf(err)}
	}
	r := reader{scopes: map[string]scope{}, of: f}
	r.scan(tree.Node)
	if lapses := r.check(); len(lapses) > 0 {
		return expression{}, lapses
	}
	e := expression{over: r.over, programs: map[string]*vm.Program{}, operands: r.operands}
	divisions := &divisions{trial: true}
	options := slices.Concat(functions(), divisions.options(), []expr.Option{expr.Optimize(false)})
	if condition {
		options = append(options, expr.AsBool())
	}
	for name, s := range r.scopes {
		program, err := expr.Compile(text, append(options, expr.Env(s.environment(nil)))...)
		if err != nil {
			return e, []lapse{lapseOf(err)}
		}
		if t := program.Node().Type(); condition && (t == nil || t.Kind() != reflect.Bool) {
			return e, []lapse{{0, "is no condition: want one that is true or false whatever was measured"}}
		}
		if t := program.Node().Type(); !condition && t != nil && t.Kind() == reflect.Func {
			return e, []lapse{{0, "is a function: call it"}}
		}
		e.programs[name] = program
	}
	if lapses := r.values(); len(lapses) > 0 {
		return e, lapses
	}
	if condition && len(e.operands) == 0 {
		return e, []lapse{{0, "reads no figure: it says the same whatever is measured"}}
	}
	lapses := f.try(e)
	divisions.trial = false
	return e, lapses
}

// try asks an expression of nothing: what cannot be evaluated then, never can.
func (f *File) try(e expression) []lapse {
	for _, name := range f.asked(e) {
		of := func(variant, _, _ string) ledger.Figures {
			return specimen(f.Variants[slices.IndexFunc(f.Variants, func(v Variant) bool { return v.Name == cmp.Or(variant, name) })])
		}
		s := scopeOver(f.Variants)
		if !e.over {
			s = scopeOf(f.Variants[slices.IndexFunc(f.Variants, func(v Variant) bool { return v.Name == name })])
		}
		if _, err := expr.Run(e.programs[name], s.environment(of)); err != nil {
			return []lapse{lapseOf(err)}
		}
	}
	return nil
}

// records are what the environment is made of, as the language's errors print it.
var records = regexp.MustCompile(`struct \{.*\}`)

// lapseOf is an error of the expression language, in our words where those are better.
func lapseOf(err error) lapse {
	l := lapse{message: err.Error()}
	if e, ok := errors.AsType[*file.Error](err); ok {
		l = lapse{e.From, e.Message}
	}
	l.message, _, _ = strings.Cut(strings.TrimSpace(l.message), "\n")
	l.message = records.ReplaceAllString(l.message, "phases or loads")
	l.message = strings.NewReplacer("ledger.Figures", "figures", "time.Duration", "duration", "unexpected token EOF", "it ends too early").Replace(l.message)
	switch {
	case strings.Contains(l.message, "mismatched types duration"), strings.Contains(l.message, "and duration)"):
		l.message += `: write a duration like duration("250ms")`
	case strings.HasPrefix(l.message, "expected bool, but got "):
		l.message = "is no condition but " + strings.TrimPrefix(l.message, "expected bool, but got ") + ": compare it with something, like == 0"
	case strings.Contains(l.message, `unexpected token Operator("=")`):
		l.message += ": equal is =="
	}
	return l
}

// A reader finds out what names an expression uses.
type reader struct {
	of       *File
	all      []ast.Node        // each after those in it
	inner    map[ast.Node]bool // parts of a longer chain
	callees  map[ast.Node]bool
	lawful   map[ast.Node]string // first arguments of laws, by which
	declared map[string]bool     // by let
	nodes    []ast.Node
	calls    []*ast.CallNode
	over     bool
	scopes   map[string]scope // to compile in, by variant; "" over all
	operands []operand
	lapses   []lapse
}

// Visit makes a reader an ast.Visitor.
func (r *reader) Visit(node *ast.Node) {
	r.all = append(r.all, *node)
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		r.nodes = append(r.nodes, n)
	case *ast.MemberNode:
		r.nodes = append(r.nodes, n)
		if _, written := n.Property.(*ast.StringNode); written {
			r.inner[n.Node] = true
		}
	case *ast.CallNode:
		r.callees[n.Callee] = true
		r.calls = append(r.calls, n)
		if name, ok := n.Callee.(*ast.IdentifierNode); ok && laws[name.Value] != nil && len(n.Arguments) > 0 {
			r.lawful[n.Arguments[0]] = name.Value
		}
	case *ast.VariableDeclaratorNode:
		r.declared[n.Name] = true
	}
}

func (r *reader) scan(node ast.Node) {
	r.inner, r.callees, r.lawful, r.declared = map[ast.Node]bool{}, map[ast.Node]bool{}, map[ast.Node]string{}, map[string]bool{}
	ast.Walk(&node, r)
}

// A step is one name of a chain like during.http.failed.
type step struct {
	name string
	at   int
}

// chain takes a chain apart, as far as its names are written out. It is nil of anything else.
func chain(node ast.Node) []step {
	switch n := node.(type) {
	case *ast.IdentifierNode:
		return []step{{n.Value, n.Location().From}}
	case *ast.MemberNode:
		before := chain(n.Node)
		if name, ok := n.Property.(*ast.StringNode); ok && before != nil {
			return append(before, step{name.Value, name.Location().From})
		}
	}
	return nil
}

// check finds names that mean nothing, and decides what the expression is asked of.
func (r *reader) check() []lapse {
	var chains []read
	var phases, variants []step
	first := scopeOf(r.of.Variants[0])
	named := r.of.Variants[0].Name != Only
	for _, node := range r.all {
		r.refuse(node)
	}
	for _, node := range r.nodes {
		c := chain(node)
		switch {
		case c == nil || r.inner[node] || r.declared[c[0].name]:
			continue
		case r.callees[node] && len(c) == 1:
			if laws[c[0].name] == nil {
				r.lapse(c[0], "unknown function %s: did you mean %s?", c[0].name, nearest.Name(c[0].name, slices.Concat(lawNames(), builtin.Names)))
			}
			continue
		case r.callees[node]:
			c = c[:len(c)-1] // A method: the language knows them.
		}
		chains = append(chains, read{node, c})
		switch over := scopeOver(r.of.Variants); {
		case slices.Contains(first.phases, c[0].name):
			phases = append(phases, c[0])
		case named && over.groups[c[0].name] != nil:
			variants = append(variants, c[0])
		default:
			known := slices.Clone(first.phases)
			if named {
				known = append(known, over.variants()...)
			}
			r.lapse(c[0], "unknown name %s: did you mean %s?", c[0].name, nearest.Name(c[0].name, known))
		}
	}
	if len(phases) > 0 && len(variants) > 0 {
		r.lapse(phases[0], "%s is a phase and %s a variant: name a variant everywhere, or nowhere", phases[0].name, variants[0].name)
	}
	if r.over = len(variants) > 0; r.over {
		r.scopes[""] = scopeOver(r.of.Variants)
	} else {
		for _, v := range r.of.Variants {
			r.scopes[v.Name] = scopeOf(v)
		}
	}
	if len(r.lapses) == 0 {
		r.follow(chains)
	}
	return r.lapses
}

func (r *reader) lapse(at step, format string, arguments ...any) {
	r.lapses = append(r.lapses, lapse{at.at, fmt.Sprintf(format, arguments...)})
}

func lawNames() []string { return []string{"fair", "fair_without_zone", "binomial"} }

// read is a chain, and the node that it is.
type read struct {
	node  ast.Node
	chain []step
}

// follow looks at each name after the first, in all scopes, and keeps what can be shown of them.
func (r *reader) follow(chains []read) {
	for _, c := range chains {
		known := true
		for _, v := range r.of.Variants {
			if known && (!r.over || v.Name == c.chain[0].name) {
				known = r.known(c.chain, v)
			}
		}
		if !known {
			continue
		}
		r.complete(c.node, c.chain)
		if t := r.typeOf(c.chain); t != nil && t.Kind() != reflect.Struct {
			r.show(operand{text: spell(c.chain), path: pathOf(c.chain)})
		}
	}
	for _, call := range r.calls {
		if name, ok := call.Callee.(*ast.IdentifierNode); ok && laws[name.Value] != nil {
			r.law(call, name.Value)
		}
	}
}

func (r *reader) show(o operand) {
	if !slices.ContainsFunc(r.operands, func(other operand) bool { return other.text == o.text }) {
		r.operands = append(r.operands, o)
	}
}

// constant is an argument that is written out; nil of anything else.
func constant(n ast.Node) any {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.FloatNode:
		return n.Value
	case *ast.IntegerNode:
		return float64(n.Value)
	case *ast.UnaryNode:
		if of, ok := constant(n.Node).(float64); ok && n.Operator == "-" {
			return -of
		}
	case *ast.BinaryNode:
		left, _ := constant(n.Left).(float64)
		right, _ := constant(n.Right).(float64)
		if n.Operator == "/" && right != 0 {
			return left / right
		}
	}
	return nil
}

func pathOf(c []step) []string {
	var path []string
	for _, s := range c {
		path = append(path, s.name)
	}
	return path
}

// spell writes a chain as people do.
func spell(c []step) string {
	var text strings.Builder
	text.WriteString(c[0].name)
	for _, s := range c[1:] {
		if identifiers.MatchString(strings.ToLower(s.name)) {
			text.WriteString("." + s.name)
		} else {
			fmt.Fprintf(&text, "[%q]", s.name)
		}
	}
	return text.String()
}

// inPhase is the chain from the group on; nil if it ends before.
func (r *reader) inPhase(c []step) []step {
	if r.over {
		c = c[1:]
	}
	if len(c) < 2 {
		return nil
	}
	return c[1:]
}

// typeOf is the type of what a chain leads to; nil if it is not one of figures, or unknown.
func (r *reader) typeOf(c []step) reflect.Type {
	in := r.inPhase(c)
	if in == nil {
		return nil
	}
	t := reflect.TypeFor[ledger.Figures]()
	for _, s := range in[1:] {
		switch t.Kind() {
		case reflect.Map:
			t = t.Elem()
		case reflect.Struct:
			i := slices.Index(figureNames(t), s.name)
			if i < 0 {
				return nil
			}
			t = t.Field(i).Type
		default:
			return nil
		}
	}
	return t
}

// figureNames are the names of t's fields in expressions.
func figureNames(t reflect.Type) []string {
	var names []string
	for field := range t.Fields() {
		names = append(names, field.Tag.Get("expr"))
	}
	return names
}

// known refuses names in a chain that a variant does not have.
func (r *reader) known(c []step, v Variant) bool {
	s := scopeOf(v)
	if r.over && len(c) > 1 && !slices.Contains(s.phases, c[1].name) {
		r.lapse(c[1], "unknown phase %s: did you mean %s?", c[1].name, nearest.Name(c[1].name, s.phases))
		return false
	}
	in := r.inPhase(c)
	if in == nil {
		return true
	}
	if groups := v.Calls(); !slices.Contains(groups, in[0].name) {
		r.lapse(in[0], "unknown load %s%s: did you mean %s?", in[0].name, v.phrase(), nearest.Name(in[0].name, groups))
		return false
	}
	t := reflect.TypeFor[ledger.Figures]()
	for i, s := range in[1:] {
		switch {
		case t.Kind() == reflect.Map:
			return r.knownKey(in[i].name, s, v)
		case t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Duration]():
			return true // The language tells.
		}
		names := figureNames(t)
		at := slices.Index(names, s.name)
		if at < 0 {
			r.lapse(s, "unknown figure %s: did you mean %s?", s.name, nearest.Name(s.name, names))
			return false
		}
		t = t.Field(at).Type
	}
	return true
}
