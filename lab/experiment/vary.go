package experiment

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"trivet/internal/words"
	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// tries is for how many generated metrics an expression is evaluated before it counts as one that never changes; with a fairness check
// fewer, as those of many requests take a while.
const tries, triesOfFairness = 5000, 300

// ideals is how many of these are such that nothing fails and each instance gets its share.
const ideals = 20

// percentile is in the messages about one without a value.
var percentile = regexp.MustCompile(`\.p[0-9]+ has no value`)

// A varier evaluates expressions before the run, for metrics as the run could have them.
type varier struct{ plans map[set]plan }

func newVarier(scenarios []scenario.Scenario) varier {
	v := varier{map[set]plan{}}
	for _, s := range scenarios {
		counts := planned(s)
		for _, group := range s.Groups() {
			v.plans[set{s.Variant, scenario.Total, group}] = planOf(s, counts, scenario.Total, group)
			for _, p := range s.Phases {
				v.plans[set{s.Variant, p.Name, group}] = planOf(s, counts, p.Name, group)
			}
		}
	}
	return v
}

// check refuses an expression that reads metrics of no request, that has a value for no metrics, or, of a condition, the same for all.
func (v varier) check(e *expression, text string, condition bool) error {
	for _, s := range e.sets {
		if v.plans[s].requests == 0 {
			return &exprError{e.starts[s], fmt.Sprintf("no request of %s is planned in phase %s%s: nothing can be read there", s.group, s.phase, e.in(s))}
		}
	}
	tree, err := parser.Parse(text)
	if err != nil {
		return exprErrorOf(err)
	}
	g := &generator{Rand: rand.New(rand.NewPCG(1, 2))}
	ast.Walk(&tree.Node, &g.literals)
	seen, why := map[any]bool{}, ""
	limit := tries
	if ast.Find(tree.Node, isFairness) != nil {
		limit = triesOfFairness
	}
	for n := range limit {
		g.ideal = n < ideals // Why there is no value even then is what to report.
		value, err := v.try(e, g)
		if _, never := errors.AsType[keyError](err); never || err != nil && strings.Contains(err.Error(), "memory budget exceeded") {
			return exprErrorOf(err)
		}
		if err != nil {
			why = cmp.Or(why, exprErrorOf(err).message)
			continue
		}
		if _, isBool := value.(bool); condition && !isBool {
			return &exprError{0, "is no condition: want an expression that is true or false, like during.http.failed == 0"}
		} else if !condition {
			return nil
		}
		if seen[value] = true; len(seen) == 2 {
			return nil
		}
	}
	if len(seen) == 0 {
		if percentile.MatchString(why) {
			why += ", as p50 needs 2 requests, p90 10, p99 100 and p999 1000"
		}
		return &exprError{0, fmt.Sprintf("never has a value: %s; planned: %s", why, v.planned(e))}
	}
	if why != "" {
		return &exprError{0, fmt.Sprintf("is %t whatever is measured, or has no value: %s", seen[true], why)}
	}
	return &exprError{0, fmt.Sprintf("is %t whatever is measured: it says nothing", seen[true])}
}

// isFairness reports whether a node is the name of a fairness check.
func isFairness(n ast.Node) bool {
	name, ok := n.(*ast.IdentifierNode)
	return ok && fairnessChecks[name.Value] != nil
}

// try evaluates an expression for generated metrics, now and then the same ones in all places, so that they can be equal.
func (v varier) try(e *expression, g *generator) (any, error) {
	same, one, two := g.IntN(4) == 0, g.Uint64(), g.Uint64()
	value, _, err := e.run(func(s set) (measure.Metrics, bool) {
		if same {
			g.Rand = rand.New(rand.NewPCG(one, two))
		}
		return g.metrics(v.plans[s]), true
	})
	return value, err
}

// planned says how many requests there will be.
func (v varier) planned(e *expression) string {
	var all []string
	for _, s := range e.sets {
		all = append(all, fmt.Sprintf("%s of %s in phase %s%s", words.Count(v.plans[s].requests, "request"), s.group, s.phase, e.in(s)))
	}
	return strings.Join(all, ", ")
}

// in says which variant is meant, where there are several.
func (e *expression) in(s set) string {
	of := e.environment.of[s.variant]
	return in(&of)
}
