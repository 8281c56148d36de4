package experiment

import (
	"reflect"
	"slices"

	"github.com/expr-lang/expr/ast"

	"trivet/lab/measure"
)

// fairnessNeeds are the metrics that fairness checks read.
var fairnessNeeds = map[string]string{"fair": "round_robin.spread", "fair_without_zone": "round_robin.workers", "binomial": "first_attempts"}

// A usedMetric is one that an expression reads, as package measure names it.
type usedMetric struct {
	node   ast.Node // that reads it
	of     ast.Node // all metrics of the group; nil: it is not known which
	metric string
}

func (c *checker) use(node, of ast.Node, metric string) {
	c.used = append(c.used, usedMetric{node, of, metric})
}

// useMember is for a name after a dot. Of structs in metrics only the metrics in them are used.
func (c *checker) useMember(n *ast.MemberNode, name string) {
	switch n.Node.Type() {
	case metricsType:
		c.use(n, n.Node, name)
	case reflect.TypeFor[measure.Recovery]():
		c.use(n, nil, "recovery."+name)
	case reflect.TypeFor[measure.RoundRobin]():
		c.use(n, nil, "round_robin."+name)
	}
}

// setOfMetric returns the metrics that a used one belongs to, and false if they are not known. Let may name the struct that it is in.
func (c *checker) setOfMetric(u usedMetric) (set, bool) {
	if u.of != nil {
		return c.setOf(u.of)
	}
	of := u.node.(*ast.MemberNode).Node
	for range maxExpression {
		name, ok := of.(*ast.IdentifierNode)
		if !ok || c.declared[name.Value] == nil {
			break
		}
		of = c.declared[name.Value]
	}
	if m, ok := of.(*ast.MemberNode); ok {
		return c.setOf(m.Node)
	}
	return set{}, false
}

// checkTarget refuses what a target does not give. Where it is not known of which variant a metric is, none may lack it.
func (c *checker) checkTarget() {
	if c.on == nil {
		return
	}
	for _, u := range c.used {
		at, known := c.setOfMetric(u)
		for _, s := range c.scenarios {
			if known && s.Variant != at.variant {
				continue
			}
			if why := missing(c.on, s)[u.metric]; why != "" {
				c.add(u.node, "%s cannot be had%s: %s", c.texts[u.node], in(&s), why)
			}
		}
	}
}

// metrics are those that are used, by what they belong to.
func (c *checker) metrics() map[set][]string {
	all := map[set][]string{}
	for _, u := range c.used {
		if at, known := c.setOfMetric(u); known && !slices.Contains(all[at], u.metric) {
			all[at] = append(all[at], u.metric)
		}
	}
	return all
}
