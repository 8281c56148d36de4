package experiment

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A fakeStack has two pods and can kill them and roll out, or what its fields say.
type fakeStack struct {
	anyOf
	target record.Target
	names  []string
}

func (s fakeStack) Target() record.Target         { return s.target }
func (s fakeStack) Can(o scenario.Operation) bool { return s.anyOf.Can(o) && o.Kind != scenario.Drain }

func (s fakeStack) Instances() (all []record.Instance) {
	for i, name := range s.names {
		all = append(all, record.Instance{Name: name, HTTP: fmt.Sprint("10.0.0.", i+1, ":8000")})
	}
	return all
}

var (
	pods = fakeStack{scenario.Kubernetes, record.Target{Kind: scenario.Kubernetes, Name: "k8s:lab", AccessLog: true, Nginxes: 2, Changes: true}, []string{"whoami-x", "whoami-y"}}
	crew = fakeStack{scenario.Compose, record.Target{Kind: scenario.Compose, Name: "compose:lab", AccessLog: true, Calls: true, Nginxes: 1}, []string{"whoami-1", "whoami-2"}}
	site = fakeStack{scenario.URL, record.Target{Kind: scenario.URL, Name: "http://lab:8080", Changes: true}, nil}
)

func TestKeysOfTargetsAreRead(t *testing.T) {
	t.Parallel()
	f, err := Read("testdata/good/target.yaml")
	if err != nil {
		t.Fatal(err)
	}
	nginx, service := f.Scenarios[0], f.Scenarios[1]
	if nginx.Target != scenario.Kubernetes || !nginx.OwnNames || nginx.PreStop == nil || *nginx.PreStop != 0 || nginx.Through != "" || len(nginx.Edits) != 1 || service.Through != scenario.ThroughService || service.PreStop != nil {
		t.Errorf("%+v\n%+v", nginx, service)
	}
	var did []string
	for _, o := range nginx.Phases[1].Operations() {
		did = append(did, strings.TrimSuffix(fmt.Sprintf("%s %d", o.Name(), o.To), " 0"))
	}
	if want := []string{"kill whoami-1", "drain_node whoami-2", "uncordon_node whoami-2", "scale whoami 6", "roll_out whoami", "scale nginx 3", "roll_out nginx"}; !slices.Equal(did, want) {
		t.Errorf("got  %q\nwant %q", did, want)
	}
	if err := f.Local(); err == nil || !strings.Contains(err.Error(), "target.yaml:2:9: this experiment is for kubernetes: run it with: trivet run --target k8s:NAMESPACE testdata/good/target.yaml") {
		t.Error(err)
	}
}

// What a target has by itself is that of the scenarios, and names that are as in a fleet may be used.
func TestFileWithoutTargetIsReadForOne(t *testing.T) {
	t.Parallel()
	text := strings.Replace(strings.Replace(small, "for: 1s", "for: 1s, do: [{kill: all}]", 1), "during.http.failed == 0", "total.http.ok_by_instance[\"whoami-2\"] > 0\n  - total.http.executions > 0 && total.http.recovery.fair_at_end", 1)
	f, d := parseFor("x.yaml", []byte(text), crew)
	if err := d.join(); err != nil {
		t.Fatal(err)
	}
	s := f.Scenarios[0]
	if s.Instances != 2 || s.Target != scenario.Compose || s.OwnNames || s.Workers != 1 || !slices.Equal(s.Phases[0].Do[0].Process.Names, []string{"whoami-1", "whoami-2"}) {
		t.Errorf("%+v", s)
	}
}

