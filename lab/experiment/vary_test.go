package experiment

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// varied is an experiment with HTTP and gRPC loads, for expressions about them.
func varied(t *testing.T) (scenario.Experiment, varier) {
	t.Helper()
	f, d := parse("x.yaml", []byte(many))
	if err := d.join(); err != nil {
		t.Fatal(err)
	}
	return f.Experiment, newVarier(f.Scenarios)
}

// leftOut reports whether the n-th of many generated cases is left out: under the race detector, which makes each several times slower and
// looks for other errors, all but each eighth are.
func leftOut(n int) bool { return underRace && n%8 != 0 }

func TestGeneratedMetricsKeepTheRules(t *testing.T) {
	t.Parallel()
	_, v := varied(t)
	tree, err := parser.Parse(`before.http.failed < 17 && before.http.latency.p99 < duration("250ms") && before.http.codes["404"] + before.http.codes.Aborted > 0.3`)
	if err != nil {
		t.Fatal(err)
	}
	g := &generator{Rand: rand.New(rand.NewPCG(3, 4))}
	ast.Walk(&tree.Node, &g.literals)
	seen := map[int]bool{}
	for s, p := range v.plans {
		for n := range 2000 {
			if g.ideal = n < ideals; leftOut(n) {
				continue
			}
			m := g.metrics(p)
			if err := m.Validate(); err != nil {
				t.Fatalf("%v: %v\n%+v", s, err, m)
			}
			seen[m.Failed] = true
		}
	}
	for _, n := range []int{0, 1, 16, 17, 18, 60010} {
		if !seen[n] && !underRace {
			t.Errorf("%d are never failed", n)
		}
	}
}

// leaves are all metrics below a type, as expressions write them, with their types.
func leaves(of reflect.Type, path string) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for field := range of.Fields() {
		if !field.IsExported() {
			continue
		}
		name := path + "." + field.Tag.Get("expr")
		switch {
		case field.Type.Kind() == reflect.Struct:
			maps.Copy(all, leaves(field.Type, name))
		case field.Type == codeCounts:
			all[name+`["503"]`] = reflect.TypeFor[int]()
		case field.Type == reasonCounts:
			all[name+`.deadline`] = reflect.TypeFor[int]()
		case field.Type == instanceCounts:
			all[name+`["whoami-2"]`] = reflect.TypeFor[int]()
		default:
			all[name] = field.Type
		}
	}
	return all
}

// fixed are metrics that a run cannot change.
var fixed = map[string]bool{"requests": true, "round_robin.workers": true, "round_robin.instances": true, "round_robin.whole_upstream": true}

