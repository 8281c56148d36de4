package experiment

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/expr-lang/expr/ast"

	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// metrics are Metrics as expressions see them: without methods, whose results would say nothing of missing values.
type metrics measure.Metrics

// A set names the metrics of a group in a phase of a variant.
type set struct{ variant, phase, group string }

func (s set) String() string {
	return fmt.Sprintf("%s in phase %s, variant %s", s.group, s.phase, s.variant)
}

// An environment is what an expression reads: variants if it compares them, then phases, groups and metrics. It is made of structs,
// because the language checks the names of their fields.
type environment struct {
	root any // a pointer to the struct
	at   map[set]*metrics
	of   map[string]scenario.Scenario // by variant
}

func newEnvironment(scenarios []scenario.Scenario, compares bool) *environment {
	variants := map[string]reflect.Type{}
	e := &environment{at: map[set]*metrics{}, of: map[string]scenario.Scenario{}}
	for _, s := range scenarios {
		groups := map[string]reflect.Type{}
		for _, group := range s.Groups() {
			groups[group] = metricsType
		}
		phases := map[string]reflect.Type{scenario.Total: object(groups)}
		for _, phase := range s.Phases {
			phases[phase.Name] = object(groups)
		}
		variants[s.Variant], e.of[s.Variant] = object(phases), s
	}
	whole := variants[scenarios[0].Variant]
	if compares {
		whole = object(variants)
	}
	root := reflect.New(whole)
	e.root = root.Interface()
	for _, s := range scenarios {
		variant := root.Elem()
		if compares {
			variant = field(variant, s.Variant)
		}
		for _, phase := range append(slices.Clone(s.Phases), scenario.Phase{Name: scenario.Total}) {
			for _, group := range s.Groups() {
				e.at[set{s.Variant, phase.Name, group}] = field(field(variant, phase.Name), group).Addr().Interface().(*metrics)
			}
		}
	}
	return e
}

// put sets metrics.
func (e *environment) put(at set, m measure.Metrics) {
	s := e.of[at.variant]
	if s.OwnNames { // The metrics have all that are known.
		*e.at[at] = metrics(m)
		return
	}
	instances := s.GroupInstances(at.group)
	m.FirstAttempts, m.OKByInstance = complete(m.FirstAttempts, instances), complete(m.OKByInstance, instances)
	*e.at[at] = metrics(m)
}

// complete adds the instances that were not counted.
func complete(counts measure.InstanceCounts, instances []string) measure.InstanceCounts {
	all := measure.InstanceCounts{}
	for _, name := range instances {
		all[name] = counts[name]
	}
	return all
}

// object is a struct with a field for each name, as expressions see them. (The language also takes maps; but at version 1.17.8 it cannot
// compile a struct inside a map inside a map.)
func object(of map[string]reflect.Type) reflect.Type {
	var fields []reflect.StructField
	for _, name := range slices.Sorted(maps.Keys(of)) {
		tag := reflect.StructTag(fmt.Sprintf("expr:%q", name))
		fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", len(fields)), Type: of[name], Tag: tag})
	}
	return reflect.StructOf(fields)
}

// field is the one of an object that expressions call so.
func field(v reflect.Value, name string) reflect.Value {
	return v.Field(slices.Index(fieldNames(v.Type()), name))
}

// setOf returns the metrics that a node names, and false if it is not a chain of names: variants may be the one that the expression is
// compiled for.
func (c *checker) setOf(node ast.Node) (set, bool) {
	var path []string
	for range maxExpression { // A let may not name itself; but that is for the language to say.
		switch n := node.(type) {
		case *ast.MemberNode:
			name, ok := n.Property.(*ast.StringNode)
			if !ok {
				return set{}, false
			}
			path, node = append(path, name.Value), n.Node
			continue
		case *ast.IdentifierNode:
			if value, ok := c.declared[n.Value]; ok {
				node = value
				continue
			}
			path = append(path, n.Value)
		default:
			return set{}, false
		}
		break
	}
	slices.Reverse(path)
	if !c.compares {
		path = append([]string{c.scenarios[0].Variant}, path...)
	}
	if len(path) != 3 {
		return set{}, false
	}
	return set{path[0], path[1], path[2]}, true
}