// Each of these is an error at the line where it stands, and none at another.
func TestWhatATargetCannotGiveIsAnError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		on       Stack  // nil: none
		old, new string // in small
		want     string // part of the diagnostic
	}{
		{nil, "for: 1s", "for: 1s, do: [{roll_out: whoami}]", "roll_out whoami: only a target can do that; add target: kubernetes"},
		{nil, "for: 1s", "for: 1s, do: [{scale: {whoami: 6}}]", "scale whoami: only a target can do that"},
		{nil, "for: 1s", "for: 1s, do: [{drain_node: whoami-2}]", "drain_node whoami-2: only a target can do that"},
		{nil, "question: Q?", "question: Q?\nfleet: {through: service}", "through: only a target has that"},
		{nil, "question: Q?", "question: Q?\nfleet: {pre_stop: 0s}", "pre_stop: only a target has that"},
		{nil, "question: Q?", "question: Q?\ntarget: swarm", "target is \"swarm\": want kubernetes or compose or url"},
		{pods, "question: Q?", "question: Q?\ntarget: compose", "this experiment is for compose, and k8s:lab is none; run it with: trivet run --target compose x.yaml"},
		{pods, "for: 1s", "for: 1s, do: [{pause: whoami-1}]", "pause whoami-1: k8s:lab cannot do that to whoami-1: want kill"},
		{pods, "for: 1s", "for: 1s, do: [{drain: whoami-1}]", "drain whoami-1: k8s:lab cannot do that"},
		{pods, "for: 1s", "for: 1s, do: [{reload: nginx}]", "reload nginx: k8s:lab cannot do that to nginx"},
		{pods, "for: 1s", "for: 1s, do: [{kill: whoami-3}]", "kill whoami-3: there are 2 instances"},
		{pods, "for: 1s", "for: 1s, do: [{kill: whoami-1}, {kill: whoami-1}]", "kill whoami-1: instance is gone (kill)"},
		{pods, "for: 1s", "for: 1s, do: [{scale: {whoami: 6}}, {kill: whoami-1}]", "kill whoami-1: after scale whoami it is not known which instance that is; name it before"},
		{pods, "for: 1s", "for: 1s, do: [{drain_node: whoami-1}, {kill: whoami-2}]", "after drain_node whoami-1 it is not known"},
		{pods, "for: 1s", "for: 1s, do: [{uncordon_node: whoami-1}]", "its machine was not drained"},
		{pods, "for: 1s", "for: 1s, do: [{scale: {whoami: 2}}]", "scale whoami: there are 2 already"},
		{pods, "for: 1s", "for: 1s, do: [{scale: {whoami: 0}}]", "whoami is 0: want a whole number, 1 to 60"},
		{pods, "for: 1s", "for: 1s, do: [{together: [{roll_out: whoami}, {kill: whoami-1}]}]", "kill of whoami-1 is at the same time as together[0]"},
		{pods, "question: Q?", "question: Q?\nfleet: {instances: 3}", "instances: k8s:lab has 2 instances, and this wants 3"},
		{pods, "question: Q?", "question: Q?\nfleet: {workers: 2}", "workers: a target's nginx has its own workers; remove it"},
		{pods, "question: Q?", "question: Q?\nfleet: {tls: true}", "tls: k8s:lab is not called over TLS"},
		{pods, "question: Q?", "question: Q?\nfleet: {mtls: true}", "mtls: whether a target's instances use mutual TLS"},
		{pods, "question: Q?", "question: Q?\nfleet: {front: 1}", "front: instances of front of a target"},
		{pods, "question: Q?", "question: Q?\nfleet: {tls_min: '1.2'}", "tls_min: which TLS"},
		{crew, "question: Q?", "question: Q?\nfleet: {pre_stop: 1s}", "pre_stop: compose:lab does not let it be changed"},
		{crew, "question: Q?", "question: Q?\nfleet: {through: service}", "through: compose:lab has one way to its instances"},
		{crew, "question: Q?", "question: Q?\nnginx: {edits: [{context: upstream whoami_http, directive: keepalive 4}]}", "nginx: the configuration of compose:lab cannot be edited"},
		{pods, "question: Q?", "question: Q?\nfleet: {through: service}\nnginx: {edits: [{context: upstream whoami_http, directive: keepalive 4}]}", "nginx: the load goes past nginx"},
		{site, "question: Q?", "question: Q?\nfleet: {instances: 3}", "instances: how many http://lab:8080 has is not known"},
		{crew, "protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, hops: [grpc]", "hops: calls between the instances of a target are not measured"},
		{crew, "protocol: http, rate: 10/s", "protocol: http, rate: 10/s, users: 2, addresses: 2", "addresses: a target sees this machine's own"},
		{pods, "during.http.failed == 0", "during.http.executions == 0", "during.http.executions cannot be had: it needs the instances' records, which k8s:lab does not give"},
		{pods, "during.http.failed == 0", "during.http.ok_by_instance[\"whoami-1\"] > 0", `ok_by_instance["whoami-1"] names an instance`},
		{pods, "during.http.failed == 0", "binomial(during.http, \"whoami-1\", 0.5)", "whoami-1 is an instance, and those of the target have names of their own"},
		{pods, "during.http.failed == 0", "during.http.recovery.fair_at_end", "it needs instances that stay the same"},
		{pods, "during.http.failed == 0", "let r = during.http.recovery; r.fair_at_end", "it needs instances that stay the same"},
		{pods, "during.http.failed == 0", "fair(during.http)", "fair(during.http) cannot be had: it needs one nginx with one rotation, and k8s:lab may have several"},
		{crew, "during.http.failed == 0", "fair_without_zone(during.http)", "it needs the number of nginx's workers"},
		{crew, "during.http.failed == 0", "during.http.run_delay < 0.2", "it needs samples of the processes"},
		{crew, "during.http.failed == 0", "let m = during.http; m.run_delay < 0.2 || m.failed > 0", "it needs samples of the processes"},
		{site, "during.http.failed == 0", "during.http.nginx_attempts > 0", "it needs nginx's access log, which http://lab:8080 does not give"},
		{site, "during.http.failed == 0", "during.http.failed == 0 || during.http.in_doubt > 0", "during.http.in_doubt cannot be had"},
		{site, "question: Q?", "question: Q?\nanswer: '{during.http.duplicated}'", "answer: during.http.duplicated: during.http.duplicated cannot be had"},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		_, d := parseFor("x.yaml", []byte(text), c.on)
		err := d.join()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: %v\nwant %s", c.new, err, c.want)
			continue
		}
		at := 1 + strings.Count(text[:strings.Index(text, c.new)+strings.LastIndex(c.new, "\n")+1], "\n")
		if got := d.all[0].Line; got != at && !strings.Contains(c.want, "past nginx") {
			t.Errorf("%s: line %d, want %d", c.new, got, at)
		}
	}
}