// Whatever metric is compared with whatever value that it can have is accepted.
func TestEveryComparisonThatCanChangeIsAccepted(t *testing.T) {
	t.Parallel()
	e, v := varied(t)
	random := rand.New(rand.NewPCG(5, 6))
	for name, of := range leaves(reflect.TypeFor[measure.Metrics](), "during.http") {
		if fixed[strings.TrimPrefix(name, "during.http.")] {
			continue
		}
		var all []string
		for range 3 {
			var value string
			switch {
			case of == reflect.TypeFor[*time.Duration]():
				d := time.Duration(1+random.IntN(900)) * time.Millisecond
				value = fmt.Sprintf("duration(%q)", d)
				if strings.HasSuffix(name, "fair_since") {
					continue // It is in whole seconds, and the phase has one.
				}
			case of.Kind() == reflect.Int:
				value = fmt.Sprint(1 + random.IntN(900))
			case of.Kind() == reflect.Bool:
				all = append(all, name, "not "+name)
				continue
			default:
				value = fmt.Sprintf("%.2f", 0.01+random.Float64())
			}
			for _, operator := range []string{"<", "<=", ">", ">=", "==", "!="} {
				if operator == "==" || operator == "!=" {
					if of.Kind() != reflect.Int {
						continue // A number of so many digits may never come.
					}
				}
				all = append(all, name+" "+operator+" "+value)
			}
		}
		for n, text := range all {
			if leftOut(n) {
				continue
			}
			if err := checked(e, v, text); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

// Expectations on calls that instances make are accepted where retries can make them, and not beyond.
func TestComparisonsOfCallsThatCanChangeAreAccepted(t *testing.T) {
	t.Parallel()
	f, d := parse("x.yaml", []byte(`question: Q?
fleet: {front: 2}
load: [{protocol: grpc, rate: 10/s, hops: ["grpc*3", "grpc:front*3,http"]}]
phases: [{name: during, for: 1s}]
expect: [during.grpc_hop1.failed == 0]
`))
	if err := d.join(); err != nil {
		t.Fatal(err)
	}
	v := newVarier(f.Scenarios)
	for text, accepted := range map[string]bool{
		"during.grpc.requests == 10": false, "during.grpc.failed == 10": true, "during.grpc.failed == 11": false,
		"during.grpc_hop1.client_attempts == 30": true, "during.grpc_hop1.nginx_attempts == 30": true, "during.grpc_hop1.requests == 10": true, "during.grpc_hop1.requests == 11": false,
		"during.grpc_hop2.requests == 60": true, "during.grpc_hop2.requests == 61": false, "during.grpc_hop2.client_attempts == 90": true, "during.grpc_hop2.executions == 60": true,
		`during.grpc_hop2.codes["502"] > 0`: true, "during.grpc_hop2.codes.Unavailable > 0": true, `during.grpc_hop1.codes["502"] > 0`: false,
		`during.grpc_hop2.first_attempts["front-2"] > 3`: true, `during.grpc_hop1.first_attempts["front-2"] > 3`: false,
		`during.grpc_hop3.requests > 0`: true, // Of front, which makes a call of its own where the hops end.
		"during.grpc_hop4.requests > 0": false, "fair(during.grpc)": false,
		`during.grpc_hop1.service_time.p50 - during.grpc_hop2.service_time.p50 > duration("20ms")`: true,
	} {
		if err := checked(f.Experiment, v, text); (err == nil) != accepted {
			t.Errorf("%s: %v", text, err)
		}
	}
	g := &generator{Rand: rand.New(rand.NewPCG(9, 9))}
	for s, p := range v.plans {
		for n := range 200 {
			g.ideal = n < ideals
			if m := g.metrics(p); m.Validate() != nil {
				t.Fatalf("%v: %v\n%+v", s, m.Validate(), m)
			}
		}
	}
}

// The first and the last number of failures that there can be are seen on both sides.
func TestComparisonAtEachBoundary(t *testing.T) {
	t.Parallel()
	e, v := varied(t)
	const n = 60010
	for k, accepted := range map[int]bool{-1: false, 0: true, 1: true, 17: true, 4711: true, n - 1: true, n: true, n + 1: false} {
		if err := checked(e, v, fmt.Sprintf("during.http.failed == %d", k)); (err == nil) != accepted {
			t.Errorf("== %d: %v", k, err)
		}
		if err := checked(e, v, fmt.Sprintf("during.http.failed < %d", k)); (err == nil) != (accepted && k > 0) {
			t.Errorf("< %d: %v", k, err)
		}
		if err := checked(e, v, fmt.Sprintf("during.http.failed > %d", k)); (err == nil) != (accepted && k < n) {
			t.Errorf("> %d: %v", k, err)
		}
	}
}

// checked is what the check before the run says.
func checked(e scenario.Experiment, v varier, text string) error {
	compiled, err := compile(e, nil, text, true)
	for _, one := range compiled {
		if err == nil {
			err = v.check(one, text, true)
		}
	}
	return err
}

// What other metrics than those of the check show to change, it does not refuse: the examples' expectations, with other numbers in them.
func TestMutatedExamplesThatCanChangeAreAccepted(t *testing.T) {
	t.Parallel()
	number := regexp.MustCompile(`\b\d+(ms|s)?\b`)
	changed := 0
	for _, name := range examples(t) {
		f, err := Read(name)
		if err != nil {
			t.Fatal(err)
		}
		v := newVarier(f.Scenarios)
		for n, e := range f.Expect {
			if leftOut(n) {
				continue
			}
			for _, mutate := range []func(int) int{func(n int) int { return n }, func(n int) int { return n + 1 }, func(n int) int { return 3*n + 2 }} {
				text := number.ReplaceAllStringFunc(e.Text, func(digits string) string {
					unit := strings.TrimLeft(digits, "0123456789")
					n, _ := strconv.Atoi(strings.TrimSuffix(digits, unit))
					return strconv.Itoa(mutate(n)) + unit
				})
				compiled, err := compile(f.Experiment, nil, text, true)
				if err != nil || strings.Contains(text, "binomial") {
					continue // whoami-3 of two instances, a status that is none, a share of 2
				}
				for _, one := range compiled {
					if canChange(v, one) {
						changed++
						if err := v.check(one, text, true); err != nil {
							t.Errorf("%s: %s: %v", name, text, err)
						}
					}
				}
			}
		}
	}
	if changed < 100 && !underRace {
		t.Errorf("only %d", changed)
	}
}

// canChange reports whether a few metrics without any thought for the expression give it both values.
func canChange(v varier, e *expression) bool {
	g := &generator{Rand: rand.New(rand.NewPCG(7, 8))}
	seen := map[any]bool{}
	for range 300 {
		if value, err := v.try(e, g); err == nil {
			seen[value] = true
		}
	}
	return len(seen) == 2
}