// The scripts of the catalog can be run on a target of their kind.
func TestExperimentsOnTargetsAreRight(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(tree("experiments/targets/*.yaml"))
	if err != nil || len(paths) < 3 {
		t.Fatalf("%q, %v", paths, err)
	}
	for _, path := range paths {
		f, err := Read(path)
		if err != nil {
			t.Error(err)
			continue
		}
		on := map[string]fakeStack{scenario.Kubernetes: pods, scenario.Compose: crew}[f.Target()]
		on.target.Calls, on.names = true, []string{"whoami-a", "whoami-b", "whoami-c"}
		if f.Target() == scenario.Compose {
			on.names = scenario.InstanceNames(3)
		}
		if f, err = ReadFor(path, on); err != nil || f.Answer == "" {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A metric that a trial could not have is no value: neither the expectation nor its opposite passes.
func TestUnknownMetricIsInconclusive(t *testing.T) {
	t.Parallel()
	m := measure.Planned(300, 3, 1, 1)
	of := func(string, int, string, string) (measure.Metrics, measure.Metrics, bool) {
		unknown := m.Without(measure.Missing(&site.target, ""))
		return unknown, unknown, true
	}
	f, d := parse("x.yaml", []byte(small))
	if err := d.join(); err != nil {
		t.Fatal(err)
	}
	f.Expect = nil
	for _, text := range []string{"during.http.executions > 0", "not (during.http.executions > 0)", "during.http.failed == 0 || during.http.nginx_attempts == 0", "during.http.recovery.fair_at_end", "not during.http.recovery.fair_at_end", "fair(during.http)"} {
		f.Expect = append(f.Expect, scenario.Expectation{Text: strings.ReplaceAll(text, "during", f.Scenarios[0].Phases[0].Name)})
	}
	for _, r := range Judge(f.Experiment, of) {
		if !r.Inconclusive || r.Passed || !strings.Contains(r.Error, "http://lab:8080") {
			t.Errorf("%+v", r)
		}
	}
}

func TestShares(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		counts measure.InstanceCounts
		text   string
		want   float64 // -1: no value
	}{
		{measure.InstanceCounts{"a": 600}, "largest_share", 1},
		{measure.InstanceCounts{"a": 600, "b": 0}, "largest_share", 1},
		{measure.InstanceCounts{"a": 600, "b": 0}, "smallest_share", 0},
		{measure.InstanceCounts{"a": 1, "b": 2, "c": 5}, "largest_share", 0.625},
		{measure.InstanceCounts{"a": 1, "b": 2, "c": 5}, "smallest_share", 0.125},
		{measure.InstanceCounts{"a": 0}, "largest_share", -1},
		{measure.InstanceCounts{}, "smallest_share", -1},
	} {
		got, err := shareOf(shareFunctions[c.text])(c.counts, c.text)
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%s of %v: %v, %v", c.text, c.counts, got, err)
		}
	}
	for text, want := range map[string]string{
		"largest_share(during.http) > 0.5":                                "during.http is many metrics",
		"largest_share(during.http.codes) > 0.5":                          "cannot use",
		"largest_share() > 0.5":                                           "reads no metric",
		"largest_shar(during.http.ok_by_instance) > 0.5":                  "did you mean largest_share",
		"largest_share(during.http.ok_by_instance)":                       "is no condition",
		"largest_share(during.http.ok_by_instance) > 1":                   "is false whatever is measured",
		"largest_share(during.http.ok_by_instance) > duration(\"250ms\")": "mismatched types",
	} {
		_, d := parse("x.yaml", []byte(strings.Replace(small, "during.http.failed == 0", text, 1)))
		if err := d.join(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if names := slices.Sorted(maps.Keys(shareFunctions)); !reserved(names[0]) || !reserved(names[1]) {
		t.Errorf("%q can be names of phases", names)
	}
}
